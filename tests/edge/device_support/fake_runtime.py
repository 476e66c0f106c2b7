"""A stand-in for ``edge-runtime`` that starts fast and fails on command.

Its "model" is JSON: ``{"answer": ..., "check": "ok|golden|crash|hang|garbage", "serve":
"ok|crash|refuse|unready|errors|crash-late"}``. ``GET /answer`` on the port returns the answer.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

EXIT_BUSY = 98


def _option(name: str, default: str = "") -> str:
    arguments = sys.argv
    return arguments[arguments.index(name) + 1] if name in arguments else default


def _load(folder: Path, precision: str) -> dict[str, object]:
    # Every file of the package has to be there and whole: read it all.
    for path in (folder / "package").rglob("*"):
        if path.is_file():
            path.read_bytes()
    model = json.loads((folder / "package" / precision / "model.onnx").read_bytes().rstrip(b" "))
    model["folder"] = str(folder)
    model["number"] = int(folder.name.removesuffix(".tmp"))
    model["precision"] = precision
    return model


def check() -> int:
    model = _load(Path(sys.argv[2]), _option("--precision"))
    how = model.get("check", "ok")
    if how == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "hang":
        time.sleep(600)
    if how == "garbage":
        print("this is not JSON")
        return 0
    result = {
        "ok": how == "ok",
        "precision": model["precision"],
        "provider": "CPUExecutionProvider",
        "max_abs_error": 0.0,
        "max_rel_error": 0.0,
        "label_agreement": 1.0,
        "samples": 1,
        "seconds": 0.0,
        "reason": "" if how == "ok" else "golden-failed",
        "detail": "" if how == "ok" else "max_abs_error 9.0 exceeds 0.0001",
    }
    print(json.dumps(result))
    return 0 if how == "ok" else 1


class Server:
    def __init__(self) -> None:
        self.model: dict[str, object] = {}
        self.errors = 0
        self.began = self.heard = time.monotonic()
        self.orphan = False

    def take(self, folder: Path, precision: str) -> tuple[int, dict[str, object]]:
        model = _load(folder, precision)
        how = model.get("serve", "ok")
        if how == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
            time.sleep(60)  # another thread may take the signal: this one must not answer
        if how == "refuse":
            return 422, {"reason": "load-failed", "detail": "the fake refuses"}
        self.model = model
        if how == "errors":
            self.errors += 1000
        if how == "crash-late":
            threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGSEGV)).start()
        provider = "CPUExecutionProvider"
        return 200, {"release": model["number"], "package": "", "provider": provider}

    def status(self) -> dict[str, object]:
        model = self.model
        if model.get("serve") == "errors":
            self.errors += 1
        return {
            "pid": os.getpid(),
            "ready": bool(model) and model.get("serve") != "unready",
            "release": model.get("number", 0),
            "package": "",
            "version_dir": model.get("folder", ""),
            "precision": model.get("precision", ""),
            "provider": "CPUExecutionProvider" if model else "",
            "requests": 0,
            "errors": self.errors,
            "uptime_s": time.monotonic() - self.began,
            "rss_bytes": 0,
        }

    def control(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, object]]:
        self.heard = time.monotonic()
        if path == "/control/status":
            return 200, self.status()
        if path == "/control/activate":
            order = json.loads(body)
            return self.take(Path(order["version_dir"]), order["precision"])
        if path == "/control/deactivate":
            self.model = {}
            return 200, {}
        if path == "/control/shutdown":
            threading.Timer(0.01, lambda: os._exit(0)).start()
            return 202, {}
        return 404, {}

    def public(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, object]]:
        model = self.model
        if not model:
            return 503, {}
        return 200, {"answer": model.get("answer"), "release": model["number"], "pid": os.getpid()}


Handler = Callable[[str, str, bytes], tuple[int, dict[str, object]]]


def _serve(listener: socket.socket, handler: Handler) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_answer, args=(connection, handler), daemon=True).start()


def _answer(connection: socket.socket, handler: Handler) -> None:
    with connection, connection.makefile("rb") as reader:
        try:
            line = reader.readline().decode().split()
            length = 0
            while (header := reader.readline().strip()) != b"":
                name, _, value = header.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            if len(line) < 2:
                return
            status, answer = handler(line[0], line[1], reader.read(length))
            data = json.dumps(answer).encode()
            head = (
                f"HTTP/1.1 {status} X\r\nContent-Length: {len(data)}\r\nConnection: close\r\n\r\n"
            )
            connection.sendall(head.encode() + data)
        except OSError:
            return


def _parent(server: Server, grace_s: float) -> None:
    while sys.stdin.buffer.raw.read(1):  # type: ignore[attr-defined]  # raw exists on files
        pass
    while time.monotonic() - server.heard < grace_s:
        time.sleep(0.05)
    os._exit(0)


def serve() -> int:
    server = Server()
    folder = _option("--version-dir")
    control = Path(_option("--control-socket"))
    public = socket.socket()
    public.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        public.bind((_option("--host"), int(_option("--port"))))
        public.listen(16)
    except OSError:
        return EXIT_BUSY
    if folder and server.take(Path(folder), _option("--precision"))[0] != 200:
        return 1
    listener = socket.socket(socket.AF_UNIX)
    control.unlink(missing_ok=True)
    listener.bind(str(control))
    listener.listen(16)
    threading.Thread(target=_serve, args=(listener, server.control), daemon=True).start()
    threading.Thread(target=_serve, args=(public, server.public), daemon=True).start()
    signal.signal(signal.SIGTERM, lambda _n, _f: os._exit(0))
    _parent(server, float(_option("--orphan-grace", "60")))
    return 0


if __name__ == "__main__":
    sys.exit(check() if sys.argv[1] == "check" else serve())

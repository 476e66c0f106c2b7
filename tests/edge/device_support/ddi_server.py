"""A small DDI server for one tenant that keeps state and misbehaves on command."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "secret-device-token"


@dataclass
class Faults:
    """What goes wrong.

    Attributes:
        drop_every: Downloads end after so many bytes of one answer.
        drops: How many downloads are dropped so; -1 for all.
        delay_s: Pause after each piece of a download.
        piece: Bytes per piece.
        unavailable: So many requests get 503 first.
        ranges: "right", "ignored" (200 to a range), "wrong" (another start), "refused" (416).
        corrupt: So many downloads have one wrong byte.
        truncate: So many downloads claim a shorter length and end there.
        refuse_feedback: Status for feedback, 0 for none.
        status: What downloads are answered with, 0 for the file.
        only: Applies download faults to files whose name matches.
    """

    drop_every: int = 0
    drops: int = -1
    delay_s: float = 0.0
    piece: int = 1 << 16
    unavailable: int = 0
    ranges: str = "right"
    corrupt: int = 0
    truncate: int = 0
    stalls: int = 0
    refuse_feedback: int = 0
    attributes_down: bool = False
    status: int = 0
    only: str = ""


@dataclass
class Action:
    id: str
    files: dict[str, bytes]
    download: str = "forced"
    update: str = "forced"
    window: str = ""
    open: bool = True
    canceling: bool = False
    finished: str = ""
    feedback: list[dict[str, Any]] = field(default_factory=list)
    cancel_feedback: list[dict[str, Any]] = field(default_factory=list)


class DdiServer:
    """Start with ``with``; ``assign`` gives the device an action."""

    def __init__(self, sleep: str = "00:00:01") -> None:
        self.sleep = sleep
        self.faults = Faults()
        self.actions: dict[str, Action] = {}
        self.attributes: dict[str, str] = {}
        self.attribute_log: list[dict[str, str]] = []
        self.events: list[str] = []
        self.polls = 0
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.sent_bytes = 0
        self.lock = threading.RLock()
        self.download_url = ""
        self._blobs: dict[str, bytes] = {}
        self._httpd: ThreadingHTTPServer | None = None
        self._port = 0
        self.start()

    def start(self) -> None:
        server = self

        class Handler(_Handler):
            state = server

        ThreadingHTTPServer.allow_reuse_address = True
        self._httpd = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._httpd.daemon_threads = True
        # A client that goes away in mid-request is what these tests are about.
        self._httpd.handle_error = lambda *_: None  # type: ignore[method-assign]
        self._port = self._httpd.server_address[1]
        threading.Thread(
            target=self._httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()

    def stop(self) -> None:
        if self._httpd is not None:
            self._httpd.shutdown()
            self._httpd.server_close()
            self._httpd = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def assign(self, action: str, files: dict[str, bytes], **how: str) -> Action:
        with self.lock:
            order = Action(id=action, files=dict(files), **how)  # type: ignore[arg-type]  # strings
            for data in files.values():
                self._blobs[hashlib.sha256(data).hexdigest()] = data
            self.actions[action] = order
            return order

    def cancel(self, action: str) -> None:
        with self.lock:
            self.actions[action].canceling = True

    def current(self) -> Action | None:
        with self.lock:
            return next((a for a in self.actions.values() if a.open), None)

    def blob(self, sha256: str) -> bytes:
        return self._blobs[sha256]

    def wait(self, condition: Callable[[], object], timeout_s: float = 20.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                feedback = {a.id: a.feedback for a in self.actions.values()}
                raise AssertionError(f"not in time; {self.attributes} {feedback}")
            time.sleep(0.01)

    def wait_closed(self, action: str, timeout_s: float = 20.0) -> str:
        self.wait(lambda: self.actions[action].finished, timeout_s)
        return self.actions[action].finished


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    state: DdiServer

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        return

    def do_GET(self) -> None:
        self._guarded(self._get)

    def do_PUT(self) -> None:
        self._guarded(self._put)

    def do_POST(self) -> None:
        self._guarded(self._post)

    def _guarded(self, handle: Callable[[], None]) -> None:
        server = self.state
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.body = body
        with server.lock:
            server.requests.append((self.command, self.path, dict(self.headers)))
            if server.faults.unavailable > 0:
                server.faults.unavailable -= 1
                self._send(503, {}, {"Retry-After": "0"})
                return
        if self.headers.get("Authorization") != f"TargetToken {TOKEN}":
            self._send(401, {})
            return
        try:
            handle()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _send(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _get(self) -> None:
        server = self.state
        root = "/DEFAULT/controller/v1/d1"
        if self.path == root:
            self._root(root)
        elif match := re.fullmatch(rf"{root}/deploymentBase/([^/?]+)(\?.*)?", self.path):
            self._deployment(server.actions[match[1]])
        elif match := re.fullmatch(rf"{root}/cancelAction/([^/?]+)", self.path):
            self._send(200, {"id": match[1], "cancelAction": {"stopId": match[1]}})
        elif match := re.fullmatch(r"/files/([0-9a-f]{64})/(.+)", self.path):
            self._download(server.blob(match[1]), match[2])
        else:
            self._send(404, {})

    def _root(self, root: str) -> None:
        server = self.state
        with server.lock:
            server.polls += 1
            links: dict[str, dict[str, str]] = {}
            action = server.current()
            if not server.attributes:
                links["configData"] = {"href": f"{server.url}{root}/configData"}
            if action is not None and action.canceling:
                links["cancelAction"] = {"href": f"{server.url}{root}/cancelAction/{action.id}"}
            elif action is not None:
                href = f"{server.url}{root}/deploymentBase/{action.id}?c=-1"
                links["deploymentBase"] = {"href": href}
        self._send(200, {"config": {"polling": {"sleep": server.sleep}}, "_links": links})

    def _deployment(self, action: Action) -> None:
        artifacts = []
        base = self.state.download_url or self.state.url
        for name, data in action.files.items():
            sha256 = hashlib.sha256(data).hexdigest()
            artifacts.append(
                {
                    "filename": name,
                    "size": len(data),
                    "hashes": {"sha256": sha256},
                    "_links": {"download-http": {"href": f"{base}/files/{sha256}/{name}"}},
                }
            )
        half = len(artifacts) // 2
        deployment: dict[str, Any] = {
            "download": action.download,
            "update": action.update,
            "chunks": [
                {"part": "app", "name": "a", "version": "1", "artifacts": artifacts[:half]},
                {"part": "app", "name": "b", "version": "1", "artifacts": artifacts[half:]},
            ],
        }
        if action.window:
            deployment["maintenanceWindow"] = action.window
        self._send(200, {"id": action.id, "deployment": deployment})

    def _put(self) -> None:
        server = self.state
        if server.faults.attributes_down:
            self._send(500, {})
            return
        message = json.loads(self.body)
        with server.lock:
            server.attributes.update(message["data"])
            server.attribute_log.append(message["data"])
            server.events.append(f"attributes {message['data']['edgectl_state']}")
        self._send(200, {})

    def _post(self) -> None:
        server = self.state
        match = re.search(r"/(deploymentBase|cancelAction)/([^/]+)/feedback$", self.path)
        if match is None or match[2] not in server.actions:
            self._send(404, {})
            return
        if server.faults.refuse_feedback:
            self._send(server.faults.refuse_feedback, {})
            return
        action, message = server.actions[match[2]], json.loads(self.body)
        status = message["status"]
        with server.lock:
            if not action.open:
                self._send(410, {})
                return
            server.events.append(f"{match[1]} {status['execution']}")
            if match[1] == "cancelAction":
                action.cancel_feedback.append(status)
                if status["execution"] == "closed":
                    action.open, action.finished = False, "canceled"
                else:
                    action.canceling = False
            else:
                action.feedback.append(status)
                if status["execution"] == "closed":
                    action.open, action.finished = False, status["result"]["finished"]
        self._send(200, {})

    def _download(self, data: bytes, name: str) -> None:
        faults = self.state.faults
        if faults.only and not re.search(faults.only, name):
            faults = Faults()
        if faults.status:
            self._send(faults.status, {})
            return
        start, status = self._range(data, faults)
        if status == 416:
            self._send(416, {}, {"Content-Range": f"bytes */{len(data)}"})
            return
        body = bytearray(data[start:])
        with self.state.lock:
            if faults.corrupt and body:
                faults.corrupt -= 1
                body[len(body) // 2] ^= 0xFF
            if faults.truncate and body:
                faults.truncate -= 1
                del body[len(body) // 2 :]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("Accept-Ranges", "bytes")
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        self._body(bytes(body), faults)

    def _range(self, data: bytes, faults: Faults) -> tuple[int, int]:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        tag = self.headers.get("If-Range")
        stale = tag is not None and tag != f'"{hashlib.sha256(data).hexdigest()}"'
        if match is None or stale or faults.ranges == "ignored":
            return 0, 200
        if faults.ranges == "refused" or int(match[1]) >= len(data):
            return 0, 416
        if faults.ranges == "wrong":
            return min(int(match[1]) + 7, len(data) - 1), 206
        return int(match[1]), 206

    def _body(self, body: bytes, faults: Faults) -> None:
        sent = 0
        with self.state.lock:
            drop = faults.drop_every if faults.drops else 0
            if drop and len(body) > drop:
                faults.drops -= 1
            stall = faults.stalls > 0 and len(body) > 1
            faults.stalls -= 1 if stall else 0
        while sent < len(body):
            piece = body[sent : sent + faults.piece]
            if drop:
                piece = piece[: drop - sent]
            if stall:
                piece = piece[: len(body) // 2]
            self.wfile.write(piece)
            self.wfile.flush()
            sent += len(piece)
            self.state.sent_bytes += len(piece)
            if stall:
                time.sleep(3)
            if stall or (drop and sent >= drop and sent < len(body)):
                self.close_connection = True
                return
            if faults.delay_s:
                time.sleep(faults.delay_s)

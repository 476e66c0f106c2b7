"""One device under test: the real agent's process, a runtime, a DDI server, a publisher."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
from ddi_server import TOKEN, Action, DdiServer
from edge_packages import Package, Publisher, make_files, make_package, make_release

from edge_components.contract.device import (
    DeviceConfig,
    DeviceSection,
    HubSection,
    RuntimeSection,
    StoreSection,
    TrustSection,
)
from edge_components.contract.digest import sha256_digest
from edge_components.contract.package import PACKAGE_FILE, parse_manifest, parse_package_info
from edge_components.store.store import read_record
from edge_components.update.record import Record
from edge_components.update.selection import needed_layers


class Zygote:
    """Forks agents that have everything imported."""

    def __init__(self, entry: Path | None = None) -> None:
        entry = entry or Path(__file__).with_name("agent_entry.py")
        self._process = subprocess.Popen(
            [sys.executable, str(entry)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, **order: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


def weights(answer: str, *, size: int = 0, **how: str) -> bytes:
    """Return a fake model of at least ``size`` bytes."""
    return json.dumps({"answer": answer, **how}).encode().ljust(size)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Brought:
    """An ``edge-agent import`` that runs."""

    def __init__(self, pid: int, zygote: Zygote, said: Path, result: Path) -> None:
        self.pid = pid
        self._zygote = zygote
        self._said = said
        self._result = result

    def end(self) -> tuple[int, dict[str, Any]]:
        """Wait for its end; return exit code and report (empty if it printed none)."""
        code: int = self._zygote.ask(op="wait", pid=self.pid)["exit"]
        text = self._result.read_text() if self._result.exists() else ""
        return code, json.loads(text) if text else {}

    @property
    def said(self) -> str:
        return self._said.read_text() if self._said.exists() else ""


class Device:
    """A device with its own folder; ``start`` runs its agent."""

    def __init__(self, folder: Path, zygote: Zygote, server: DdiServer) -> None:
        self.folder = folder
        self.server = server
        self.publisher = Publisher()
        self.state_dir = folder / "state"
        self.config_path = folder / "device.toml"
        self.port = free_port()
        self.log = folder / "agent.log"
        self.trace = folder / "trace.txt"
        self.pid = 0
        self._zygote = zygote
        self._key = self.publisher.save(folder / "publisher.pem")
        self.configure()

    def configure(
        self, *, application: str = "plates", hub: HubSection | None = None, **store: int
    ) -> DeviceConfig:
        config = DeviceConfig(
            device=DeviceSection(
                id="d1",
                application=application,
                hardware="x86-64-cpu",
                state_dir=str(self.state_dir),
            ),
            hub=hub or HubSection(url=self.server.url, token=TOKEN, poll_s=0.03),
            trust=TrustSection(publishers=(str(self._key),)),
            runtime=RuntimeSection(port=self.port),
            store=msgspec.convert({"reserve_bytes": 0, **store}, StoreSection),
        )
        self.config_path.write_text(config.to_toml())
        return config

    def start(self, kill_at: int = 0, *, trace: bool = False, real: bool = False) -> None:
        answer = self._zygote.ask(
            op="start",
            config=str(self.config_path),
            publishers=[str(self._key)],
            log=str(self.log),
            kill_at=kill_at,
            real=real,
            trace=str(self.trace) if trace else "",
        )
        self.pid = answer["pid"]

    def bring(self, file: Path, kill_at: int = 0) -> Brought:
        """Run ``edge-agent import`` on a file, and return at once."""
        said, result = file.with_suffix(".said"), file.with_suffix(".result")
        answer = self._zygote.ask(
            op="import",
            config=str(self.config_path),
            publishers=[str(self._key)],
            file=str(file),
            said=str(said),
            result=str(result),
            kill_at=kill_at,
        )
        return Brought(answer["pid"], self._zygote, said, result)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self.wait_exit()

    def stop(self) -> int:
        os.kill(self.pid, signal.SIGTERM)
        return self.wait_exit()

    def wait_exit(self) -> int:
        code: int = self._zygote.ask(op="wait", pid=self.pid)["exit"]
        self.pid = 0
        return code

    def has_exited(self) -> bool:
        """Return whether the agent has ended, and forget it if so."""
        if self._zygote.ask(op="look", pid=self.pid)["exit"] is None:
            return False
        self.pid = 0
        return True

    def kill_runtime(self) -> None:
        """Kill the runtime with SIGKILL, if there is one."""
        try:
            pid = int((self.state_dir / "runtime.pid").read_text())
            os.kill(pid, signal.SIGKILL)
        except (OSError, ValueError):
            pass

    def assert_whole(self) -> Record:
        """Check every file of every version that the record names, byte for byte."""
        record = self.record()
        for version in record.kept():
            folder = self.state_dir / "store/versions" / str(version.number)
            manifest = parse_manifest(
                (folder / "manifest.json").read_bytes(), digest=version.package
            )
            info = parse_package_info((folder / "package" / PACKAGE_FILE).read_bytes(), manifest)
            for path, layer in needed_layers(manifest, info, version.precision).items():
                assert sha256_digest((folder / "package" / path).read_bytes()) == layer.digest
            assert (folder / "release.json").stat().st_size
            assert (folder / "model.sig").stat().st_size
        return record

    def cleanup(self) -> None:
        if self.pid:
            self.kill()
        self.kill_runtime()

    def package(self, answer: str, *, precisions: str = "int8", **how: Any) -> Package:
        size = how.pop("size", 0)
        extra = how.pop("extra", None)
        models = {p: weights(answer, size=size, **how) for p in precisions.split()}
        return make_package(self.publisher, models, extra=extra)

    def deploy(self, number: int, package: Package, **how: Any) -> Action:
        release = {
            k: how.pop(k) for k in ("application", "precision", "soak_s", "network") if k in how
        }
        envelope = make_release(how.pop("signer", self.publisher), package, number, **release)
        action = how.pop("action", f"a{number}")
        return self.server.assign(action, make_files(envelope, package), **how)

    def install(self, number: int, answer: str, **how: Any) -> None:
        """Deploy and wait for success."""
        self.deploy(number, self.package(answer, **how))
        assert self.server.wait_closed(f"a{number}") == "success", self.server.attributes

    def ask(self) -> dict[str, Any] | None:
        """Return what the runtime answers now."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", "/answer")
            response = connection.getresponse()
            body: dict[str, Any] = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError):
            return None
        else:
            return body if response.status == 200 else None
        finally:
            connection.close()

    def wait_answer(self, *answers: str, timeout_s: float = 15.0) -> dict[str, Any]:
        deadline = time.monotonic() + timeout_s
        while True:
            found = self.ask()
            if found is not None and found["answer"] in answers:
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"{found} instead of {answers}; {self.tail()}")
            time.sleep(0.01)

    def record(self) -> Record:
        return read_record(self.state_dir / "store")

    def tail(self) -> str:
        return self.log.read_text()[-3000:] if self.log.exists() else ""

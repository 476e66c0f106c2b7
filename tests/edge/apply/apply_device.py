"""A device on which a supervisor of its own runs ``serve`` and orders ``apply``."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
from agent_entry import FAKE
from device import Zygote, free_port, weights
from edge_packages import Package, Publisher, make_package, make_release

from edge_components.apply.serving import serving_command
from edge_components.contract.device import (
    DeviceConfig,
    DeviceSection,
    RuntimeSection,
    StoreSection,
    TrustSection,
)
from edge_components.contract.digest import sha256_digest
from edge_components.contract.package import (
    PACKAGE_FILE,
    SIGNATURE_FILE,
    parse_manifest,
    parse_package_info,
)
from edge_components.contract.release import MANIFEST_FILE, RELEASE_FILE
from edge_components.contract.state import DeviceReport
from edge_components.store.store import read_record
from edge_components.update.record import Record
from edge_components.update.selection import needed_layers


class Keeper:
    """Starts the runtime and starts it again when it ends, as a nucleus does."""

    def __init__(self, config: Path, program: tuple[str, ...], log: Path) -> None:
        self._config = config
        self._program = program
        self._log = log
        self._ending = False
        self.process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ending:
            command, folder = serving_command(self._config, self._program)
            with self._log.open("ab") as log:
                self.process = subprocess.Popen(
                    command, cwd=folder, stdin=subprocess.PIPE, stdout=log, stderr=log
                )
            self.process.wait()
            assert self.process.stdin is not None
            self.process.stdin.close()

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()

    def stop(self) -> None:
        self._ending = True
        deadline = time.monotonic() + 10
        while self._thread.is_alive():
            self.kill()
            self._thread.join(0.05)
            assert time.monotonic() < deadline


class ApplyDevice:
    """One device with its folder; ``apply`` runs one order to its end."""

    def __init__(self, folder: Path, zygote: Zygote) -> None:
        self.folder = folder
        self.publisher = Publisher()
        self.state_dir = folder / "state"
        self.config_path = folder / "device.toml"
        self.log = folder / "apply.log"
        self.port = free_port()
        self.keeper: Keeper | None = None
        self._zygote = zygote
        self._key = self.publisher.save(folder / "publisher.pem")
        self._orders = 0
        self.configure()

    def configure(self, **store: int) -> None:
        config = DeviceConfig(
            device=DeviceSection(
                id="d1",
                application="plates",
                hardware="x86-64-cpu",
                state_dir=str(self.state_dir),
            ),
            trust=TrustSection(publishers=(str(self._key),)),
            runtime=RuntimeSection(port=self.port),
            store=msgspec.convert({"reserve_bytes": 0, **store}, StoreSection),
        )
        self.config_path.write_text(config.to_toml())

    def serve(self, program: tuple[str, ...] = FAKE) -> Keeper:
        self.keeper = Keeper(self.config_path, program, self.folder / "runtime.log")
        return self.keeper

    def package(self, answer: str, *, precisions: str = "int8", **how: Any) -> Package:
        size = how.pop("size", 0)
        models = {p: weights(answer, size=size, **how) for p in precisions.split()}
        return make_package(self.publisher, models)

    def deliver(self, number: int, package: Package, **release: Any) -> Path:
        """Lay out a release as a nucleus leaves artifacts; return the folder."""
        folder = self.folder / f"artifacts-{number}"
        folder.mkdir(exist_ok=True)
        signer = release.pop("signer", self.publisher)
        files = {digest.removeprefix("sha256:"): data for digest, data in package.blobs.items()}
        files[RELEASE_FILE] = make_release(signer, package, number, **release)
        files[MANIFEST_FILE] = package.manifest_bytes
        files[SIGNATURE_FILE] = package.signature
        for name, data in files.items():
            (folder / name).write_bytes(data)
        return folder

    def begin(
        self, folder: Path, kill_at: int = 0, *, largest_file: int = 0, full: bool = False
    ) -> tuple[int, Path]:
        self._orders += 1
        output = self.folder / f"output-{self._orders}.json"
        answer = self._zygote.ask(
            op="start",
            config=str(self.config_path),
            folder=str(folder),
            publishers=[str(self._key)],
            log=str(self.log),
            output=str(output),
            kill_at=kill_at,
            largest_file=largest_file,
            full=full,
        )
        return answer["pid"], output

    def end(self, pid: int) -> int:
        code: int = self._zygote.ask(op="wait", pid=pid)["exit"]
        return code

    def apply(
        self, folder: Path, kill_at: int = 0, *, largest_file: int = 0, full: bool = False
    ) -> tuple[int, DeviceReport | None]:
        pid, output = self.begin(folder, kill_at, largest_file=largest_file, full=full)
        code = self.end(pid)
        text = output.read_bytes() if output.exists() else b""
        return code, msgspec.json.decode(text, type=DeviceReport) if text else None

    def install(self, number: int, answer: str, **how: Any) -> Path:
        folder = self.deliver(number, self.package(answer, **how))
        code, report = self.apply(folder)
        assert code == 0, (report, self.tail())
        return folder

    def ask(self) -> dict[str, Any] | None:
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

    def wait_answer(self, *answers: str | None, timeout_s: float = 10.0) -> None:
        deadline = time.monotonic() + timeout_s
        while (found := (self.ask() or {}).get("answer")) not in answers:
            assert time.monotonic() < deadline, f"{found} instead of {answers}; {self.tail()}"
            time.sleep(0.01)

    def record(self) -> Record:
        return read_record(self.state_dir / "store")

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
        return record

    def tail(self) -> str:
        return self.log.read_text()[-3000:] if self.log.exists() else ""

    def cleanup(self) -> None:
        if self.keeper is not None:
            self.keeper.stop()


def end_process(pid: int, number: signal.Signals = signal.SIGTERM) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)

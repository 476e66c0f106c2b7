"""A device of IoT Edge under test: the module's process, what is around it, a registry."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import msgspec
from device import Zygote, free_port, weights
from edge_packages import Package, Publisher, make_package
from fake_edge import EdgeHub
from releases import Misbehaving, Published, publish

from edge_components.contract.device import (
    DeviceConfig,
    DeviceSection,
    RuntimeSection,
    StoreSection,
    TelemetrySection,
    TrustSection,
)
from edge_components.contract.digest import sha256_digest
from edge_components.contract.package import PACKAGE_FILE, parse_manifest, parse_package_info
from edge_components.store.store import read_record
from edge_components.update.record import Record
from edge_components.update.selection import needed_layers


class EdgeDevice:
    """A device; ``start`` runs its module, ``wish`` changes what its twin names."""

    def __init__(self, folder: Path, zygote: Zygote, registry: Misbehaving) -> None:
        self.folder = folder
        self.registry = registry
        self.publisher = Publisher()
        self.state_dir = folder / "state"
        self.config_path = folder / "device.toml"
        self.log = folder / "module.log"
        self.port = free_port()
        self.hub = EdgeHub(folder)
        self.hub.start()
        self.pid = 0
        self._zygote = zygote
        self._key = self.publisher.save(folder / "publisher.pem")
        self.configure()

    def configure(self, *, telemetry: str = "", **store: int) -> None:
        config = DeviceConfig(
            device=DeviceSection(
                id="gate-7",
                application="plates",
                hardware="x86-64-cpu",
                state_dir=str(self.state_dir),
            ),
            trust=TrustSection(publishers=(str(self._key),)),
            runtime=RuntimeSection(port=self.port),
            store=msgspec.convert({"reserve_bytes": 0, **store}, StoreSection),
            telemetry=TelemetrySection(url=telemetry, interval_s=0.2, health_interval_s=0.5),
        )
        self.config_path.write_text(config.to_toml())

    def start(self, kill_at: int = 0, *, token_s: float = 0, baked: Path | None = None) -> None:
        answer = self._zygote.ask(
            op="start",
            config=str(self.config_path),
            environment=self.hub.environment(),
            publishers=[str(self._key)],
            log=str(self.log),
            kill_at=kill_at,
            token_s=token_s,
            baked=str(baked or ""),
        )
        self.pid = answer["pid"]

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
        """Return whether the module has ended, and forget it if so."""
        if self._zygote.ask(op="look", pid=self.pid)["exit"] is None:
            return False
        self.pid = 0
        return True

    def kill_runtime(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((self.state_dir / "runtime.pid").read_text()), signal.SIGKILL)

    def package(self, answer: str, *, precisions: str = "int8", **how: Any) -> Package:
        size = how.pop("size", 0)
        models = {p: weights(answer, size=size, **how) for p in precisions.split()}
        return make_package(self.publisher, models)

    def release(self, number: int, answer: str, **how: Any) -> Published:
        """Put a release into the registry."""
        told = ("application", "precision", "soak_s", "network")
        release = {k: how.pop(k) for k in told if k in how}
        signer = how.pop("signer", self.publisher)
        one = publish(signer, number, package=self.package(answer, **how), **release)
        return self.registry.add(one)

    def wanted(self, number: int, one: Published) -> dict[str, Any]:
        return {
            "release": number,
            "package": one.package.digest,
            "repository": self.registry.reference,
            "artifact": one.digest,
        }

    def wish(self, number: int, one: Published, *, tell: bool = True) -> None:
        self.hub.wish(self.wanted(number, one), tell=tell)

    def install(self, number: int, answer: str, **how: Any) -> Published:
        """Deploy and wait until the device says that it is healthy."""
        one = self.release(number, answer, **how)
        self.wish(number, one)
        self.until(desired=number, phase="healthy", current=number)
        return one

    def until(self, timeout_s: float = 15.0, **wanted: object) -> dict[str, Any]:
        try:
            return self.hub.until_report(timeout_s, **wanted)
        except AssertionError as exc:
            raise AssertionError(f"{exc}\n{self.tail()}") from None

    def ask(self) -> str | None:
        """Return what the runtime answers now."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", "/answer")
            response = connection.getresponse()
            body: dict[str, Any] = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError):
            return None
        else:
            return str(body["answer"]) if response.status == 200 else None
        finally:
            connection.close()

    def wait_answer(self, *answers: str, timeout_s: float = 15.0) -> None:
        deadline = time.monotonic() + timeout_s
        while (found := self.ask()) not in answers:
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
        if self.pid:
            self.kill()
        self.kill_runtime()
        self.hub.close()

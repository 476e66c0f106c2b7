"""A pod on this machine: its mounted configuration and release, and its two programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import msgspec
from edge_packages import Package, Publisher, make_release
from onnx_packages import scaling_package

from edge_components.contract.device import (
    DeviceConfig,
    DeviceSection,
    RuntimeSection,
    StoreSection,
    TrustSection,
)
from edge_components.contract.package import SIGNATURE_FILE
from edge_components.contract.release import MANIFEST_FILE, RELEASE_FILE
from edge_components.contract.state import DeviceReport

EDGE_POD = (sys.executable, "-m", "edge_components.kubernetes.main")


class Pod:
    """One pod's view: ``config``, ``state`` and ``release`` stand for its mounts."""

    def __init__(self, folder: Path, *, publisher: Publisher | None = None) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.publisher = publisher or Publisher()
        self.state = folder / "state"
        self.termination_log = folder / "termination-log"
        self.config = folder / "device.toml"
        self.key = self.publisher.save(folder / "publisher.pem")
        self.configure()

    def configure(self, **runtime: Any) -> None:
        config = DeviceConfig(
            device=DeviceSection(
                id="any", application="plates", hardware="x86-64-cpu", state_dir="/nowhere"
            ),
            trust=TrustSection(publishers=(str(self.key),)),
            runtime=msgspec.convert({"port": 0, **runtime}, RuntimeSection),
            store=StoreSection(reserve_bytes=0),
        )
        self.config.write_text(config.to_toml())

    def package(self, factor: float = 2.0, golden: float | None = None) -> Package:
        return scaling_package(
            self.publisher, factor, golden_factor=factor if golden is None else golden
        )

    def deliver(self, number: int, package: Package, **release: Any) -> Path:
        """Lay out a release as an image volume has it."""
        folder = self.folder / f"release-{number}"
        folder.mkdir(exist_ok=True)
        signer = release.pop("signer", self.publisher)
        files = {digest.removeprefix("sha256:"): data for digest, data in package.blobs.items()}
        files[RELEASE_FILE] = make_release(signer, package, number, **release)
        files[MANIFEST_FILE] = package.manifest_bytes
        files[SIGNATURE_FILE] = package.signature
        for name, data in files.items():
            (folder / name).write_bytes(data)
        return folder

    def arguments(self) -> list[str]:
        return ["--config", str(self.config), "--state", str(self.state)]

    def run(self, command: str, *more: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*EDGE_POD, command, *self.arguments(), *more],
            capture_output=True,
            timeout=120,
            check=False,
            env={**os.environ},
        )

    def prepare(self, folder: Path | None, *more: str) -> tuple[int, DeviceReport]:
        """Run ``edge-pod prepare``; return its exit code and what it left for the kubelet."""
        self.termination_log.write_bytes(b"")
        origin = [] if folder is None else ["--from", str(folder)]
        place = ["--termination-log", str(self.termination_log), "--device", "node-1"]
        done = self.run("prepare", *origin, *place, *more)
        left = self.termination_log.read_bytes()
        assert left, done.stderr.decode()
        return done.returncode, msgspec.json.decode(left, type=DeviceReport)

    def serve(self, port: int, **environ: str) -> subprocess.Popen[bytes]:
        self.configure(port=port)
        return subprocess.Popen(
            [*EDGE_POD, "serve", *self.arguments()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **environ},
        )


def get(url: str, body: object = None) -> Any:
    """Return the JSON that a URL answers with, or None while nobody or an error answers."""
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(url, data, timeout=5) as response:
            return json.loads(response.read())
    except (urllib.error.URLError, OSError):
        return None

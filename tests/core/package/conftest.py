"""Fixtures of the package tests: small content, built packages, keys, a real registry."""

from __future__ import annotations

import io
import shutil
import socket
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import urllib3

from edge_components.contract.package import TensorSpec, Variant
from edge_components.contract.pipeline import Argmax, Pipeline
from edgectl.package.build import PackageContent, build_package
from edgectl.package.keys import SigningKey, ensure_key
from edgectl.package.registry import RetryPolicy
from edgectl.package.sign import sign_package
from edgectl.package.store import Layout
from edgectl.records import ModelVersion, Package, TrainedModel

FP32 = "model/fp32/model.onnx"
DATA = "model/fp32/model.onnx.data"
INT8 = "model/int8/model.onnx"


def npy(shape: tuple[int, ...]) -> bytes:
    header = repr({"descr": "<f4", "fortran_order": False, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


def golden_file(path: Path, samples: int) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("input.npy", "output.npy"):
            archive.writestr(zipfile.ZipInfo(name), npy((samples, 4)) + b"\0" * (16 * samples))
    return path


def variant(precision: str, files: tuple[str, ...]) -> Variant:
    return Variant(
        precision=precision, path=files[0], files=files, size_bytes=1, atol=1e-4, rtol=1e-3
    )


def model_version(**changes: object) -> ModelVersion:
    values: dict[str, object] = {
        "name": "plates",
        "version": "1.4.0",
        "digest": "sha256:" + "ab" * 32,
        "inputs": (TensorSpec(name="image", datatype="FP32", shape=(-1, 4)),),
        "outputs": (TensorSpec(name="scores", datatype="FP32", shape=(-1, 4)),),
        "opset": {"": 17},
        "ir_version": 9,
        "metrics": {"accuracy": 0.97},
        "variants": (variant("fp32", (FP32, DATA)), variant("int8", (INT8,))),
        "trained": TrainedModel(
            model=Path("out/model.onnx"),
            inputs={"data": "sha256:" + "cd" * 32},
            command=("python", "train.py"),
            revision="0" * 40,
        ),
    }
    return ModelVersion(**(values | changes))  # type: ignore[arg-type]  # built from a table


@pytest.fixture
def make_content(tmp_path: Path) -> Callable[..., PackageContent]:
    """Return a function that writes small files into a folder and says what a package holds."""

    def make(folder: Path = tmp_path / "source", **changes: object) -> PackageContent:
        folder.mkdir(parents=True, exist_ok=True)
        files = {FP32: b"fp32 " * 400, DATA: b"\x07" * 9000, INT8: b"int8 " * 100}
        local = {}
        for number, (path, data) in enumerate(files.items()):
            local[path] = folder / f"file{number}"
            local[path].write_bytes(data)
        labels = folder / "labels.txt"
        labels.write_text("zero\none\n")
        values: dict[str, object] = {
            "application": "plates",
            "version": "1.4.0",
            "model": model_version(),
            "files": local,
            "golden": golden_file(folder / "golden.npz", 6),
            "pipeline": Pipeline(postprocess=(Argmax(labels="edgectl/assets/labels.txt"),)),
            "assets": {"labels.txt": labels},
            "evaluation": {"accuracy": 0.97, "parity": {"int8": 0.001}},
        }
        return PackageContent(**(values | changes))  # type: ignore[arg-type]  # built from a table

    return make


class Built(NamedTuple):
    """A package in a layout of its own."""

    layout: Path
    package: Package

    @property
    def digest(self) -> str:
        return self.package.digest

    @property
    def store(self) -> Layout:
        return Layout.open(self.layout)


@pytest.fixture
def built(make_content: Callable[..., PackageContent], tmp_path: Path) -> Built:
    """A package that is not signed."""
    layout = tmp_path / "store"
    return Built(layout, build_package(make_content(), layout))


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    """A publisher's key, in ``keys/ec.pem`` and ``keys/ec.pub``."""
    return ensure_key(tmp_path / "keys" / "ec.pem")


@pytest.fixture
def signed(built: Built, key: SigningKey) -> Built:
    """A package that ``key`` signed."""
    sign_package(built.layout, built.digest, key)
    return built


@pytest.fixture
def quick() -> RetryPolicy:
    """Retries that do not wait."""
    return RetryPolicy(attempts=4, first_pause_s=0.01, max_pause_s=0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def skopeo() -> str:
    """The skopeo program."""
    found = shutil.which("skopeo")
    if found is None:
        pytest.skip("skopeo is missing: apt-get install docker-registry skopeo")
    return found


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a real registry; give its host and port."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry is missing: apt-get install docker-registry skopeo")
    folder = tmp_path_factory.mktemp("registry")
    host = f"127.0.0.1:{free_port()}"
    config = folder / "config.yml"
    config.write_text(
        "version: 0.1\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/data}}, delete: {{enabled: true}}}}\n"
        f"http: {{addr: '{host}'}}\n"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "serve", str(config)], stdout=log, stderr=log)
    try:
        wait_for(f"http://{host}/v2/")
        yield host
    finally:
        process.kill()
        process.wait()


def wait_for(url: str) -> None:
    deadline = time.monotonic() + 20
    with urllib3.PoolManager(retries=False, timeout=2) as pool:
        while True:
            try:
                pool.request("GET", url)
            except urllib3.exceptions.HTTPError:
                assert time.monotonic() < deadline, f"{url} does not answer"
                time.sleep(0.02)
            else:
                return


@pytest.fixture
def random_bytes() -> Callable[[int], bytes]:
    """Return bytes that compress badly and differ by size only."""

    def make(size: int) -> bytes:
        return io.BytesIO(b"".join(i.to_bytes(4, "big") for i in range(size // 4 + 1))).read(size)

    return make


@pytest.fixture(autouse=True)
def no_saved_logins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep this machine's own docker configuration out of the tests."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))

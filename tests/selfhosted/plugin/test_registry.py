"""Packages in an OCI registry beside the server: against a real registry, where there is one."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgectl import api
from edgectl.package.keys import ensure_key
from edgectl.testing.conformance.base import build_tiny_package


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A real registry; its host and port."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry is missing: apt-get install docker-registry")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    config = tmp_path / "registry.yml"
    config.write_text(
        "version: 0.1\n"
        f"storage: {{filesystem: {{rootdirectory: {tmp_path}/registry}}}}\n"
        f"http: {{addr: '{host}'}}\n"
    )
    with (tmp_path / "registry.log").open("wb") as log:
        process = subprocess.Popen([program, "serve", str(config)], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 20
        while not answers(host):
            assert time.monotonic() < deadline, (tmp_path / "registry.log").read_text()
            time.sleep(0.02)
        yield host
    finally:
        process.kill()
        process.wait()


def answers(host: str) -> bool:
    try:
        return httpx.get(f"http://{host}/v2/").status_code == 200
    except httpx.HTTPError:
        return False


def tiny_package(application: str, folder: Path) -> api.Package:
    folder.mkdir()
    return build_tiny_package(application, "1.0.0", folder, ensure_key(folder / "publisher.key"))


def test_a_package_goes_to_the_registry_too_and_once(
    fleet: Any,
    shop: Any,
    tmp_path: Path,
    registry: str,
    open_plugin: Callable[..., api.Provider],
) -> None:
    provider = open_plugin(registry=f"{registry}/team")
    package = tiny_package(fleet.application, tmp_path / "own")
    request = api.PackageRequest(
        target=fleet.target, package=package, release=shop.release(1, package)
    )
    result = provider.package(request)
    assert f"{registry}/team/{fleet.application}@{package.digest}" in result.location
    manifest = httpx.get(
        f"http://{registry}/v2/team/{fleet.application}/manifests/release-1",
        headers={"Accept": "application/vnd.oci.image.manifest.v1+json"},
    )
    assert api.sha256_digest(manifest.content) == package.digest
    assert provider.package(request).uploaded_bytes == 0


def test_a_registry_that_is_away_is_named(
    fleet: Any, shop: Any, tmp_path: Path, open_plugin: Callable[..., api.Provider]
) -> None:
    package = tiny_package(fleet.application, tmp_path / "own")
    request = api.PackageRequest(
        target=fleet.target, package=package, release=shop.release(1, package)
    )
    with pytest.raises(api.RegistryError, match=r"127\.0\.0\.1:1"):
        open_plugin(registry="127.0.0.1:1").package(request)

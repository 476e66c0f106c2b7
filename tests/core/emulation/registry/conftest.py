"""Fixtures: a registry in this process, and the plainest client there is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3

from edgectl.emulation.registry import RegistryServer

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Client:
    """Speaks to one registry as it is told, nothing by itself."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._pool = urllib3.PoolManager(retries=False, timeout=10)

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        url = path if "://" in path else self.url + path
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._pool.request(method, url, body=body, headers=named, redirect=False)

    def push_blob(self, repository: str, data: bytes) -> str:
        path = f"/v2/{repository}/blobs/uploads/?digest={digest_of(data)}"
        answer = self("POST", path, data)
        assert answer.status == 201, answer.data
        return digest_of(data)

    def push_manifest(self, repository: str, reference: str, document: dict[str, Any]) -> Any:
        path = f"/v2/{repository}/manifests/{reference}"
        kind = document.get("mediaType", MANIFEST)
        return self("PUT", path, json.dumps(document).encode(), Content_Type=kind)

    def image(self, repository: str, reference: str = "1", **more: Any) -> str:
        """Push a small manifest, and return its digest."""
        answer = self.push_manifest(repository, reference, self.document(repository, **more))
        assert answer.status == 201, answer.data
        return str(answer.headers["Docker-Content-Digest"])

    def document(self, repository: str, **more: Any) -> dict[str, Any]:
        config = {
            "mediaType": "application/vnd.oci.empty.v1+json",
            "digest": self.push_blob(repository, b"{}"),
            "size": 2,
        }
        return {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": "application/x.test",
            "config": config,
            "layers": [],
            **more,
        }

    def close(self) -> None:
        self._pool.clear()


@pytest.fixture
def make_registry(tmp_path: Path) -> Iterator[Callable[..., RegistryServer]]:
    """Return a function that starts a registry."""
    started: list[RegistryServer] = []

    def make(folder: str = "registry", **options: Any) -> RegistryServer:
        started.append(RegistryServer(tmp_path / folder, **options).start())
        return started[-1]

    yield make
    for server in started:
        server.stop()


@pytest.fixture
def registry(make_registry: Callable[..., RegistryServer]) -> RegistryServer:
    """A registry that is open to everybody."""
    return make_registry()


@pytest.fixture
def client_of() -> Iterator[Callable[[RegistryServer], Client]]:
    """Return a function that makes a client of a registry."""
    made: list[Client] = []

    def make(server: RegistryServer) -> Client:
        made.append(Client(server.url))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(registry: RegistryServer, client_of: Callable[[RegistryServer], Client]) -> Client:
    """A client of ``registry``."""
    return client_of(registry)

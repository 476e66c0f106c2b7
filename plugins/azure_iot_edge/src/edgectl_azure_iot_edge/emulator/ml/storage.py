"""The workspace's datastores: containers of the storage account, and folders in and out of them."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from edgectl_azure_iot_edge.emulator.blob.errors import BlobError
from edgectl_azure_iot_edge.emulator.blob.room import ACCOUNT, BlobRoom
from edgectl_azure_iot_edge.emulator.ml.naming import ARTIFACT_STORE, BLOB_STORE, datastore_path

CONTAINERS = {BLOB_STORE: "azureml-blobstore-0000e1", ARTIFACT_STORE: "azureml"}
_PATH = re.compile(rf"/{ACCOUNT}(?:\.blob\.[^/]+)?/([^/]+)(?:/(.*))?", re.DOTALL)


class StorageError(Exception):
    """An address means nothing here, or nothing lies there."""


class Storage:
    """Reads and writes the workspace's storage account.

    Args:
        blobs: The account.
    """

    def __init__(self, blobs: BlobRoom) -> None:
        self._blobs = blobs
        for name in CONTAINERS.values():
            blobs.store.ensure_container(name)

    def container(self, datastore: str) -> str:
        """Return a datastore's container.

        Raises:
            StorageError: There is no such datastore.
        """
        if datastore not in CONTAINERS:
            raise StorageError(f"there is no datastore '{datastore}'")
        return CONTAINERS[datastore]

    def locate(self, uri: str) -> tuple[str, str]:
        """Return the container and path that an address means.

        Raises:
            StorageError: It is of another account, or no address.
        """
        found = datastore_path(uri)
        if found is not None:
            return self.container(found[0]), found[1]
        match = _PATH.fullmatch(unquote(urlsplit(uri).path))
        if match is None:
            raise StorageError(f"'{uri}' is not in the workspace's storage")
        return match[1], match[2] or ""

    def exists(self, container: str, path: str) -> bool:
        """Say whether a blob lies at a path, or blobs below it."""
        try:
            names = self._blobs.store.names(container, path)
        except BlobError:
            return False
        below = path if path.endswith("/") or not path else f"{path}/"
        return any(name == path or name.startswith(below) for name in names)

    def fetch(self, container: str, prefix: str, folder: Path) -> int:
        """Bring what lies below a path into a folder, and say how many files that were."""
        below = prefix if not prefix or prefix.endswith("/") else f"{prefix}/"
        names = self._blobs.store.names(container, below)
        for name in names:
            target = folder / name[len(below) :]
            if not target.resolve().is_relative_to(folder.resolve()):
                raise StorageError(f"the blob '{name}' lies outside of its folder")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(self._blobs.store.read(container, name))
        return len(names)

    def fetch_input(self, container: str, path: str, folder: Path) -> Path:
        """Bring an input, a file or a folder, and return where it is.

        Raises:
            StorageError: Nothing lies there.
        """
        if not self.exists(container, path):
            raise StorageError("no blobs are there")
        folder.mkdir(parents=True)
        if self._blobs.store.find(container, path) is not None:
            target = folder / path.rpartition("/")[2]
            target.write_bytes(self._blobs.store.read(container, path))
            return target
        self.fetch(container, path, folder)
        return folder

    def send(self, folder: Path, container: str, prefix: str) -> None:
        """Bring a folder's plain files to storage."""
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                name = prefix + path.relative_to(folder).as_posix()
                self._blobs.store.put(container, name, path.read_bytes())

    def put(self, container: str, path: str, data: bytes, content_type: str) -> None:
        """Write one blob."""
        self._blobs.store.put(container, path, data, content_type=content_type)

    def names(self, container: str, prefix: str) -> list[str]:
        """Return the names of blobs that begin so."""
        return self._blobs.store.names(container, prefix)

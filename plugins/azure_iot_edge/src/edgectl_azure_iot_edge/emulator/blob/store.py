"""What the storage account keeps: containers of block blobs, in a folder, across restarts.

A blob's content is a file of its own; writing anew makes another file. Its description lies beside
it.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import os
import threading
import time
from pathlib import Path

import msgspec

from edgectl.api import Record
from edgectl_azure_iot_edge.emulator.blob.errors import BlobError


class Blob(Record, frozen=True, kw_only=True):
    """A committed blob.

    Attributes:
        etag: Without quotes.
        file: Name of the file that has its content.
        modified: Seconds since 1970.
        md5: Of its content, in Base64.
    """

    name: str
    etag: str
    file: str
    size: int
    modified: float
    created: float
    md5: str = ""
    content_type: str = "application/octet-stream"
    metadata: dict[str, str] = {}


class Store:
    """The account's containers.

    Args:
        folder: Made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.RLock()
        self._containers: dict[str, dict[str, Blob]] = {}
        self._blocks: dict[tuple[str, str], dict[str, bytes]] = {}
        self._serial = itertools.count(time.time_ns())
        folder.mkdir(parents=True, exist_ok=True)
        for place in folder.iterdir():
            self._containers[place.name] = {
                blob.name: blob
                for blob in (
                    msgspec.json.decode(file.read_bytes(), type=Blob)
                    for file in place.glob("*.json")
                )
            }

    def containers(self) -> list[str]:
        """Return the containers' names, sorted."""
        with self._lock:
            return sorted(self._containers)

    def create_container(self, name: str) -> None:
        """Make a container.

        Raises:
            BlobError: ``ContainerAlreadyExists``.
        """
        with self._lock:
            if name in self._containers:
                raise BlobError("ContainerAlreadyExists", "The specified container already exists.")
            (self._folder / name).mkdir()
            self._containers[name] = {}

    def ensure_container(self, name: str) -> None:
        """Make a container unless it is there."""
        with self._lock:
            if name not in self._containers:
                self.create_container(name)

    def delete_container(self, name: str) -> None:
        """Remove a container with everything in it.

        Raises:
            BlobError: ``ContainerNotFound``.
        """
        with self._lock:
            self._container(name)
            for file in (self._folder / name).iterdir():
                file.unlink()
            (self._folder / name).rmdir()
            del self._containers[name]

    def names(self, container: str, prefix: str = "") -> list[str]:
        """Return the names of a container's blobs, sorted.

        Raises:
            BlobError: ``ContainerNotFound``.
        """
        with self._lock:
            return sorted(name for name in self._container(container) if name.startswith(prefix))

    def get(self, container: str, name: str) -> Blob:
        """Return a blob.

        Raises:
            BlobError: ``BlobNotFound`` or ``ContainerNotFound``.
        """
        with self._lock:
            found = self._container(container).get(name)
        if found is None:
            raise BlobError("BlobNotFound", "The specified blob does not exist.")
        return found

    def find(self, container: str, name: str) -> Blob | None:
        """Return a blob, None if there is none.

        Raises:
            BlobError: ``ContainerNotFound``.
        """
        with self._lock:
            return self._container(container).get(name)

    def content(self, container: str, name: str) -> tuple[Blob, bytes]:
        """Return a blob and its content, which belong together also while somebody writes.

        Raises:
            BlobError: ``BlobNotFound`` or ``ContainerNotFound``.
        """
        with self._lock:
            blob = self.get(container, name)
            return blob, self._path(container, blob).read_bytes()

    def read(self, container: str, name: str) -> bytes:
        """Return a blob's content.

        Raises:
            BlobError: ``BlobNotFound`` or ``ContainerNotFound``.
        """
        return self.content(container, name)[1]

    def put(
        self,
        container: str,
        name: str,
        data: bytes,
        *,
        content_type: str = "",
        metadata: dict[str, str] | None = None,
    ) -> Blob:
        """Write a blob; what was there under the name is replaced.

        Raises:
            BlobError: ``ContainerNotFound``.
        """
        with self._lock:
            known = self._container(container).get(name)
            serial = next(self._serial)
            now = time.time()
            blob = Blob(
                name=name,
                etag=f"0x{serial:X}",
                file=f"{serial:x}.content",
                size=len(data),
                modified=now,
                created=known.created if known is not None else now,
                md5=base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode(),
                content_type=content_type or "application/octet-stream",
                metadata=metadata or {},
            )
            (self._folder / container / blob.file).write_bytes(data)
            self._keep(container, blob)
            self._blocks.pop((container, name), None)
            return blob

    def put_block(self, container: str, name: str, block: str, data: bytes) -> None:
        """Take a block that a block list may commit later.

        Raises:
            BlobError: ``ContainerNotFound``.
        """
        with self._lock:
            self._container(container)
            self._blocks.setdefault((container, name), {})[block] = data

    def blocks(self, container: str, name: str) -> dict[str, bytes]:
        """Return the blocks that were not committed, by id."""
        with self._lock:
            return dict(self._blocks.get((container, name), {}))

    def describe(self, container: str, name: str, metadata: dict[str, str]) -> Blob:
        """Give a blob other metadata.

        Raises:
            BlobError: ``BlobNotFound`` or ``ContainerNotFound``.
        """
        with self._lock:
            blob = msgspec.structs.replace(
                self.get(container, name),
                metadata=metadata,
                etag=f"0x{next(self._serial):X}",
                modified=time.time(),
            )
            self._keep(container, blob)
            return blob

    def delete(self, container: str, name: str) -> None:
        """Remove a blob.

        Raises:
            BlobError: ``BlobNotFound`` or ``ContainerNotFound``.
        """
        with self._lock:
            blob = self.get(container, name)
            del self._containers[container][name]
            (self._folder / container / _description(name)).unlink()
            self._path(container, blob).unlink()

    def _container(self, name: str) -> dict[str, Blob]:
        if name not in self._containers:
            raise BlobError("ContainerNotFound", "The specified container does not exist.")
        return self._containers[name]

    def _path(self, container: str, blob: Blob) -> Path:
        return self._folder / container / blob.file

    def _keep(self, container: str, blob: Blob) -> None:
        known = self._containers[container].get(blob.name)
        place = self._folder / container
        aside = place / f"{os.urandom(8).hex()}.new"
        aside.write_bytes(msgspec.json.encode(blob))
        aside.replace(place / _description(blob.name))
        self._containers[container][blob.name] = blob
        if known is not None and known.file != blob.file:
            self._path(container, known).unlink(missing_ok=True)


def _description(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest() + ".json"

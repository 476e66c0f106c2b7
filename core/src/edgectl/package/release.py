"""What a device is given for a release, next to the package's own files.

Providers carry these files in their own ways; their names and bytes are the same on all of them.
"""

from __future__ import annotations

from pathlib import Path

from edge_components.contract.package import (
    MAX_MANIFEST_BYTES,
    SIGNATURE_FILE,
    Descriptor,
    layer_paths,
)
from edge_components.contract.release import MANIFEST_FILE, RELEASE_FILE
from edgectl.package.store import Layout
from edgectl.records import Record, Release


class Blob(Record, frozen=True, kw_only=True):
    """A file of the package as it lies in the store.

    Attributes:
        path: Its path in the package.
        digest: What it has to have on arrival.
        file: Where it lies on this machine; its content is not checked yet.
    """

    path: str
    digest: str
    size: int
    file: Path


def release_files(layout: Path, release: Release) -> dict[str, bytes]:
    """Return the small files of a release: its envelope, the manifest and the signature.

    Raises:
        PackageError: The package is not in the layout.
    """
    store = Layout.open(layout)
    store.read_manifest(release.package)
    return {
        RELEASE_FILE: release.envelope,
        MANIFEST_FILE: store.read(release.package, max_bytes=MAX_MANIFEST_BYTES),
        SIGNATURE_FILE: release.signature,
    }


def package_blobs(layout: Path, digest: str) -> tuple[Blob, ...]:
    """Return the package's files, one a path, after checking that each is there.

    Raises:
        PackageError: The package or one of its files is missing or has another size.
    """
    store = Layout.open(layout)
    found = []
    for path, layer in sorted(layer_paths(store.read_manifest(digest)).items()):
        store.open_blob(layer.digest, size=layer.size).close()
        found.append(_blob(store, path, layer))
    return tuple(found)


def _blob(store: Layout, path: str, layer: Descriptor) -> Blob:
    return Blob(path=path, digest=layer.digest, size=layer.size, file=store.blob_path(layer.digest))

"""The offline bundle: one file with a signed release, its package and the package's signature.

``edge_components.contract.bundle`` has the form; here it is written. The same release gives the
same bytes: no clock, no owner, one order (small documents first, so that a reader that goes from
front to back knows early what it has). Every file of the package is hashed on its way in, so that a
damaged store cannot leave with a release. The file gets its name when it is whole and on the disk.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from edge_components.contract.bundle import (
    END,
    INDEX_FILE,
    LAYOUT_BYTES,
    LAYOUT_FILE,
    RELEASE_MARK,
    SIGNATURE_MARK,
    blob_name,
    file_header,
    padding,
)
from edge_components.contract.digest import sha256_digest
from edge_components.contract.package import (
    ARTIFACT_TYPE,
    MANIFEST_TYPE,
    MAX_MANIFEST_BYTES,
    Descriptor,
    Manifest,
)
from edge_components.contract.release import RELEASE_TYPE
from edge_components.contract.signature import BUNDLE_TYPE
from edgectl.errors import PackageError, SignatureError
from edgectl.package.files import (
    copy_hashed,
    create_exclusively,
    sync_folder,
    write_all,
)
from edgectl.package.index import Entry, Index
from edgectl.package.naming import package_tag
from edgectl.package.published import APPLICATION, NUMBER
from edgectl.package.referrers import EMPTY_TYPE
from edgectl.package.store import Layout
from edgectl.records import Release

_EMPTY = b"{}"


class _Beside(NamedTuple):
    """A small document that refers to the package: its manifest, and its one file."""

    manifest: bytes
    data: bytes


def write_bundle(layout: Path, release: Release, file: Path) -> int:
    """Write a release with everything that a device needs into one file; return its bytes.

    A file that is there is replaced, whole or not at all.

    Args:
        layout: The local store, which holds the release's package.
        release: What the devices are to run.
        file: Where it goes.

    Raises:
        SignatureError: The package is not signed.
        PackageError: The package is not in the store or was damaged there, or ``file`` cannot be
            written.
    """
    if not release.signature:
        raise SignatureError(
            f"the package '{release.package}' is not signed, so no device would take the bundle",
            hint="`edgectl package` builds and signs it",
        )
    store = Layout.open(layout)
    manifest = store.read_manifest(release.package)
    documents = _documents(store, release, manifest)
    temporary = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        try:
            with create_exclusively(temporary) as out:
                _write(out, store, documents, manifest)
                size = out.tell()
                os.fsync(out.fileno())
            temporary.replace(file)
            sync_folder(file.absolute().parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as exc:
        raise PackageError(f"the bundle '{file}' cannot be written: {exc.strerror}") from exc
    return size


def _documents(store: Layout, release: Release, manifest: Manifest) -> list[tuple[str, bytes]]:
    """Return the small files, by path in the layout."""
    data = store.read(release.package, max_bytes=MAX_MANIFEST_BYTES)
    subject = Descriptor(media_type=MANIFEST_TYPE, digest=release.package, size=len(data))
    about = {APPLICATION: release.application, NUMBER: str(release.number)}
    signed = _beside(RELEASE_TYPE, release.envelope, subject, about)
    signature = _beside(BUNDLE_TYPE, release.signature, subject, {})
    entry = Entry(
        media_type=MANIFEST_TYPE,
        digest=release.package,
        size=len(data),
        artifact_type=ARTIFACT_TYPE,
    )
    # One entry only: tools that are given no name take the one image that is listed.
    index = Index(
        manifests=(entry.tagged(package_tag(manifest)),),
        annotations={
            RELEASE_MARK: sha256_digest(signed.manifest),
            SIGNATURE_MARK: sha256_digest(signature.manifest),
        },
    )
    blobs = (signed.manifest, signed.data, signature.manifest, signature.data, _EMPTY, data)
    named = {blob_name(sha256_digest(blob)): blob for blob in blobs}
    return [(LAYOUT_FILE, LAYOUT_BYTES), (INDEX_FILE, index.to_bytes()), *named.items()]


def _beside(kind: str, data: bytes, subject: Descriptor, annotations: dict[str, str]) -> _Beside:
    """Return a document as the artifact that registries and the store hold it in."""
    manifest = Manifest(
        media_type=MANIFEST_TYPE,
        artifact_type=kind,
        config=Descriptor(media_type=EMPTY_TYPE, digest=sha256_digest(_EMPTY), size=len(_EMPTY)),
        layers=(Descriptor(media_type=kind, digest=sha256_digest(data), size=len(data)),),
        subject=subject,
        annotations=annotations,
    )
    return _Beside(manifest.to_bytes(), data)


def _write(
    out: BinaryIO, store: Layout, documents: list[tuple[str, bytes]], manifest: Manifest
) -> None:
    write = write_all(out)
    for name, data in documents:
        write(memoryview(file_header(name, len(data)) + data + padding(len(data))))
    for blob in _blobs(manifest, {name for name, _data in documents}):
        write(memoryview(file_header(blob_name(blob.digest), blob.size)))
        with store.open_blob(blob.digest, size=blob.size) as source:
            found = copy_hashed(source, write, limit=blob.size)
        if found != (blob.digest, blob.size):
            raise PackageError(
                f"the content of the blob '{blob.digest}' was changed",
                hint="build or pull the package again",
            )
        write(memoryview(padding(blob.size)))
    write(memoryview(END))


def _blobs(manifest: Manifest, there: set[str]) -> Iterator[Descriptor]:
    """Give the package's files in the manifest's order, each digest once."""
    for blob in (manifest.config, *manifest.layers):
        name = blob_name(blob.digest)
        if name not in there:
            there.add(name)
            yield blob

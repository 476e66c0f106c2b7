"""Pushing a package and its signatures to an OCI registry.

What the registry has is asked first, so nothing is sent twice; blobs are streamed from the disk.
Blobs go before the manifest that names them, and the package before its signatures. Where the
registry does not list referrers by itself, the list under the referrers tag is kept up (two
pushers at the same instant can lose an entry there; pushing again restores it).
Source: OCI distribution-spec 1.1, "Pushing manifests with subject".
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from edge_components.contract.delta import DELTAS_TYPE
from edge_components.contract.digest import sha256_digest
from edge_components.contract.package import MANIFEST_TYPE, MAX_MANIFEST_BYTES, Descriptor
from edgectl.errors import RegistryError
from edgectl.package.deltas import delta_parts
from edgectl.package.index import INDEX_TYPE, Entry, referrers_tag
from edgectl.package.progress import Progress, Report
from edgectl.package.reference import check_tag, parse_reference
from edgectl.package.referrers import find_referrers, signature_parts
from edgectl.package.remote import Repository
from edgectl.package.store import Layout
from edgectl.package.transport import RetryPolicy, Transport
from edgectl.records import Delta, Record


class PushResult(Record, frozen=True, kw_only=True):
    """What a push did.

    Attributes:
        uploaded_bytes: Bytes of blobs and manifests that really travelled.
        digest: The package's digest, the same there as here.
        signatures: How many signatures were pushed or were there already.
    """

    uploaded_bytes: int
    digest: str
    signatures: int = 0


def push(
    layout: Path,
    digest: str,
    reference: str,
    *,
    tag: str | None = None,
    insecure: bool = False,
    progress: Progress | None = None,
    mount_from: str = "",
    policy: RetryPolicy | None = None,
    deltas: Iterable[Delta] = (),
) -> PushResult:
    """Push a package and its signatures to a registry.

    Args:
        layout: The local layout.
        digest: The package's digest.
        reference: ``host[:port]/repository[:tag]``.
        tag: Another way to give the tag; with none, the package is there by digest only.
        insecure: Speak plain HTTP to a registry that is not on this machine.
        progress: Called with bytes done and bytes in all.
        mount_from: A repository of the same registry that may hold some of the files already.
        policy: How often to try again.
        deltas: Deltas of the layout that go along.

    Raises:
        RegistryError: The registry refused, or could not be reached.
        PackageError: The package is not in the layout, or breaks a rule.
    """
    place = parse_reference(reference)
    tag = check_tag(tag) if tag is not None else place.tag
    if place.digest not in {"", digest}:
        raise RegistryError(f"'{reference}' names another digest than the package '{digest}' has")
    store = Layout.open(layout)
    manifest = store.read_manifest(digest)
    data = store.read(digest, max_bytes=MAX_MANIFEST_BYTES)
    transport = Transport(place, insecure=insecure, actions="pull,push", policy=policy)
    with contextlib.closing(transport):
        upload = Upload(store, Repository(transport, place.repository), mount_from)
        upload.blobs((manifest.config, *manifest.layers), progress)
        upload.manifest(data, tag)
        signatures = find_referrers(store, digest)
        for signature in signatures:
            upload.signature(digest, signature)
        for delta in deltas:
            upload.delta(digest, delta.digest)
    return PushResult(uploaded_bytes=upload.sent, digest=digest, signatures=len(signatures))


def list_referrer(repository: Repository, digest: str, entry: Entry) -> int:
    """List what refers to a manifest where the registry does not do so by itself.

    Returns:
        The bytes that were sent for it.
    """
    listed, native = repository.referrers(digest)
    if native or any(one.digest == entry.digest for one in listed.manifests):
        return 0
    longer = listed.with_entry(entry).to_bytes()
    repository.put_manifest(referrers_tag(digest), longer, media_type=INDEX_TYPE)
    return len(longer)


class Upload:
    """Puts what is missing, and counts it in ``sent``.

    Args:
        store: Where the content lies.
        repository: Where it is to be.
        mount_from: A repository of the same registry that may hold some of it already, or "".
    """

    def __init__(self, store: Layout, repository: Repository, mount_from: str) -> None:
        self._store = store
        self._repository = repository
        self._mount_from = mount_from
        self.sent = 0

    def blobs(self, blobs: Iterable[Descriptor], progress: Progress | None = None) -> None:
        """Put the blobs that are missing there; they lie in the store."""
        distinct = {blob.digest: blob for blob in blobs}
        report = Report(progress, sum(blob.size for blob in distinct.values()))
        for blob in distinct.values():
            self._blob(blob)
            report.add(blob.size)

    def manifest(self, data: bytes, tag: str = "", *, media_type: str = MANIFEST_TYPE) -> None:
        """Put a manifest or index under a tag, or with none by its digest."""
        digest = sha256_digest(data)
        if self._repository.manifest_digest(tag or digest) != digest:
            self._repository.put_manifest(tag or digest, data, media_type=media_type)
            self.sent += len(data)

    def signature(self, digest: str, entry: Entry) -> None:
        """Put a package's signature, and list it as one."""
        data = self._store.read(entry.digest, max_bytes=MAX_MANIFEST_BYTES)
        self._referrer(digest, entry, data, signature_parts(data, subject=digest))

    def delta(self, digest: str, delta: str) -> None:
        """Put deltas to a package, and list them as such."""
        data = self._store.read(delta, max_bytes=MAX_MANIFEST_BYTES)
        entry = Entry(
            media_type=MANIFEST_TYPE, digest=delta, size=len(data), artifact_type=DELTAS_TYPE
        )
        self._referrer(digest, entry, data, delta_parts(data, digest=delta, subject=digest))

    def _referrer(
        self, digest: str, entry: Entry, data: bytes, parts: Iterable[Descriptor]
    ) -> None:
        self.blobs(parts, None)
        self.manifest(data)
        self.sent += list_referrer(self._repository, digest, entry)

    def _blob(self, blob: Descriptor) -> None:
        if self._repository.has_blob(blob.digest):
            return
        sent = self._repository.put_blob(
            blob.digest,
            blob.size,
            lambda: self._store.open_blob(blob.digest, size=blob.size),
            mount_from=self._mount_from,
        )
        self.sent += blob.size if sent else 0

"""Pulling a package and its signatures from an OCI registry.

A pull that was cut goes on where it stopped: what has arrived lies in the store's incoming folder
under the blob's digest, and the blob enters the store only when all of it has that digest. A blob
that is in the store already is checked, not fetched. A package cannot take another's tag.
Source: OCI distribution-spec 1.1, "Pull".
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from edge_components.contract.digest import digest_hex, sha256_digest
from edge_components.contract.package import (
    MANIFEST_TYPE,
    Descriptor,
    Manifest,
    parse_manifest,
)
from edge_components.contract.signature import BUNDLE_TYPE
from edgectl.errors import PackageError, RegistryError
from edgectl.package.failures import TransientError
from edgectl.package.files import CHUNK_BYTES, contract_errors, write_all
from edgectl.package.index import Entry, Index
from edgectl.package.naming import package_tag
from edgectl.package.progress import Progress, Report
from edgectl.package.reference import parse_reference
from edgectl.package.referrers import MAX_REFERRERS, signature_parts, store_signature_manifest
from edgectl.package.remote import Repository
from edgectl.package.store import PARTIAL_SUFFIX, Layout
from edgectl.package.transport import RetryPolicy, Transport


def pull(
    reference: str,
    layout: Path,
    *,
    insecure: bool = False,
    progress: Progress | None = None,
    policy: RetryPolicy | None = None,
) -> str:
    """Pull a package and its signatures into a local layout, and tag it as it was built.

    Args:
        reference: ``host[:port]/repository`` with a tag or, safer, a digest.
        layout: The layout's folder; made if it is not there.
        insecure: Speak plain HTTP to a registry that is not on this machine.
        progress: Called with bytes done and bytes in all.
        policy: How often to try again.

    Returns:
        The package's digest.

    Raises:
        RegistryError: The registry refused, or sent something else than it should.
        PackageError: What is there is not a package, or breaks a rule.
    """
    place = parse_reference(reference)
    wanted = place.digest or place.tag
    if not wanted:
        raise RegistryError(f"the reference '{reference}' has neither tag nor digest")
    store = Layout.create(layout)
    transport = Transport(place, insecure=insecure, policy=policy)
    with contextlib.closing(transport):
        repository = Repository(transport, place.repository)
        data = repository.manifest(wanted)
        if data is None:
            raise RegistryError(
                f"the registry '{place.host}' has no '{wanted}' in '{place.repository}'",
                hint="Check the repository's name and the tag or digest.",
                vendor_code="MANIFEST_UNKNOWN",
            )
        digest = sha256_digest(data)
        with contract_errors(f"what is at '{reference}'"):
            manifest = parse_manifest(data, digest=digest)
        download = Download(store, repository, transport)
        download.blobs((manifest.config, *manifest.layers), progress)
        _list_package(store, data, manifest)
        download.signatures(digest)
    return digest


class Download:
    """Gets what is missing into the store.

    Args:
        store: Where it shall lie.
        repository: Where it is.
        transport: Speaks to that registry; its policy says how often to try again.
    """

    def __init__(self, store: Layout, repository: Repository, transport: Transport) -> None:
        self._store = store
        self._repository = repository
        self._transport = transport

    def blobs(self, blobs: tuple[Descriptor, ...], progress: Progress | None = None) -> None:
        """Get the blobs that the store lacks or has damaged."""
        distinct = {blob.digest: blob for blob in blobs}
        report = Report(progress, sum(blob.size for blob in distinct.values()))
        missing = []
        for blob in distinct.values():
            if self._store.intact(blob.digest, blob.size):
                report.add(blob.size)
            else:
                missing.append(blob)
        self._check_space(sum(blob.size for blob in missing))
        for blob in missing:
            self._fetch(blob, report)

    def signatures(self, digest: str) -> None:
        """Get what signs a package; what is malformed is left out, as it would be on reading."""
        listed, _native = self._repository.referrers(digest)
        entries = [one for one in listed.manifests if one.artifact_type == BUNDLE_TYPE]
        for entry in entries[:MAX_REFERRERS]:
            data = self._repository.manifest(entry.digest)
            if data is None:
                continue
            try:
                parts = signature_parts(data, subject=digest)
            except PackageError:
                continue
            self.blobs(parts, None)
            store_signature_manifest(self._store, digest, data)

    def _check_space(self, wanted: int) -> None:
        free = shutil.disk_usage(self._store.path).free
        if wanted > free:
            raise PackageError(
                f"the package needs {wanted} bytes more, the store '{self._store.path}' has {free}",
                hint="Make room, or use another store.",
            )

    def _fetch(self, blob: Descriptor, report: Report) -> None:
        try:
            with _partial_file(self._store, blob.digest) as (file, path):
                arriving = _Arriving(file, blob, report)
                self._receive(arriving)
                if not arriving.complete:
                    path.unlink()
                    raise RegistryError(
                        f"the registry sent other content than '{blob.digest}' has",
                        hint="Something between here and the registry changes what passes.",
                    )
                os.fsync(file.fileno())
                self._store.adopt(path, blob.digest)
        except OSError as exc:
            raise PackageError(
                f"the store '{self._store.path}' cannot be written: {exc.strerror}"
            ) from exc

    def _receive(self, arriving: _Arriving) -> None:
        """Read until all bytes are here; give up after some attempts that bring none."""
        failures = 0
        while arriving.missing:
            before = arriving.missing
            try:
                self._stream(arriving)
            except TransientError as exc:
                failures = 1 if arriving.missing < before else failures + 1
                if failures >= self._transport.policy.attempts:
                    raise
                self._transport.pause(failures, exc.retry_after)

    def _stream(self, arriving: _Arriving) -> None:
        name = arriving.blob.digest
        with self._repository.blob(name, start=arriving.size) as (begin, parts):
            arriving.begin(begin)
            for part in parts:
                arriving.add(part)
        if arriving.missing:
            raise TransientError(f"the registry sent too little of '{name}'")


class _Arriving:
    """A blob on its way into a file, hashed as it comes."""

    def __init__(self, file: BinaryIO, blob: Descriptor, report: Report) -> None:
        self.blob = blob
        self.size = 0
        self._file = file
        self._report = report
        self._digest = hashlib.sha256()
        self._read_what_is_there()

    @property
    def missing(self) -> int:
        """Bytes that are not here yet."""
        return self.blob.size - self.size

    @property
    def complete(self) -> bool:
        """Whether the whole content is here and is the right one."""
        return not self.missing and "sha256:" + self._digest.hexdigest() == self.blob.digest

    def begin(self, position: int) -> None:
        """Take note where the registry begins; from 0 means all over again."""
        if position != self.size:
            self._file.seek(0)
            self._file.truncate(0)
            self._report.add(-self.size)
            self.size = 0
            self._digest = hashlib.sha256()

    def add(self, part: bytes) -> None:
        """Take the next bytes."""
        if len(part) > self.missing:
            raise RegistryError(
                f"the registry sent more than the {self.blob.size} bytes of '{self.blob.digest}'"
            )
        write_all(self._file)(memoryview(part))
        self._digest.update(part)
        self.size += len(part)
        self._report.add(len(part))

    def _read_what_is_there(self) -> None:
        if os.fstat(self._file.fileno()).st_size >= self.blob.size:
            self._file.truncate(0)
        while part := self._file.read(CHUNK_BYTES):
            self._digest.update(part)
            self.size += len(part)
        self._report.add(self.size)


@contextlib.contextmanager
def _partial_file(store: Layout, digest: str) -> Iterator[tuple[BinaryIO, Path]]:
    """Open what has arrived of a blob; another process's part is left alone."""
    store.incoming.mkdir(exist_ok=True)
    path = store.incoming / f"{digest_hex(digest)}{PARTIAL_SUFFIX}"
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o644), "r+b", buffering=0) as file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = os.path.samestat(os.fstat(file.fileno()), path.stat())
        except (BlockingIOError, FileNotFoundError):
            ours = False
        if ours:
            yield file, path
            return
    own = path.with_name(f"{digest_hex(digest)}.{os.urandom(4).hex()}")
    with os.fdopen(os.open(own, flags | os.O_EXCL, 0o644), "r+b", buffering=0) as file:
        try:
            yield file, own
        finally:
            own.unlink(missing_ok=True)


def _list_package(store: Layout, data: bytes, manifest: Manifest) -> None:
    content = store.add_bytes(data)
    tag = package_tag(manifest)
    entry = Entry(
        media_type=MANIFEST_TYPE,
        digest=content.digest,
        size=content.size,
        artifact_type=manifest.artifact_type,
    )

    def change(index: Index) -> Index:
        taken = index.find(tag) if tag else None
        free = taken is None or taken.digest == entry.digest
        return index.with_entry(entry.tagged(tag if free else ""))

    store.update_index(change)

"""Plain artifacts in a registry: files under a type, found by digest or tag; for providers.

What a provider keeps beside packages (a training's sources and results, a registered model) is an
OCI artifact too: one layer a file, with its name as the title, as ``oras`` writes and reads it.
The bytes depend on the files alone. A tag here may move, unless whoever pushes says otherwise.
Source: OCI image-spec 1.1, guidelines for artifacts.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from edge_components.contract.digest import check_digest, sha256_digest
from edge_components.contract.jsonio import decode_json
from edge_components.contract.package import (
    MANIFEST_TYPE,
    MAX_MANIFEST_BYTES,
    Descriptor,
    Manifest,
)
from edgectl.errors import ConflictError, PackageError, RegistryError
from edgectl.package.files import contract_errors
from edgectl.package.index import Entry
from edgectl.package.reference import parse_reference
from edgectl.package.referrers import EMPTY_TYPE
from edgectl.package.remote import Repository
from edgectl.package.transport import RetryPolicy, Transport
from edgectl.package.upload import list_referrer
from edgectl.records import Record

TITLE = "org.opencontainers.image.title"
FILE_TYPE = "application/octet-stream"
MAX_FILES = 1000
_EMPTY = b"{}"
_CHUNK = 1 << 20
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,500}")

Content = bytes | Path


class ArtifactFile(Record, frozen=True, kw_only=True):
    """A file of an artifact: its name, digest and size in bytes."""

    name: str
    digest: str
    size: int


class Artifact(Record, frozen=True, kw_only=True):
    """An artifact as a registry has it.

    Attributes:
        kind: Its artifact type.
        subject: The digest of what it is about, or "".
        uploaded_bytes: What really travelled to put it there; 0 for one that was read.
    """

    digest: str
    kind: str
    files: tuple[ArtifactFile, ...] = ()
    annotations: dict[str, str] = {}
    subject: str = ""
    uploaded_bytes: int = 0

    def file(self, name: str) -> ArtifactFile | None:
        """Return a file by name, None if there is none."""
        return next((file for file in self.files if file.name == name), None)


def push_artifact(
    reference: str,
    kind: str,
    files: Mapping[str, Content],
    *,
    annotations: Mapping[str, str] | None = None,
    subject: str = "",
    fixed: bool = False,
    policy: RetryPolicy | None = None,
) -> Artifact:
    """Put an artifact into a registry; what is there is not sent again.

    Args:
        reference: ``host[:port]/repository``, with a tag if it shall have one.
        kind: Its artifact type.
        files: Name to content, or to a file of this machine.
        annotations: Of its manifest.
        subject: The digest of what it is about, which is in the repository already, or "".
        fixed: Whether its tag stands for one content for ever.
        policy: How often to try again.

    Raises:
        ConflictError: The tag is fixed, and there with another content.
        RegistryError: The registry refused, could not be reached, or lacks the subject.
        PackageError: A file cannot be read.
    """
    place = parse_reference(reference)
    contents = {name: _measure(name, content) for name, content in files.items()}
    with _open(reference, "pull,push", policy) as repository:
        about = _subject(repository, subject) if subject else None
        layers = tuple(file for file, _ in (contents[name] for name in sorted(contents)))
        manifest = Manifest(
            media_type=MANIFEST_TYPE,
            artifact_type=kind,
            config=Descriptor(media_type=EMPTY_TYPE, digest=sha256_digest(_EMPTY), size=2),
            layers=layers or (_empty_layer(),),
            subject=about,
            annotations=dict(annotations or {}),
        )
        data = manifest.to_bytes()
        digest = sha256_digest(data)
        sent = _put(repository, data, place.tag, contents, fixed=fixed)
        if about is not None:
            entry = Entry(
                media_type=MANIFEST_TYPE, digest=digest, size=len(data), artifact_type=kind
            )
            sent += list_referrer(repository, subject, entry)
    return _artifact(digest, manifest, sent)


def read_artifact(reference: str, *, policy: RetryPolicy | None = None) -> Artifact | None:
    """Return the artifact that a reference with a tag or digest names, None if there is none.

    Raises:
        RegistryError: The registry refused, or could not be reached.
        PackageError: What is there is no artifact.
    """
    place = parse_reference(reference)
    name = place.digest or place.tag
    with _open(reference, "pull", policy) as repository:
        data = repository.manifest(name)
    if data is None:
        return None
    what = f"the artifact '{reference}'"
    with contract_errors(what):
        manifest = decode_json(data, Manifest, what=what, max_bytes=MAX_MANIFEST_BYTES)
        for layer in manifest.layers:
            check_digest(layer.digest)
    if len(manifest.layers) > MAX_FILES:
        raise PackageError(f"{what} has {len(manifest.layers)} files, at most {MAX_FILES} are read")
    return _artifact(sha256_digest(data), manifest, 0)


def fetch_file(
    reference: str, file: ArtifactFile, target: Path, *, policy: RetryPolicy | None = None
) -> None:
    """Bring a file of an artifact to this machine, whole or not at all.

    Raises:
        RegistryError: It is not there, or is other than its digest says.
        PackageError: The file cannot be written.
    """
    part = target.with_name(f".{target.name}.part")
    with _open(reference, "pull", policy) as repository:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _fetch(repository, file, part)
            part.replace(target)
        except OSError as exc:
            raise PackageError(f"'{target}' cannot be written: {exc.strerror}") from exc
        finally:
            part.unlink(missing_ok=True)


def artifact_tags(reference: str, *, policy: RetryPolicy | None = None) -> tuple[str, ...]:
    """Return a repository's tags; none where there is no repository.

    Raises:
        RegistryError: The registry refused, or could not be reached.
    """
    with _open(reference, "pull", policy) as repository:
        return tuple(sorted(repository.tags()))


@contextlib.contextmanager
def _open(reference: str, actions: str, policy: RetryPolicy | None) -> Iterator[Repository]:
    place = parse_reference(reference)
    with contextlib.closing(Transport(place, actions=actions, policy=policy)) as transport:
        yield Repository(transport, place.repository)


def _measure(name: str, content: Content) -> tuple[Descriptor, Content]:
    if not _NAME.fullmatch(name):
        raise PackageError(f"{name!r} cannot be the name of a file in an artifact")
    digest, size = hashlib.sha256(), 0
    try:
        with _reading(content) as file:
            while data := file.read(_CHUNK):
                digest.update(data)
                size += len(data)
    except OSError as exc:
        raise PackageError(f"'{content!r}' cannot be read: {exc.strerror}") from exc
    found = Descriptor(
        media_type=FILE_TYPE,
        digest=f"sha256:{digest.hexdigest()}",
        size=size,
        annotations={TITLE: name},
    )
    return found, content


def _reading(content: Content) -> BinaryIO:
    return io.BytesIO(content) if isinstance(content, bytes) else content.open("rb")


def _empty_layer() -> Descriptor:
    """Return the layer of an artifact without files, which has to have one."""
    return Descriptor(media_type=EMPTY_TYPE, digest=sha256_digest(_EMPTY), size=len(_EMPTY))


def _subject(repository: Repository, digest: str) -> Descriptor:
    data = repository.manifest(digest)
    if data is None:
        raise RegistryError(
            f"the registry has no '{digest}' in '{repository.name}'", vendor_code="MANIFEST_UNKNOWN"
        )
    return Descriptor(media_type=MANIFEST_TYPE, digest=digest, size=len(data))


def _put(
    repository: Repository,
    data: bytes,
    tag: str,
    contents: Mapping[str, tuple[Descriptor, Content]],
    *,
    fixed: bool,
) -> int:
    digest = sha256_digest(data)
    there = repository.manifest_digest(tag or digest)
    if there == digest:
        return 0
    if there and fixed:
        raise ConflictError(f"'{repository.name}' has another content under '{tag}': '{there}'")
    empty = (Descriptor(media_type=EMPTY_TYPE, digest=sha256_digest(_EMPTY), size=2), _EMPTY)
    sent = 0
    for blob, content in (empty, *contents.values()):
        if repository.has_blob(blob.digest):
            continue
        if repository.put_blob(blob.digest, blob.size, lambda c=content: _reading(c)):  # type: ignore[misc]  # a lambda's default cannot be annotated
            sent += blob.size
    repository.put_manifest(tag or digest, data, media_type=MANIFEST_TYPE)
    return sent + len(data)


def _fetch(repository: Repository, file: ArtifactFile, part: Path) -> None:
    seen, size = hashlib.sha256(), 0
    with repository.blob(file.digest, start=0) as (_begin, parts), part.open("wb") as out:
        for data in parts:
            size += len(data)
            if size > file.size:
                break
            seen.update(data)
            out.write(data)
        out.flush()
        os.fsync(out.fileno())
    if size != file.size or f"sha256:{seen.hexdigest()}" != file.digest:
        raise RegistryError(f"the registry sent other content than '{file.digest}' has")


def _artifact(digest: str, manifest: Manifest, sent: int) -> Artifact:
    return Artifact(
        digest=digest,
        kind=manifest.artifact_type,
        files=tuple(
            ArtifactFile(name=layer.annotations[TITLE], digest=layer.digest, size=layer.size)
            for layer in manifest.layers
            if TITLE in layer.annotations
        ),
        annotations=manifest.annotations,
        subject=manifest.subject.digest if manifest.subject is not None else "",
        uploaded_bytes=sent,
    )

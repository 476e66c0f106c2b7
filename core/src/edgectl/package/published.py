"""Releases in an OCI registry: a small artifact beside the package that it is about.

A release is a manifest whose one layer is the signed envelope and whose ``subject`` is the
package; the tag ``r<number>`` names it. A number stands for one content for ever: the tag is never
moved. Registries have no conditional write, so the tag is read before and after: of two operators
who publish the same number at the same instant with different content, the one who loses is told.
The bytes depend on the release alone, so that publishing it again sends nothing.
Source: OCI image-spec 1.1, guidelines for artifacts; distribution-spec 1.1.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator

from edge_components.contract.digest import check_digest, sha256_digest
from edge_components.contract.jsonio import decode_json
from edge_components.contract.package import (
    MANIFEST_TYPE,
    MAX_MANIFEST_BYTES,
    Descriptor,
    Manifest,
)
from edge_components.contract.release import (
    MAX_RELEASE_BYTES,
    RELEASE_TYPE,
    ReleaseDocument,
    parse_release,
    parse_release_envelope,
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

APPLICATION = "org.opencontainers.image.title"
NUMBER = "org.opencontainers.image.version"
_TAG = re.compile(r"r([1-9][0-9]{0,15})")
_EMPTY = b"{}"


class ReleaseLocation(Record, frozen=True, kw_only=True):
    """Where a release is in a registry.

    Attributes:
        digest: Its manifest's digest.
        uploaded_bytes: What really travelled; 0 where it was there already.
    """

    digest: str
    uploaded_bytes: int


class PublishedRelease(Record, frozen=True, kw_only=True):
    """A release as a registry has it.

    Attributes:
        digest: The digest of its manifest there.
        package: The package's digest.
        document: What the envelope says. Its signature is not verified here: devices do that, and
            an operator who relies on it has to.
        envelope: The bytes that devices get.
    """

    number: int
    digest: str
    package: str
    document: ReleaseDocument
    envelope: bytes


def release_tag(number: int) -> str:
    """Return the tag of a release."""
    return f"r{number}"


def push_release(
    envelope: bytes,
    package_digest: str,
    reference: str,
    application: str,
    number: int,
    *,
    policy: RetryPolicy | None = None,
) -> ReleaseLocation:
    """Put a signed release beside its package; what is there is not sent again.

    Args:
        envelope: The DSSE envelope around the release.
        package_digest: The package that it is about, which is in the repository already.
        reference: ``host[:port]/repository``.
        application: The application that the envelope names.
        number: The release's number.
        policy: How often to try again.

    Raises:
        ConflictError: The number is taken by another content.
        RegistryError: The registry refused, could not be reached, or lacks the package.
        PackageError: The envelope does not hold that release.
    """
    _check(envelope, package_digest, application, number)
    with _repository(reference, "pull,push", policy) as repository:
        subject = _package(repository, package_digest)
        manifest = _manifest(envelope, subject, application, number)
        data = manifest.to_bytes()
        tag, digest = release_tag(number), sha256_digest(data)
        sent = 0
        if not _taken(repository, tag, digest, reference):
            sent = _blob(repository, _EMPTY) + _blob(repository, envelope) + len(data)
            repository.put_manifest(tag, data, media_type=MANIFEST_TYPE)
            _taken(repository, tag, digest, reference)
        sent += list_referrer(repository, package_digest, _entry(digest, len(data)))
    return ReleaseLocation(digest=digest, uploaded_bytes=sent)


def list_releases(
    reference: str,
    *,
    limit: int | None = None,
    before: int | None = None,
    policy: RetryPolicy | None = None,
) -> tuple[PublishedRelease, ...]:
    """Return the releases of a repository, newest first; none where there is no repository.

    Each costs two requests to the registry, so a long history is read in pages.

    Args:
        reference: ``host[:port]/repository``.
        limit: How many at most.
        before: Only those with a lower number.
        policy: How often to try again.

    Raises:
        RegistryError: The registry refused, or could not be reached.
        PackageError: What has a release's tag is not one.
    """
    with _repository(reference, "pull", policy) as repository:
        numbers = sorted(_numbers(repository), reverse=True)
        wanted = [one for one in numbers if before is None or one < before][:limit]
        found = (_read(repository, release_tag(number), number) for number in wanted)
        return tuple(release for release in found if release is not None)


def read_release(
    reference: str, release: int | str, *, policy: RetryPolicy | None = None
) -> PublishedRelease:
    """Return one release.

    Args:
        reference: ``host[:port]/repository``.
        release: Its number, or the digest of its manifest.
        policy: How often to try again.

    Raises:
        RegistryError: It is not there, or the registry refused.
        PackageError: What is there is not that release.
    """
    if isinstance(release, str):
        with contract_errors("a release's digest"):
            name = check_digest(release)
    else:
        name = release_tag(release)
    with _repository(reference, "pull", policy) as repository:
        number = release if isinstance(release, int) else None
        found = _read(repository, name, number)
    if found is None:
        raise RegistryError(
            f"'{reference}' has no release '{name}'", vendor_code="MANIFEST_UNKNOWN"
        )
    return found


@contextlib.contextmanager
def _repository(reference: str, actions: str, policy: RetryPolicy | None) -> Iterator[Repository]:
    place = parse_reference(reference)
    if place.tag or place.digest:
        raise RegistryError(
            f"the reference '{reference}' names a manifest in place of a repository",
            hint="Write it as host[:port]/repository.",
        )
    with contextlib.closing(Transport(place, actions=actions, policy=policy)) as transport:
        yield Repository(transport, place.repository)


def _check(envelope: bytes, package: str, application: str, number: int) -> None:
    found = _document(envelope)
    stated = (found.application, found.number, found.package)
    if stated != (application, number, package):
        raise PackageError(
            f"the envelope holds release {found.number} of '{found.application}' with package "
            f"'{found.package}', not release {number} of '{application}' with '{package}'"
        )


def _document(envelope: bytes) -> ReleaseDocument:
    with contract_errors("the release"):
        return parse_release(parse_release_envelope(envelope).payload_bytes())


def _package(repository: Repository, digest: str) -> Descriptor:
    data = repository.manifest(digest)
    if data is None:
        raise RegistryError(
            f"the registry has no package '{digest}' in '{repository.name}'",
            hint="Push the package first.",
            vendor_code="MANIFEST_UNKNOWN",
        )
    return Descriptor(media_type=MANIFEST_TYPE, digest=digest, size=len(data))


def _manifest(envelope: bytes, subject: Descriptor, application: str, number: int) -> Manifest:
    return Manifest(
        media_type=MANIFEST_TYPE,
        artifact_type=RELEASE_TYPE,
        config=Descriptor(media_type=EMPTY_TYPE, digest=sha256_digest(_EMPTY), size=len(_EMPTY)),
        layers=(
            Descriptor(media_type=RELEASE_TYPE, digest=sha256_digest(envelope), size=len(envelope)),
        ),
        subject=subject,
        annotations={APPLICATION: application, NUMBER: str(number)},
    )


def _entry(digest: str, size: int) -> Entry:
    return Entry(media_type=MANIFEST_TYPE, digest=digest, size=size, artifact_type=RELEASE_TYPE)


def _taken(repository: Repository, tag: str, digest: str, reference: str) -> bool:
    """Say whether the tag is there with our content.

    Raises:
        ConflictError: It is there with another.
    """
    there = repository.manifest_digest(tag)
    if there not in {"", digest}:
        raise ConflictError(
            f"'{reference}' has another release under '{tag}': '{there}'",
            hint="Another operator published that number; deploy again to take the next one.",
        )
    return bool(there)


def _blob(repository: Repository, data: bytes) -> int:
    digest = sha256_digest(data)
    if repository.has_blob(digest):
        return 0
    return len(data) if repository.put_blob(digest, len(data), lambda: io.BytesIO(data)) else 0


def _numbers(repository: Repository) -> Iterator[int]:
    for tag in repository.tags():
        if match := _TAG.fullmatch(tag):
            yield int(match[1])


def _read(repository: Repository, name: str, number: int | None) -> PublishedRelease | None:
    """Return the release with that tag or digest, None if there is none (any more)."""
    data = repository.manifest(name)
    if data is None:
        return None
    what = f"the release '{name}' in '{repository.name}'"
    with contract_errors(what):
        manifest = decode_json(
            data, Manifest, what=what, max_bytes=MAX_MANIFEST_BYTES, unique_keys=True
        )
    if manifest.artifact_type != RELEASE_TYPE or manifest.subject is None:
        raise PackageError(f"{what} is not a release")
    if [layer.media_type for layer in manifest.layers] != [RELEASE_TYPE]:
        raise PackageError(f"{what} has to hold one envelope")
    envelope = _envelope(repository, manifest.layers[0], what)
    document = _document(envelope)
    stated = (document.package, document.number if number is None else number)
    if stated != (manifest.subject.digest, document.number):
        raise PackageError(f"{what} says otherwise than its envelope what it is")
    return PublishedRelease(
        number=document.number,
        digest=sha256_digest(data),
        package=document.package,
        document=document,
        envelope=envelope,
    )


def _envelope(repository: Repository, layer: Descriptor, what: str) -> bytes:
    with contract_errors(what):
        check_digest(layer.digest)
    if not 0 < layer.size <= 2 * MAX_RELEASE_BYTES:
        raise PackageError(f"{what} says that its envelope has {layer.size} bytes")
    data = repository.small_blob(layer.digest, layer.size)
    if len(data) != layer.size or sha256_digest(data) != layer.digest:
        raise RegistryError(f"the registry sent other content than '{layer.digest}' has")
    return data

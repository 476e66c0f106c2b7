"""Registries for providers, without making every import of the API pay for HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgectl.package.published import PublishedRelease, ReleaseLocation


def push_package(layout: Path, digest: str, reference: str, *, tag: str | None = None) -> int:
    """Push a package and its signatures to an OCI registry; what is there is not sent again.

    Args:
        layout: The local layout.
        digest: The package's digest.
        reference: ``host[:port]/repository``.
        tag: A tag for the package; with none it is there by digest only.

    Returns:
        The bytes that really travelled.

    Raises:
        RegistryError: The registry refused, or could not be reached.
        PackageError: The package is not in the layout, or breaks a rule.
    """
    from edgectl.package.registry import push  # noqa: PLC0415 - 0.3 s that only pushing is worth

    return push(layout, digest, reference, tag=tag).uploaded_bytes


def push_release(
    envelope: bytes, package_digest: str, reference: str, application: str, number: int
) -> ReleaseLocation:
    """Put a signed release beside its package as ``r<number>``; what is there is not sent again.

    Args:
        envelope: The DSSE envelope around the release.
        package_digest: The package that it is about, which is in the repository already.
        reference: ``host[:port]/repository``.
        application: The application that the envelope names.
        number: The release's number.

    Returns:
        The digest that devices fetch it by, and the bytes that really travelled.

    Raises:
        ConflictError: The number is taken by another content.
        RegistryError: The registry refused, could not be reached, or lacks the package.
        PackageError: The envelope does not hold that release.
    """
    from edgectl.package import published  # noqa: PLC0415 - as above

    return published.push_release(envelope, package_digest, reference, application, number)


def list_releases(
    reference: str, *, limit: int | None = None, before: int | None = None
) -> tuple[PublishedRelease, ...]:
    """Return the releases of a repository, newest first; none where there is no repository.

    Each costs two requests to the registry, so a long history is read in pages.

    Args:
        reference: ``host[:port]/repository``.
        limit: How many at most.
        before: Only those with a lower number.

    Raises:
        RegistryError: The registry refused, or could not be reached.
        PackageError: What has a release's tag is not one.
    """
    from edgectl.package import published  # noqa: PLC0415 - as above

    return published.list_releases(reference, limit=limit, before=before)


def read_release(reference: str, release: int | str) -> PublishedRelease:
    """Return one release of a repository; its signature is not verified here.

    Args:
        reference: ``host[:port]/repository``.
        release: Its number, or the digest of its manifest.

    Raises:
        RegistryError: It is not there, or the registry refused.
        PackageError: What is there is not that release.
    """
    from edgectl.package import published  # noqa: PLC0415 - as above

    return published.read_release(reference, release)

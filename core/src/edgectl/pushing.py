"""Registries for providers, without making every import of the API pay for HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgectl.package.image import ImageLocation
    from edgectl.package.published import PublishedRelease, ReleaseLocation
    from edgectl.records import Delta


def push_package(
    layout: Path,
    digest: str,
    reference: str,
    *,
    tag: str | None = None,
    deltas: tuple[Delta, ...] = (),
) -> int:
    """Push a package and its signatures to an OCI registry; what is there is not sent again.

    Args:
        layout: The local layout.
        digest: The package's digest.
        reference: ``host[:port]/repository``.
        tag: A tag for the package; with none it is there by digest only.
        deltas: Deltas of the layout that go along.

    Returns:
        The bytes that really travelled.

    Raises:
        RegistryError: The registry refused, or could not be reached.
        PackageError: The package is not in the layout, or breaks a rule.
    """
    from edgectl.package.registry import push  # noqa: PLC0415 - 0.3 s that only pushing is worth

    return push(layout, digest, reference, tag=tag, deltas=deltas).uploaded_bytes


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


def append_layer(
    base: str,
    files: Mapping[str, bytes | Path] | Path,
    target: str,
    *,
    environment: Mapping[str, str] | None = None,
    platforms: tuple[str, ...] = ("linux/amd64", "linux/arm64"),
) -> ImageLocation:
    """Make a container image of another one and a layer on top, without a container tool.

    The layer has no clock in it, so the same base and files give the same digest.

    Args:
        base: ``host[:port]/repository`` with a tag or digest, or ``scratch`` for nothing.
        files: Path in the image (without the leading slash) → content or a file; or a folder.
        target: ``host[:port]/repository``, with a tag if it shall have one; a tag moves.
        environment: Variables that processes in the image get besides.
        platforms: What an image on ``scratch`` is for; one makes no index.

    Returns:
        The image's digest, and the bytes that really travelled.

    Raises:
        RegistryError: A registry refused, or could not be reached, or lacks the base image.
        PackageError: A file cannot be read or has no plain path, or the base is not an image.
    """
    from edgectl.package import image  # noqa: PLC0415 - as above

    return image.append_layer(base, files, target, environment=environment, platforms=platforms)


def image_digest(reference: str) -> str:
    """Return the digest of the image that a reference names now.

    Raises:
        RegistryError: The registry has none, refused, or could not be reached.
    """
    from edgectl.package import image  # noqa: PLC0415 - as above

    return image.image_digest(reference)

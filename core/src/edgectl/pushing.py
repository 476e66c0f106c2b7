"""Pushing packages for providers, without making every import of the API pay for HTTP."""

from __future__ import annotations

from pathlib import Path


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

"""Documents of a package in the local store, for what a deployment has to know of it."""

from __future__ import annotations

from pathlib import Path

from edgectl.api import (
    MAX_MANIFEST_BYTES,
    PIPELINE_FILE,
    ContractError,
    Manifest,
    PackageError,
    Pipeline,
    digest_hex,
    layer_paths,
    parse_manifest,
    parse_pipeline,
)


def blob_path(layout: Path, digest: str) -> Path:
    """Return where a blob lies in the store."""
    return layout / "blobs" / "sha256" / digest_hex(digest)


def manifest_bytes(layout: Path, digest: str) -> bytes:
    """Return a package's manifest.

    Raises:
        PackageError: The store does not have it.
    """
    try:
        with blob_path(layout, digest).open("rb") as file:
            return file.read(MAX_MANIFEST_BYTES + 1)
    except OSError as exc:
        raise PackageError(
            f"the package '{digest}' is not in the local store",
            hint="`edgectl package --pull` fetches it from a registry",
        ) from exc


def read_manifest(layout: Path, digest: str) -> Manifest:
    """Return a package's manifest, checked.

    Raises:
        PackageError: The store does not have it, or it breaks a rule.
    """
    data = manifest_bytes(layout, digest)
    try:
        return parse_manifest(data, digest=digest)
    except ContractError as exc:
        raise PackageError(f"the package '{digest}' cannot be used: {exc}") from exc


def read_pipeline(layout: Path, digest: str) -> Pipeline | None:
    """Return a package's pipeline, or None where it has none.

    Raises:
        PackageError: The store does not have the package, or it breaks a rule.
    """
    layer = layer_paths(read_manifest(layout, digest)).get(PIPELINE_FILE)
    if layer is None:
        return None
    try:
        return parse_pipeline(blob_path(layout, layer.digest).read_bytes())
    except (OSError, ContractError) as exc:
        raise PackageError(f"the package '{digest}' cannot be used: {exc}") from exc

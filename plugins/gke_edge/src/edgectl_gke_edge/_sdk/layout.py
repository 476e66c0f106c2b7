"""Reading a package from the local OCI layout (image-spec, image-layout: ``blobs/sha256/…``)."""

from __future__ import annotations

from pathlib import Path

from edgectl.api import PackageError, digest_hex, sha256_digest


def blob_path(layout: Path, digest: str) -> Path:
    """Return where a blob lies."""
    return layout / "blobs" / "sha256" / digest_hex(digest)


def read_blob(layout: Path, digest: str) -> bytes:
    """Return a small blob.

    Raises:
        PackageError: It is not there, or is other than its digest says.
    """
    path = blob_path(layout, digest)
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise PackageError(
            f"the store has no '{digest}': {exc.strerror}",
            hint="run `edgectl package` first",
        ) from exc
    if sha256_digest(data) != digest:
        raise PackageError(f"'{path}' holds something else than its name says")
    return data

"""A tar layer that depends on nothing but its files: sorted, without clock, owner or folders.

Folders are left out on purpose: an entry for ``/etc`` or ``/tmp`` would replace the owner and mode
that the image below gives them. Readers of layers make missing ones. It is not compressed: models
hardly compress, and zlib's bytes differ from one build to the next.
Source: OCI image-spec 1.1, image layer filesystem changeset.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from edge_components.contract.package import check_path
from edgectl.errors import PackageError
from edgectl.package.files import Content, contract_errors, open_regular

LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
_WHITEOUT = ".wh."
_EXECUTABLE = 0o100

Files = Mapping[str, bytes | Path] | Path
"""Path in the image → content or a file that has it; or a folder with the files at their paths."""


def write_layer(files: Files, path: Path) -> Content:
    """Write a layer, and say its digest (which is its diff id too) and size.

    Args:
        files: What is in it; paths have no leading slash. Of a file's mode only whether its owner
            may run it is kept.
        path: Where to write; must not exist.

    Raises:
        PackageError: There is no file, a path is not plain, or a file cannot be read.
    """
    found = _listed(files)
    if not found:
        raise PackageError("an image layer needs a file at least")
    with path.open("xb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for name in sorted(found):
                _add(archive, name, found[name])
        size = file.tell()
    with path.open("rb") as file:
        return Content("sha256:" + hashlib.file_digest(file, "sha256").hexdigest(), size)


def _listed(files: Files) -> dict[str, bytes | Path]:
    if isinstance(files, Path):
        below = (path for path in files.rglob("*") if not path.is_dir() or path.is_symlink())
        files = {path.relative_to(files).as_posix(): path for path in below}
    for name in files:
        with contract_errors("an image layer"):
            check_path(name)
        if any(part.startswith(_WHITEOUT) for part in name.split("/")):
            raise PackageError(f"'{name}' would hide a file of the image below")
    return dict(files)


def _add(archive: tarfile.TarFile, name: str, content: bytes | Path) -> None:
    info = tarfile.TarInfo(name)
    if isinstance(content, bytes):
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
        return
    with open_regular(content) as raw:
        info.size = content.stat().st_size
        info.mode = 0o755 if content.stat().st_mode & _EXECUTABLE else 0o644
        with _buffered(raw) as file:
            archive.addfile(info, file)


def _buffered(raw: BinaryIO) -> BinaryIO:
    """Return a reader that gives as many bytes as it is asked for, which tarfile relies on."""
    assert isinstance(raw, io.RawIOBase)  # noqa: S101 - open_regular opens without a buffer
    return io.BufferedReader(raw, 1 << 20)

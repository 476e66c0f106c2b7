"""Unpacking what a training job left, without believing it.

The archive was made by whatever ran in the container. Only regular files with plain paths come
out of it, at most so many and so large, and only onto paths that the caller allows.
"""

from __future__ import annotations

import gzip
import shutil
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, Self

from edgectl.api import TrainError

MAX_FILES = 1000
MAX_BYTES = 16 << 30
MAX_HEADER_BYTES = 64 << 10
_CHUNK = 1 << 20
_HEADERS = {
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
}


class _Member(tarfile.TarInfo):
    """A member whose own description is short; tarfile would read a long one into memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Read a header block."""
        member = super().frombuf(buf, encoding, errors)
        if member.type in _HEADERS and member.size > MAX_HEADER_BYTES:
            raise TrainError("the training job's archive describes a file at endless length")
        return member


class _Bounded:
    """A stream that ends with an error when too much comes out of it."""

    def __init__(self, stream: gzip.GzipFile, most: int) -> None:
        self._stream = stream
        self._left = most

    def read(self, size: int) -> bytes:
        """Read on."""
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise TrainError("more comes out of the training job's archive than a model may have")
        return data


def unpack(
    archive: Path,
    into: Path,
    *,
    allowed: Callable[[str], bool],
    max_bytes: int = MAX_BYTES,
) -> list[str]:
    """Unpack a ``.tar.gz`` and return the paths of what came out of it.

    Args:
        archive: The file.
        into: An empty folder.
        allowed: Whether a path may be unpacked; others are left out.
        max_bytes: What may come out of it altogether.

    Raises:
        TrainError: It is no archive, or holds what does not belong into one.
    """
    most = min(max_bytes, shutil.disk_usage(into).free)
    try:
        with gzip.open(archive) as zipped:
            bounded: Any = _Bounded(zipped, most + MAX_FILES * (MAX_HEADER_BYTES + 4096))
            with tarfile.open(fileobj=bounded, mode="r|", tarinfo=_Member) as whole:
                return _unpack(whole, into, allowed, most)
    except (tarfile.TarError, EOFError, zlib.error, OSError, UnicodeError, RecursionError) as exc:
        raise TrainError(f"the training job's archive cannot be unpacked: {exc}") from exc


def _unpack(
    whole: tarfile.TarFile, into: Path, allowed: Callable[[str], bool], most: int
) -> list[str]:
    found: list[str] = []
    left = most
    for count, member in enumerate(whole):
        name = _checked(member)
        left -= member.size
        if left < 0 or count >= MAX_FILES:
            raise TrainError(
                f"the training job's archive has more than {MAX_FILES} entries or {most:,} bytes"
            )
        if name is not None and allowed(name):
            _write(whole, member, into / name)
            found.append(name)
    return found


def _checked(member: tarfile.TarInfo) -> str | None:
    """Return a member's path; None for a folder.

    Raises:
        TrainError: It is a link or a device, or its path leaves the folder.
    """
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\0" in member.name:
        raise TrainError(f"the training job's archive has the path '{member.name[:200]}'")
    if member.isdir():
        return None
    if not member.isreg():
        raise TrainError(
            f"the training job's archive has '{member.name[:200]}', which is no regular file",
            hint="the training must not leave links in its output folder",
        )
    return path.as_posix()


def _write(whole: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source = whole.extractfile(member)
    if source is None:
        raise TrainError(f"the training job's archive has no content for '{member.name[:200]}'")
    with source, target.open("xb") as file:
        shutil.copyfileobj(source, file, _CHUNK)

"""Durable changes to files: each one is whole after a power cut, or did not happen.

Every change that recovery depends on goes through ``Disk``, and before and after each of its
steps it calls ``step`` with the step's name. In service that does nothing; the tests cut the
power there.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

TMP_SUFFIX = ".tmp"
_NO_LINKS = {errno.EPERM, errno.EXDEV, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class DiskFullError(Exception):
    """There is no room for what was to be written."""


def is_full(error: OSError) -> bool:
    """Return whether the error says that disk or quota are exhausted."""
    return error.errno in _FULL


def _no_step(_name: str) -> None:
    return None


class Disk:
    """Durable file operations.

    Args:
        step: Called with a name at every instant at which a power cut makes a difference.
    """

    def __init__(self, step: Callable[[str], None] = _no_step) -> None:
        self.step = step

    def write(self, path: Path, data: bytes) -> None:
        """Replace the file at ``path``: afterwards it holds the old bytes or the new ones.

        Raises:
            DiskFullError: There is no room; the old file stands.
        """
        temporary = path.with_name(path.name + TMP_SUFFIX)
        self.fill(temporary, data)
        self.rename(temporary, path)

    def fill(self, path: Path, data: bytes) -> None:
        """Write a file that nothing refers to yet; its bytes are durable afterwards.

        Raises:
            DiskFullError: There is no room; the file is gone.
        """
        self.step(f"fill {path.name}: begin")
        try:
            with path.open("wb") as file:
                file.write(data)
                self.step(f"fill {path.name}: written")
                file.flush()
                os.fsync(file.fileno())
        except OSError as exc:
            path.unlink(missing_ok=True)
            if is_full(exc):
                raise DiskFullError(f"no room to write '{path.name}'") from exc
            raise

    def rename(self, source: Path, target: Path) -> None:
        """Move a finished file or folder to its place, on the same file system."""
        self.step(f"rename {target.name}: begin")
        source.replace(target)
        self.step(f"rename {target.name}: renamed")
        self.sync_folder(target.parent)
        self.step(f"rename {target.name}: done")

    def link(self, source: Path, target: Path) -> None:
        """Make ``target`` the same file as ``source``, or a copy where links do not work.

        Raises:
            DiskFullError: There is no room.
        """
        self.step(f"link {target.name}: begin")
        try:
            try:
                target.hardlink_to(source)
            except OSError as exc:
                if exc.errno not in _NO_LINKS:
                    raise
                _copy(source, target)
        except OSError as exc:
            if is_full(exc):
                raise DiskFullError(f"no room for '{target.name}'") from exc
            raise
        self.step(f"link {target.name}: done")

    def remove(self, path: Path) -> None:
        """Remove a file or a folder; a folder first loses its name, so that no half stays."""
        self.step(f"remove {path.name}: begin")
        if path.is_dir() and not path.is_symlink():
            doomed = path
            if not path.name.endswith(TMP_SUFFIX):
                doomed = path.with_name(path.name + TMP_SUFFIX)
                shutil.rmtree(doomed, ignore_errors=True)
                path.replace(doomed)
                self.step(f"remove {path.name}: renamed")
            shutil.rmtree(doomed, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        self.step(f"remove {path.name}: done")

    def sync_folder(self, folder: Path) -> None:
        """Make the folder's entries durable."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def links_work(folder: Path) -> bool:
    """Return whether the file system of ``folder`` has hard links."""
    source, target = folder / f"probe{TMP_SUFFIX}", folder / f"probe-link{TMP_SUFFIX}"
    target.unlink(missing_ok=True)
    try:
        source.touch()
        target.hardlink_to(source)
    except OSError:
        return False
    finally:
        target.unlink(missing_ok=True)
        source.unlink(missing_ok=True)
    return True


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as reader, target.open("wb") as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)
        writer.flush()
        os.fsync(writer.fileno())

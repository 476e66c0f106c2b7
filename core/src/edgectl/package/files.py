"""How files are opened and copied: never through a link, hashed while they are copied.

A copy reads each byte once: a helper thread hashes one buffer while the next is read and written,
so hashing costs no second pass over a large model. What was written is flushed to the disk before
it gets its final name; a name therefore never stands for half a file, also after a power failure.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import cycle
from pathlib import Path
from typing import BinaryIO, NamedTuple

from edge_components.contract.errors import ContractError
from edgectl.errors import PackageError, SignatureError

CHUNK_BYTES = 2 << 20


class Content(NamedTuple):
    """What was copied: its digest (``sha256:…``) and its size in bytes."""

    digest: str
    size: int


@contextlib.contextmanager
def contract_errors(what: str) -> Iterator[None]:
    """Turn a broken rule of the contract into the error that people see.

    Args:
        what: What was being read, for the message.

    Raises:
        PackageError: A ``ContractError`` came up; its code is kept in ``vendor_code``.
        SignatureError: The same, where the rule is about signatures.
    """
    try:
        yield
    except ContractError as exc:
        kind = SignatureError if exc.code == "bad-signature" else PackageError
        raise kind(f"{what}: {exc}", vendor_code=exc.code) from exc


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading if it is a plain file and not a link.

    Raises:
        PackageError: It is missing, a link, a device, a pipe or a folder, or may not be read.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except OSError as exc:
        reason = "it is a link" if exc.errno == errno.ELOOP else exc.strerror
        raise PackageError(f"'{path}' cannot be read: {reason}") from exc
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise PackageError(f"'{path}' is not a plain file")
    return os.fdopen(descriptor, "rb", buffering=0)


def read_regular(path: Path, *, max_bytes: int) -> bytes:
    """Return a plain file's content.

    Raises:
        PackageError: See ``open_regular``; or the file has more than ``max_bytes`` bytes.
    """
    with open_regular(path) as file:
        data = read_up_to(file, max_bytes + 1)
    if len(data) > max_bytes:
        raise PackageError(f"'{path}' has more than the {max_bytes} bytes that are allowed")
    return data


def read_up_to(file: BinaryIO, max_bytes: int) -> bytes:
    """Return at most ``max_bytes`` bytes from where an unbuffered file stands."""
    parts: list[bytes] = []
    missing = max_bytes
    while missing and (part := file.read(min(missing, CHUNK_BYTES))):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def copy_hashed(source: BinaryIO, write: Callable[[memoryview], object], *, limit: int) -> Content:
    """Copy a stream in one pass and say what it was.

    Args:
        source: An unbuffered file.
        write: Takes each part; what it is given is valid during the call only.
        limit: More bytes than this are an error, found before they are written.

    Raises:
        PackageError: The stream is longer than ``limit``.
    """
    digest = hashlib.sha256()
    size = 0
    hashing: Future[None] | None = None
    room = min(CHUNK_BYTES, limit + 1)
    with ThreadPoolExecutor(1) as pool:
        for buffer in cycle((bytearray(room), bytearray(room))):
            count = _fill(source, buffer)
            if not count:
                break
            size += count
            if size > limit:
                raise PackageError(f"the content is larger than the {limit} bytes it should have")
            part = memoryview(buffer)[:count]
            if hashing is not None:
                hashing.result()
            hashing = pool.submit(digest.update, part)
            write(part)
    return Content("sha256:" + digest.hexdigest(), size)


def write_all(file: BinaryIO) -> Callable[[memoryview], None]:
    """Return a writer for ``copy_hashed`` that writes every byte to an unbuffered file."""

    def write(part: memoryview) -> None:
        done = 0
        while done < len(part):
            done += file.write(part[done:])

    return write


def write_atomically(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Give ``path`` this content whole or not at all, also when the power fails."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        with create_exclusively(temporary, mode=mode) as file:
            write_all(file)(memoryview(data))
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def create_exclusively(path: Path, *, mode: int = 0o644) -> BinaryIO:
    """Create a file for writing that must not exist; a link in its place is not followed.

    Raises:
        OSError: It exists, or cannot be created.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, mode), "wb", buffering=0)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fill(source: BinaryIO, buffer: bytearray) -> int:
    count = source.readinto(buffer)  # type: ignore[attr-defined]  # BinaryIO lacks readinto
    return int(count or 0)

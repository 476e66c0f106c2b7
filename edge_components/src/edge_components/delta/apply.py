"""Applying a delta: old file and delta in, new file out, one piece in memory at a time.

Used as a program (``python -m edge_components.delta.apply OLD DELTA NEW [MEMORY]``) by those that
must not hold numpy in their own memory.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import resource
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from edge_components.contract.delta import (
    MAX_HEAD_BYTES,
    MAX_PIECE_BYTES,
    Codec,
    Copy,
    Data,
    DeltaDocument,
    Diff,
    Piece,
    Sparse,
    Stream,
    parse_delta,
)
from edge_components.contract.digest import digest_hex
from edge_components.contract.errors import ContractError
from edge_components.delta.numbers import TYPES, Unsigned, from_planes, moved, sorting

_BLOCK = 1 << 20
_LZMA_BYTES = 32 << 20


class DeltaError(Exception):
    """The delta does not make the file: the whole one has to be fetched."""


def apply_delta(old: Path, delta: BinaryIO, write: Callable[[bytes], Any]) -> DeltaDocument:
    """Make a file from the one before.

    Args:
        old: The file before.
        delta: The delta, from its first byte.
        write: Takes the new file's bytes in order. What it was given is to be thrown away when
            this raises.

    Raises:
        DeltaError: It is no delta, needs another old file, or what comes out is not its file.
        OSError: A file cannot be read.
    """
    try:
        document = parse_delta(_head(delta))
    except ContractError as exc:
        raise DeltaError(str(exc)) from exc
    digest = hashlib.sha256()
    with old.open("rb") as before:
        if hashlib.file_digest(before, "sha256").hexdigest() != digest_hex(document.old):
            raise DeltaError("the delta is for another old file")
        for piece in document.pieces:
            for data in _made(before, delta, piece):
                digest.update(data)
                write(data)
    if digest.hexdigest() != digest_hex(document.new):
        raise DeltaError("what the delta makes is not its file")
    return document


def _head(delta: BinaryIO) -> bytes:
    line = delta.readline(MAX_HEAD_BYTES + 1)
    if not line.endswith(b"\n"):
        raise DeltaError("the delta has no document")
    return line


def _made(old: BinaryIO, delta: BinaryIO, piece: Piece) -> Any:
    """Yield the bytes of a piece."""
    match piece:
        case Copy():
            _go_to(old, piece)
            for begin in range(0, piece.size, _BLOCK):
                yield _exactly(old, min(_BLOCK, piece.size - begin))
        case Data():
            yield _unpacked(delta, piece.stream, piece.size)
        case Diff():
            before = _elements(old, piece)
            count = len(before)
            by = from_planes([_unpacked(delta, one, count) for one in piece.streams], count)
            yield moved(before, _unsorted(before, by, piece.sorted), piece.kind).tobytes()
        case Sparse():
            yield _sparse(old, delta, piece)


def _sparse(old: BinaryIO, delta: BinaryIO, piece: Sparse) -> bytes:
    elements = _elements(old, piece)
    places = _places(_unpacked(delta, piece.gaps, None), piece.count, len(elements))
    streams = [_unpacked(delta, one, piece.count) for one in piece.streams]
    before = elements[places]
    by = _unsorted(before, from_planes(streams, piece.count), piece.sorted)
    elements[places] = moved(before, by, piece.kind)
    return elements.tobytes()


def _unsorted(before: Unsigned, by: Unsigned, is_sorted: bool) -> Unsigned:
    if not is_sorted:
        return by
    if before.dtype.itemsize == 1:
        raise DeltaError("bytes have no exponents to be sorted by")
    found = np.empty_like(by)
    found[sorting(before)] = by
    return found


def _places(gaps: bytes, count: int, most: int) -> Any:
    """Return the indices of the elements that have moved."""
    steps = np.frombuffer(gaps, np.uint8)
    is_last = steps != 255
    ends = np.cumsum(steps.astype(np.int64))[is_last]
    if len(ends) != count or (len(steps) and not is_last[-1]):
        raise DeltaError("the gaps of a piece are not those of its elements")
    places = ends + np.arange(count)
    if count and places[-1] >= most:
        raise DeltaError("a piece moves elements that it does not have")
    return places


def _elements(old: BinaryIO, piece: Diff | Sparse) -> Unsigned:
    _go_to(old, piece)
    return np.frombuffer(_exactly(old, piece.size), TYPES[piece.width]).copy()


def _go_to(old: BinaryIO, piece: Copy | Diff | Sparse) -> None:
    if piece.at + piece.size > os.fstat(old.fileno()).st_size:
        raise DeltaError("the delta reads behind the end of the old file")
    old.seek(piece.at)


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise DeltaError("a file ends too early")
    return data


def _unpacked(delta: BinaryIO, stream: Stream, size: int | None) -> bytes:
    """Return what a stream holds: exactly ``size`` bytes, or any number up to a piece's."""
    if stream.size > MAX_PIECE_BYTES:
        raise DeltaError("a stream is larger than a piece")
    packed = _exactly(delta, stream.size)
    most = MAX_PIECE_BYTES if size is None else size
    try:
        data = _unpack(stream.codec, packed, most + 1)
    except (OSError, ValueError, EOFError, zlib.error, lzma.LZMAError) as exc:
        raise DeltaError(f"a stream cannot be unpacked: {exc}") from exc
    if len(data) > most or (size is not None and len(data) != size):
        raise DeltaError("a stream does not hold what its piece needs")
    return data


def _unpack(codec: Codec, packed: bytes, most: int) -> bytes:
    """Unpack no more than ``most`` bytes, whatever the stream would give."""
    if codec == "raw":
        return packed
    if codec == "zlib":
        return zlib.decompressobj(-15).decompress(packed, most)
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, _LZMA_BYTES).decompress(packed, most)


def main(arguments: list[str]) -> int:
    """Apply a delta; 0 when all of the new file was written, 1 with the reason on stderr.

    Args:
        arguments: Old file, delta, new file or "-" for stdout, and how many bytes of memory may
            be held, if that is bounded.
    """
    old, delta, new = arguments[:3]
    if len(arguments) > 3:
        resource.setrlimit(resource.RLIMIT_DATA, (int(arguments[3]), int(arguments[3])))
    try:
        with Path(delta).open("rb") as source:
            if new == "-":
                apply_delta(Path(old), source, sys.stdout.buffer.write)
                sys.stdout.buffer.flush()
                return 0
            with Path(new).open("wb") as made:
                apply_delta(Path(old), source, made.write)
    except (DeltaError, MemoryError, OSError) as exc:
        sys.stderr.write(f"{str(exc) or 'not enough memory'}\n")
        if new != "-":
            Path(new).unlink(missing_ok=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

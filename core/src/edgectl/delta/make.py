"""Making a delta between two versions of a file, tensor by tensor.

Initializers are matched by name, type and shape, wherever they lie in either file. Each is cut into
blocks; a block that has not moved is copied, one of which little has moved holds places and
distances, any other one distances in byte planes (``contract.delta`` has the forms). Each stream
takes the packing that makes it smallest. What lies between tensors is copied or packed as it is.
"""

from __future__ import annotations

import bz2
import hashlib
import lzma
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec
import numpy as np

from edge_components.contract.delta import (
    Codec,
    Copy,
    Data,
    DeltaDocument,
    Diff,
    Kind,
    Piece,
    Sparse,
    Stream,
    Width,
)
from edgectl.delta.numbers import TYPES, Unsigned, distances, planes, sorting
from edgectl.delta.regions import find_regions

BLOCK = 4 << 20
_SPARSE_MOST = 0.25
_TRIAL = 64 << 10
_WORTH = 0.995
_HARDLY = 0.7


class _Match(NamedTuple):
    """Bytes of the new file and those of the old one that they were."""

    at: int
    size: int
    old_at: int
    width: Width
    kind: Kind


def make_delta(old: Path, new: Path, out: BinaryIO) -> int:
    """Write the delta that makes ``new`` of ``old``; return its bytes.

    Raises:
        OSError: A file cannot be read.
    """
    pieces: list[Piece] = []
    streams: list[bytes] = []
    with old.open("rb") as before, new.open("rb") as after:
        for piece, packed in _pieces(before, after, _matches(old, new), new.stat().st_size):
            pieces.append(piece)
            streams += packed
    document = DeltaDocument(
        old=_digest(old), new=_digest(new), size=new.stat().st_size, pieces=tuple(_joined(pieces))
    )
    head = msgspec.json.encode(document) + b"\n"
    out.write(head)
    out.writelines(streams)
    return len(head) + sum(map(len, streams))


def _matches(old: Path, new: Path) -> list[_Match]:
    """Return the tensors of the new file that the old one has, in the new file's order."""
    known = {(r.name, r.data_type, r.shape, r.size): r for r in find_regions(old) if not r.file}
    found = [
        _Match(r.at, r.size, before.at, r.width, "float" if r.is_float else "int")
        for r in find_regions(new)
        if not r.file and (before := known.get((r.name, r.data_type, r.shape, r.size)))
    ]
    return sorted(found)


def _pieces(
    old: BinaryIO, new: BinaryIO, matches: Sequence[_Match], size: int
) -> Iterator[tuple[Piece, list[bytes]]]:
    at = 0
    for match in matches:
        if match.at < at:
            continue  # no model has overlapping tensors; what is not understood is packed as it is
        yield from _between(old, new, at, match.at, match.old_at)
        step = BLOCK - BLOCK % match.width
        for begin in range(0, match.size, step):
            length = min(step, match.size - begin)
            block = match._replace(at=match.at + begin, old_at=match.old_at + begin, size=length)
            yield _block(old, new, block)
        at = match.at + match.size
    yield from _between(old, new, at, size, None)


def _between(
    old: BinaryIO, new: BinaryIO, begin: int, end: int, old_end: int | None
) -> Iterator[tuple[Piece, list[bytes]]]:
    """Yield what lies between tensors: the old file has the same at the same distance, or not."""
    while begin < end:
        size = min(BLOCK, end - begin)
        data = _read(new, begin, size)
        place = None if old_end is None else old_end - (end - begin)
        if place is not None and place >= 0 and _read(old, place, size) == data:
            yield Copy(size=size, at=place), []
        else:
            stream, packed = _packed(data)
            yield Data(size=size, stream=stream), [packed]
        begin += size


def _block(old: BinaryIO, new: BinaryIO, match: _Match) -> tuple[Piece, list[bytes]]:
    before, after = _read(old, match.old_at, match.size), _read(new, match.at, match.size)
    if before == after:
        return Copy(size=match.size, at=match.old_at), []
    if match.size % match.width:
        match = match._replace(width=1, kind="int")
    given, wanted = (np.frombuffer(data, TYPES[match.width]) for data in (before, after))
    by = distances(given, wanted, match.kind)
    moved = np.count_nonzero(by) / len(by)
    if moved <= _SPARSE_MOST and match.width > 1:
        return _sparse(match, given, by)
    candidates = [_diff(match, given, by)]
    if moved <= _SPARSE_MOST:
        candidates.append(_sparse(match, given, by))
    if _size(candidates[0]) > _HARDLY * match.size:
        candidates.append(_whole(match, after))
    return min(candidates, key=_size)


def _size(candidate: tuple[Piece, list[bytes]]) -> int:
    return sum(map(len, candidate[1]))


def _whole(match: _Match, after: bytes) -> tuple[Piece, list[bytes]]:
    stream, packed = _packed(after)
    return Data(size=match.size, stream=stream), [packed]


def _diff(match: _Match, given: Unsigned, by: Unsigned) -> tuple[Piece, list[bytes]]:
    is_sorted = match.kind == "float"
    if is_sorted:
        by = by[sorting(given)]
    streams, packed = _all_packed(planes(by))
    piece = Diff(
        size=match.size,
        at=match.old_at,
        width=match.width,
        kind=match.kind,
        sorted=is_sorted,
        streams=streams,
    )
    return piece, packed


def _sparse(match: _Match, given: Unsigned, by: Unsigned) -> tuple[Piece, list[bytes]]:
    places = np.flatnonzero(by)
    values = by[places]
    is_sorted = match.kind == "float"
    if is_sorted:
        values = values[sorting(given[places])]
    (gaps,), first = _all_packed([_gaps(places)])
    streams, packed = _all_packed(planes(values))
    piece = Sparse(
        size=match.size,
        at=match.old_at,
        width=match.width,
        kind=match.kind,
        count=len(places),
        sorted=is_sorted,
        gaps=gaps,
        streams=streams,
    )
    return piece, first + packed


def _gaps(places: np.ndarray) -> bytes:
    steps = np.diff(places, prepend=-1) - 1
    full, rest = steps // 255, (steps % 255).astype(np.uint8)
    total = int(full.sum()) + len(rest)
    found = np.full(total, 255, np.uint8)
    found[np.cumsum(full + 1) - 1] = rest
    return found.tobytes()


def _all_packed(given: Sequence[bytes]) -> tuple[tuple[Stream, ...], list[bytes]]:
    found = [_packed(data) for data in given]
    return tuple(stream for stream, _ in found), [packed for _, packed in found]


def _packed(data: bytes) -> tuple[Stream, bytes]:
    """Pack bytes in the way that makes a part of them smallest."""
    middle = max(len(data) - _TRIAL, 0) // 2
    trial = data[middle : middle + _TRIAL]
    sizes = {name: len(pack(trial)) for name, pack in _PACKERS.items()}
    best = min(sizes, key=lambda name: sizes[name])
    # Noise stays as it is: nothing is spent on it here, nor on the device.
    if sizes[best] < _WORTH * len(trial):
        codec: Codec = "zlib" if best == "huffman" else best  # type: ignore[assignment]  # its key
        packed = _PACKERS[best](data)
        if len(packed) < len(data):
            return Stream(codec, len(packed)), packed
    return Stream("raw", len(data)), data


def _huffman(data: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)
    return packer.compress(data) + packer.flush()


def _zlib(data: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def _bz2(data: bytes) -> bytes:
    return bz2.compress(data, 9)


def _lzma(data: bytes) -> bytes:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "lc": 0, "lp": 0, "pb": 0}]
    return lzma.compress(data, lzma.FORMAT_XZ, lzma.CHECK_NONE, filters=filters)


_PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "huffman": _huffman,
    "zlib": _zlib,
    "bz2": _bz2,
    "lzma": _lzma,
}


def _joined(pieces: Sequence[Piece]) -> Iterator[Piece]:
    """Join copies that follow each other in both files."""
    last: Copy | None = None
    for piece in pieces:
        if isinstance(piece, Copy) and last is not None and piece.at == last.at + last.size:
            last = Copy(size=last.size + piece.size, at=last.at)
            continue
        if last is not None:
            yield last
        last = piece if isinstance(piece, Copy) else None
        if last is None:
            yield piece
    if last is not None:
        yield last


def _read(file: BinaryIO, at: int, size: int) -> bytes:
    file.seek(at)
    return file.read(size)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"

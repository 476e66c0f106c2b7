"""Making a delta between two versions of a file, tensor by tensor.

Initializers are matched by name, type and shape, wherever they lie in either file. Each is cut into
blocks; a block that has not moved is copied, one of which little has moved holds places and
distances, any other one distances in byte planes (``contract.delta`` has the forms). Each stream
takes the packing that makes it smallest. What lies between tensors is copied or packed as it is.
"""

from __future__ import annotations

import hashlib
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
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
from edgectl.delta.regions import Region, find_regions

BLOCK = 4 << 20
_SPARSE_MOST = 0.25
_TRIAL = 16 << 10
_TRIALS = 4
# Unpacking by lzma takes a device ten times as long as the others, and packing a hundred times:
# what it has to save, as a share of what comes out, and what is looked at.
_LZMA_COST = 0.02
_LZMA_MOST = 0.5
_WORTH = 0.995
_HARDLY = 0.7


class _Match(NamedTuple):
    """Bytes of the new file and those of the old one that they were."""

    at: int
    size: int
    old_at: int
    width: Width
    kind: Kind


def make_delta(
    old: Path, new: Path, out: BinaryIO, *, tensors: tuple[list[Region], list[Region]] | None = None
) -> int:
    """Write the delta that makes ``new`` of ``old``; return its bytes.

    Args:
        old: The file before.
        new: The file that shall come out.
        out: Takes the delta.
        tensors: What lies in the old and in the new file, for files that do not say so
            themselves, such as ONNX's external data.

    Raises:
        OSError: A file cannot be read.
    """
    pieces: list[Piece] = []
    streams: list[bytes] = []
    with old.open("rb") as before, new.open("rb") as after:
        sizes = old.stat().st_size, new.stat().st_size
        matches = _matches(
            *(tensors or (_inside(find_regions(old)), _inside(find_regions(new)))), sizes
        )
        if not matches and sizes[0] == sizes[1] > 0:
            # Nothing is known of it: what has not moved is where it was.
            matches = [_Match(0, sizes[1], 0, 1, "int")]
        for piece, packed in _pieces(before, after, matches, new.stat().st_size):
            pieces.append(piece)
            streams += packed
    document = DeltaDocument(
        old=_digest(old), new=_digest(new), size=new.stat().st_size, pieces=tuple(_joined(pieces))
    )
    head = msgspec.json.encode(document) + b"\n"
    out.write(head)
    out.writelines(streams)
    return len(head) + sum(map(len, streams))


def _inside(regions: Iterable[Region]) -> list[Region]:
    return [region for region in regions if not region.file]


def _matches(old: Iterable[Region], new: Iterable[Region], sizes: tuple[int, int]) -> list[_Match]:
    """Return the tensors of the new file that the old one has, in the new file's order."""
    known = {
        (r.name, r.data_type, r.shape, r.size): r for r in old if 0 <= r.at <= sizes[0] - r.size
    }
    found = [
        _Match(r.at, r.size, before.at, r.width, "float" if r.is_float else "int")
        for r in new
        if 0 <= r.at <= sizes[1] - r.size
        and (before := known.get((r.name, r.data_type, r.shape, r.size)))
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
    """Pack bytes in the way that makes them smallest, as parts of them tell."""
    step = max(len(data) // _TRIALS, _TRIAL)
    trial = b"".join(data[at : at + _TRIAL] for at in range(0, len(data), step))
    sizes = {name: len(pack(trial)) for name, pack in _DEFLATES.items()}
    if min(sizes.values()) < _LZMA_MOST * len(trial):
        sizes["lzma"] = len(_lzma(trial)) + int(_LZMA_COST * len(trial))
    best = min(sizes, key=lambda name: sizes[name])
    # Noise stays as it is: nothing is spent on it here, nor on the device.
    if sizes[best] < _WORTH * len(trial):
        codec: Codec = "lzma" if best == "lzma" else "zlib"
        packed = _lzma(data) if codec == "lzma" else _DEFLATES[best](data)
        if len(packed) < len(data):
            return Stream(codec, len(packed)), packed
    return Stream("raw", len(data)), data


def _deflate(data: bytes, strategy: int) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, -15, 9, strategy)
    return packer.compress(data) + packer.flush()


def _lzma(data: bytes) -> bytes:
    filters = [
        {"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 1 << 20, "lc": 0, "lp": 0, "pb": 0}
    ]
    return lzma.compress(data, lzma.FORMAT_XZ, lzma.CHECK_NONE, filters=filters)


_DEFLATES: dict[str, Callable[[bytes], bytes]] = {
    "huffman": partial(_deflate, strategy=zlib.Z_HUFFMAN_ONLY),
    "runs": partial(_deflate, strategy=zlib.Z_RLE),
    "zlib": partial(_deflate, strategy=zlib.Z_DEFAULT_STRATEGY),
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

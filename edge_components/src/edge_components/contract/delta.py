"""A delta: how a file of a package is made from the file that a device has already.

The document is JSON of one line, then a line break, then the pieces' streams one after the other.
Pieces stand in the order of the new file, so whoever applies it reads both files and the streams
once, from front to back, and holds one piece in memory. What comes out has to have the new file's
digest; a delta is never believed for anything else, so it needs no signature of its own.

Numbers are little-endian in the file. ``Diff`` and ``Sparse`` carry, for each element, the distance
between the old and the new value as unsigned numbers: ``zigzag(order(new) - order(old))``. For
floats ``order`` is the place of the value among all values of its type, so that a small change is
a small distance; for integers it is the value. The bytes of these numbers are in planes, least
significant first. With ``sorted`` the elements of a piece are first put in the order of the old
values' exponents, equal ones as they stand: distances of one exponent are of one size.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from edge_components.contract.digest import check_digest, digest_hex, sha256_digest
from edge_components.contract.errors import ContractError
from edge_components.contract.jsonio import decode_json
from edge_components.contract.package import (
    MAX_LAYERS,
    MAX_MANIFEST_BYTES,
    MAX_PACKAGE_BYTES,
    Descriptor,
    Manifest,
)

DELTA_TYPE = "application/vnd.edgectl.delta.v1"
DELTAS_TYPE = "application/vnd.edgectl.delta.v1+json"
"""Artifact type of a manifest whose layers are deltas and whose subject is the new package."""
DELTA_OLD, DELTA_NEW = "edgectl.delta.old", "edgectl.delta.new"
"""Annotations of such a layer: digests of the file that it needs and of the one that it makes."""
DELTA_PACKAGE = "edgectl.delta.package"
"""Annotation of such a manifest: the digest of the package before."""
MAX_HEAD_BYTES = 4 << 20
MAX_PIECE_BYTES = 8 << 20

_FILE_PREFIX = "edgectl-delta."

Codec = Literal["raw", "zlib", "lzma"]
Width = Literal[1, 2, 4, 8]
Kind = Literal["float", "int"]


class Stream(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Bytes behind the document: how they are packed, and how many there are."""

    codec: Codec
    size: int


class Copy(msgspec.Struct, frozen=True, kw_only=True, tag="copy", forbid_unknown_fields=True):
    """Bytes of the old file."""

    size: int
    at: int


class Data(msgspec.Struct, frozen=True, kw_only=True, tag="data", forbid_unknown_fields=True):
    """Bytes that the old file does not have."""

    size: int
    stream: Stream


class Diff(msgspec.Struct, frozen=True, kw_only=True, tag="diff", forbid_unknown_fields=True):
    """Elements of which many have moved.

    Attributes:
        at: Where they are in the old file.
        width: Bytes of an element.
        streams: A plane each.
    """

    size: int
    at: int
    width: Width
    kind: Kind
    sorted: bool = False
    streams: tuple[Stream, ...]


class Sparse(msgspec.Struct, frozen=True, kw_only=True, tag="sparse", forbid_unknown_fields=True):
    """Elements of which few have moved.

    Attributes:
        count: How many have.
        gaps: How many elements lie before each of them since the one before: a byte each; 255
            stands for 255 that have not moved, and more follows.
        streams: The planes of those that have.
    """

    size: int
    at: int
    width: Width
    kind: Kind
    count: int
    sorted: bool = False
    gaps: Stream
    streams: tuple[Stream, ...]


Piece = Copy | Data | Diff | Sparse


def delta_file_name(old: str, new: str) -> str:
    """Return what a delta is called where files are found by name.

    Raises:
        ContractError: ``bad-digest``.
    """
    return f"{_FILE_PREFIX}{digest_hex(old)}.{digest_hex(new)}"


def parse_delta_file_name(name: str) -> tuple[str, str] | None:
    """Return the digests of the old and the new file; None for what is no delta's name."""
    old, _, new = name.removeprefix(_FILE_PREFIX).partition(".")
    try:
        is_one = name == delta_file_name(f"sha256:{old}", f"sha256:{new}")
    except ContractError:
        return None
    return (f"sha256:{old}", f"sha256:{new}") if is_one else None


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """A delta that could be fetched; nothing of it is believed.

    Attributes:
        old: Digest of the file that it needs.
        new: Digest of the file that it is said to make.
        delta: The delta itself.
    """

    old: str
    new: str
    delta: Descriptor


def parse_deltas(data: bytes, *, digest: str, package: str) -> tuple[str, tuple[Offer, ...]]:
    """Read the manifest of a package's deltas: the package before, and what there is.

    Raises:
        ContractError: With a code that names the rule that was broken.
    """
    if sha256_digest(data) != check_digest(digest):
        raise ContractError("digest-mismatch", f"the manifest's bytes do not have digest {digest}")
    manifest = decode_json(
        data, Manifest, what="a delta's manifest", max_bytes=MAX_MANIFEST_BYTES, unique_keys=True
    )
    if manifest.artifact_type != DELTAS_TYPE or len(manifest.layers) > MAX_LAYERS:
        raise ContractError("bad-delta", "what refers to the package is no delta")
    if manifest.subject is None or manifest.subject.digest != package:
        raise ContractError("bad-delta", "the delta refers to another package")
    return check_digest(manifest.annotations.get(DELTA_PACKAGE, "")), tuple(
        _offer(layer) for layer in manifest.layers
    )


def _offer(layer: Descriptor) -> Offer:
    check_digest(layer.digest)
    if layer.media_type != DELTA_TYPE or not 0 < layer.size <= MAX_PACKAGE_BYTES:
        raise ContractError("bad-delta", "a delta's manifest has a layer that is none")
    old, new = (check_digest(layer.annotations.get(key, "")) for key in (DELTA_OLD, DELTA_NEW))
    return Offer(old=old, new=new, delta=layer)


class DeltaDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a delta consists of.

    Attributes:
        old: Digest of the file that it needs.
        new: Digest of the file that it makes.
        size: Bytes of that file.
    """

    format: Literal["edgectl.delta/v1"] = "edgectl.delta/v1"
    old: str
    new: str
    size: int
    pieces: tuple[Piece, ...]


_DECODER = msgspec.json.Decoder(DeltaDocument)


def parse_delta(line: bytes) -> DeltaDocument:
    """Read and check a delta's document.

    Raises:
        ContractError: It is something else, or its pieces do not make up the file.
    """
    try:
        document = _DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ContractError("bad-delta", f"the delta cannot be read: {exc}") from exc
    check_digest(document.old)
    check_digest(document.new)
    for piece in document.pieces:
        _check(piece)
    total = sum(piece.size for piece in document.pieces)
    if total != document.size:
        raise ContractError(
            "bad-delta", f"the delta makes {total} bytes, its file has {document.size}"
        )
    return document


def _check(piece: Piece) -> None:
    if wrong := _wrong(piece):
        raise ContractError("bad-delta", f"the delta {wrong}")


def _wrong(piece: Piece) -> str:
    if not piece.size > 0 or any(stream.size < 0 for stream in _streams(piece)):
        return "has a piece without bytes"
    if not isinstance(piece, Data) and piece.at < 0:
        return "reads before the beginning of the old file"
    if not isinstance(piece, Copy) and piece.size > MAX_PIECE_BYTES:
        return f"has a piece of {piece.size} bytes, {MAX_PIECE_BYTES} is most"
    if isinstance(piece, Diff | Sparse) and (
        piece.size % piece.width or len(piece.streams) != piece.width
    ):
        return "has a piece whose planes are not those of its elements"
    if isinstance(piece, Sparse) and not 0 < piece.count <= piece.size // piece.width:
        return "moves more elements than there are"
    return ""


def _streams(piece: Piece) -> tuple[Stream, ...]:
    if isinstance(piece, Data):
        return (piece.stream,)
    if isinstance(piece, Diff):
        return piece.streams
    return (piece.gaps, *piece.streams) if isinstance(piece, Sparse) else ()

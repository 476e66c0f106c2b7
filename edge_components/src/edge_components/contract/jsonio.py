"""Canonical JSON out, bounded JSON in.

Canonical form: UTF-8, keys sorted, no insignificant space, no NaN; so equal records give equal
bytes, and equal bytes one digest. Reading checks size and nesting before it parses, because the
input may come from an attacker.
"""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from edge_components.contract.errors import ContractError

T = TypeVar("T")

MAX_DEPTH = 32
_INTERESTING = re.compile(rb'["\[\]{}]')
# Possessive: nothing is kept to come back to, so a string of megabytes takes no memory of its own.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)

Hook = Callable[[type[Any], Any], Any]
_LEARNING = threading.Lock()
_DECODERS: dict[tuple[Any, Hook | None], msgspec.json.Decoder[Any]] = {}


def decoder(type_: type[T], hook: Hook | None = None) -> msgspec.json.Decoder[T]:
    """Return the decoder of a type, made once.

    Two threads that meet a type for the first time at the same moment crash the interpreter
    (msgspec 0.22), so one makes the decoder and the others wait.

    Args:
        type_: What it decodes.
        hook: What makes values of types that msgspec does not know.
    """
    with _LEARNING:
        found = _DECODERS.get((type_, hook))
        if found is None:
            found = _DECODERS[type_, hook] = msgspec.json.Decoder(type_, dec_hook=hook)
    return found


def canonical_json(value: Any) -> bytes:
    """Encode a record or plain data as canonical JSON, without a final newline."""
    return msgspec.json.encode(value, order="sorted")


def json_depth(data: bytes) -> int:
    """Return the deepest nesting of arrays and objects, without parsing values.

    Raises:
        ContractError: A string does not end.
    """
    depth = deepest = position = 0
    while match := _INTERESTING.search(data, position):
        character = data[match.start()]
        position = match.end()
        if character == 0x22:
            string = _STRING.match(data, match.start())
            if string is None:
                raise ContractError("bad-json", "a string in the JSON document does not end")
            position = string.end()
        elif character in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
    return deepest


def decode_json(
    data: bytes,
    type_: type[T],
    *,
    what: str,
    max_bytes: int,
    max_depth: int = MAX_DEPTH,
    unique_keys: bool = False,
) -> T:
    """Decode untrusted JSON into ``type_``.

    Args:
        data: The document's bytes.
        type_: A msgspec type; unknown keys are an error where the type forbids them.
        what: The document's name for messages.
        max_bytes: Larger documents are refused before anything else looks at them.
        max_depth: Deeper nesting is refused before parsing.
        unique_keys: Refuse an object that gives a key twice. For what is signed or named by its
            digest: every reader has to see the same document, whichever of the two it takes.

    Raises:
        ContractError: ``too-large``, ``too-deep`` or ``bad-json``.
    """
    if len(data) > max_bytes:
        raise ContractError(
            "too-large", f"{what} has {len(data)} bytes, at most {max_bytes} are allowed"
        )
    if (depth := json_depth(data)) > max_depth:
        raise ContractError(
            "too-deep", f"{what} nests {depth} levels deep, at most {max_depth} are allowed"
        )
    try:
        decoded = decoder(type_).decode(data)
        repeated = _repeated_key(data) if unique_keys else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ContractError("bad-json", f"{what} cannot be read: {exc}") from exc
    if repeated is not None:
        raise ContractError("bad-json", f"{what} repeats a key: '{repeated[:80]}'")
    return decoded


def _repeated_key(data: bytes) -> str | None:
    """Return a key that an object of the document gives more than once; None for none."""
    repeated: list[str] = []

    def look(pairs: list[tuple[str, object]]) -> None:
        if len({key for key, _ in pairs}) < len(pairs):
            repeated.append(Counter(key for key, _ in pairs).most_common(1)[0][0])

    # What the values are does not matter here, so they are not made.
    json.loads(data.decode(), object_pairs_hook=look, parse_int=len, parse_float=len)
    return repeated[0] if repeated else None

"""Records to JSON and back, paths included."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from edge_components.contract.jsonio import decoder

T = TypeVar("T")


def plain(value: Any) -> Any:
    """Return a record as plain data; paths become text."""
    return msgspec.to_builtins(value, enc_hook=str)


def encode_json(value: Any, *, indent: int = 2) -> bytes:
    """Return a record as JSON with a final newline; ``indent`` 0 is one line."""
    data = msgspec.json.encode(value, enc_hook=str)
    return (msgspec.json.format(data, indent=indent) if indent else data) + b"\n"


def decode_json(data: bytes, type_: type[T]) -> T:
    """Read a record that ``encode_json`` wrote.

    Raises:
        msgspec.DecodeError: It is something else.
    """
    return decoder(type_, _read).decode(data)


def _read(type_: type[Any], value: Any) -> Any:
    if type_ is Path:
        return Path(value)
    raise NotImplementedError(type_)

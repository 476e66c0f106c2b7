"""From plain data to the project's types, with errors that name the whole key.

msgspec says where in a document an error lies, but not under which key of a mapping with free
keys; here the key is found by trying the mapping's entries one by one.
"""

from __future__ import annotations

import difflib
import re
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")
_TOKEN = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`$")


class InvalidKeyError(ValueError):
    """A value is not what its key takes; ``key`` is the whole path."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def validate(data: Any, type_: type[T]) -> T:
    """Convert plain data into ``type_``, strictly.

    Raises:
        InvalidKeyError: With the full key, what was found and what is allowed.
    """
    try:
        return msgspec.convert(data, type_)
    except msgspec.ValidationError as exc:
        message, _, where = str(exc).partition(" - at `")
        tokens = _tokens(where.rstrip("`"))
        path = _resolve(data, type_, tokens, str(exc))
        raise _explain(data, type_, path, message) from exc


def _tokens(where: str) -> list[str | int | None]:
    found: list[str | int | None] = []
    for name, index in _TOKEN.findall(where):
        found.append(name or (None if index == "..." else int(index)))
    return found


def _resolve(
    data: Any, type_: type[Any], tokens: list[str | int | None], error: str
) -> list[str | int]:
    path: list[str | int] = []
    for token in tokens:
        if token is not None:
            path.append(token)
            continue
        candidates = [
            key for key in _get(data, path) if _error(_only(data, path, key), type_) == error
        ]
        path.append(candidates[0] if candidates else "*")
    return path


def _error(data: Any, type_: type[Any]) -> str:
    try:
        msgspec.convert(data, type_)
    except msgspec.ValidationError as exc:
        return str(exc)
    return ""


def _get(data: Any, path: list[str | int]) -> Any:
    for part in path:
        data = data[part]
    return data


def _only(data: Any, path: list[str | int], key: str) -> Any:
    """Return ``data`` with the mapping at ``path`` cut down to one key."""
    if not path:
        return {key: data[key]}
    head, rest = path[0], path[1:]
    if isinstance(data, list):
        return [_only(v, rest, key) if i == head else v for i, v in enumerate(data)]
    return {k: _only(v, rest, key) if k == head else v for k, v in data.items()}


def _explain(data: Any, type_: type[Any], path: list[str | int], message: str) -> InvalidKeyError:
    unknown = _UNKNOWN.match(message)
    if unknown:
        allowed = _fields(type_, path)
        key = unknown.group(1)
        close = difflib.get_close_matches(key, allowed, n=1)
        hint = f", did you mean '{close[0]}'?" if close else ""
        listed = ", ".join(sorted(allowed))
        return InvalidKeyError(_dotted([*path, key]), f"unknown key{hint} (allowed here: {listed})")
    found = _found(data, path)
    text = message.replace("`", "'")
    advice = _advice(type_, path, message)
    return InvalidKeyError(_dotted(path), text[0].lower() + text[1:] + found + advice)


def _advice(type_: type[Any], path: list[str | int], message: str) -> str:
    if path == ["version"] and message.startswith("Expected `str`, got"):
        return "; put it in quotes"
    if message.startswith("Invalid enum value"):
        info = _info(type_, path)
        if isinstance(info, msgspec.inspect.LiteralType):
            return f"; allowed: {', '.join(str(value) for value in info.values)}"
    return ""


def _found(data: Any, path: list[str | int]) -> str:
    try:
        value = _get(data, path)
    except (KeyError, IndexError, TypeError):
        return ""
    if isinstance(value, dict | list):
        return ""
    return f", found {value!r}"


def _info(type_: Any, path: list[str | int]) -> Any:
    info: Any = msgspec.inspect.type_info(type_)
    for part in path:
        info = _step(info, part)
    return info


def _fields(type_: Any, path: list[str | int]) -> list[str]:
    info = _info(type_, path)
    if isinstance(info, msgspec.inspect.StructType):
        return [field.encode_name for field in info.fields]
    return []


def _step(info: Any, part: str | int) -> Any:
    match info:
        case msgspec.inspect.StructType():
            chosen: Any = next((f.type for f in info.fields if f.encode_name == part), None)
        case msgspec.inspect.DictType():
            chosen = info.value_type
        case msgspec.inspect.VarTupleType() | msgspec.inspect.ListType():
            chosen = info.item_type
        case _:
            chosen = None
    if isinstance(chosen, msgspec.inspect.UnionType):
        structs = [t for t in chosen.types if isinstance(t, msgspec.inspect.StructType)]
        return structs[0] if structs else None
    return chosen


def _dotted(path: list[str | int]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "(the whole file)"

"""Sources, sinks and the pipeline's other parts, as people write them and as devices read them.

They are the device's own records (``edge_components.contract.pipeline``) but for one thing:
where a record counts seconds (``poll_s``), the project file has a duration (``poll: 90s``).
"""

from __future__ import annotations

import re
import types
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from edge_components.contract.pipeline import Part
from edgectl.durations import parse_duration
from edgectl.project.spec import Duration
from edgectl.project.validate import InvalidKeyError, validate

P = TypeVar("P", bound=Part)
_SECONDS = "_s"


def by_tag(union: Any) -> dict[str, type[Part]]:
    """Return the records of a union by the word that tells them apart."""
    return {str(kind.__struct_config__.tag): kind for kind in get_args(union)}


def read_kind(written: dict[str, Any], kinds: dict[str, type[Part]], key: str) -> Part:
    """Read a source or sink: its ``kind`` says what else it takes.

    Raises:
        InvalidKeyError: The kind is unknown, or something does not fit it.
    """
    kind = written.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        known = ", ".join(sorted(kinds))
        raise InvalidKeyError(f"{key}.kind", f"unknown kind {kind!r} (known here: {known})")
    return read_part(written, kinds[kind], key)


def read_part(written: dict[str, Any], kind: type[P], key: str) -> P:
    """Read one part that was written with durations.

    Raises:
        InvalidKeyError: With the whole key.
    """
    plain = to_seconds(written, kind, key)
    try:
        return validate(plain, kind)
    except InvalidKeyError as exc:
        inner = re.sub(r"_s\b", "", exc.key)
        whole = key if inner.startswith("(") else f"{key}.{inner}"
        raise InvalidKeyError(whole, _with_durations(str(exc), kind)) from exc


def to_seconds(written: dict[str, Any], kind: type[Part], key: str) -> dict[str, Any]:
    """Replace durations by seconds, also in parts within.

    Raises:
        InvalidKeyError: One is no duration.
    """
    found: dict[str, Any] = {}
    hints = get_type_hints(kind)
    for name, value in written.items():
        long = f"{name}{_SECONDS}"
        inner = next((k for k in _alternatives(hints.get(name)) if _is_part(k)), None)
        if name in hints and name.endswith(_SECONDS):
            short = name.removesuffix(_SECONDS)
            raise InvalidKeyError(f"{key}.{name}", f"unknown key, did you mean '{short}'?")
        if long in hints:
            found[long] = None if value is None else _seconds(value, f"{key}.{name}")
        elif inner is not None and isinstance(value, dict):
            found[name] = to_seconds(value, inner, f"{key}.{name}")
        else:
            found[name] = value
    return found


def part_schemas(kinds: list[type[Part]]) -> dict[str, Any]:
    """Return the JSON Schema of parts and what stands in them, by the record's name."""
    _, definitions = msgspec.json.schema_components(kinds)
    duration = msgspec.json.schema(Duration)
    for schema in definitions.values():
        if "properties" in schema:
            schema["properties"] = {
                name.removesuffix(_SECONDS): _duration_schema(value, duration)
                if name.endswith(_SECONDS)
                else value
                for name, value in schema["properties"].items()
            }
    return definitions


def _duration_schema(schema: dict[str, Any], duration: dict[str, Any]) -> dict[str, Any]:
    kept = {name: schema[name] for name in ("default",) if name in schema}
    takes_none = any(one.get("type") == "null" for one in schema.get("anyOf", []))
    return {"anyOf": [duration, {"type": "null"}], **kept} if takes_none else {**duration, **kept}


def _seconds(value: Any, key: str) -> float:
    try:
        return parse_duration(value)
    except ValueError as exc:
        raise InvalidKeyError(key, str(exc)) from exc


def _with_durations(message: str, kind: type[Part]) -> str:
    for name in kind.__struct_fields__:
        if name.endswith(_SECONDS):
            message = re.sub(rf"\b{name}\b", name.removesuffix(_SECONDS), message)
    return message


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in {Union, types.UnionType} else (hint,)


def _is_part(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Part)

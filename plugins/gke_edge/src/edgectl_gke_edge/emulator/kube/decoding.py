"""From bytes to an object: JSON or YAML, types, and what strict validation of fields complains of.

The server decodes leniently and tells unknown and duplicate fields as the client asked:
``fieldValidation`` Ignore, Warn (the default: headers) or Strict (400). Wrong types are refused
always.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import yaml

from edgectl_gke_edge.emulator.kube import quantities
from edgectl_gke_edge.emulator.kube.errors import Json, StatusError, bad_request
from edgectl_gke_edge.emulator.kube.schema import ListOf, MapOf, Node, Scalar, Struct

_GO_TYPES = {
    "string": "string",
    "integer": "int32",
    "number": "float64",
    "boolean": "bool",
}


class _Object(dict[str, Any]):
    """A JSON object that knows which of its keys stood twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        names = [name for name, _ in pairs]
        self.twice = sorted({name for name in names if names.count(name) > 1})


def _twice(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, _Object):
        yield from (f"{path}{name}" for name in value.twice)
        for name, item in value.items():
            yield from _twice(item, f"{path}{name}.")
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from _twice(item, f"{path[:-1]}[{at}].")


def parse(body: bytes, content_type: str) -> tuple[Any, list[str]]:
    """Read a body; return the value and the complaints about fields that stand twice.

    Raises:
        StatusError: 400, it is no JSON or YAML.
    """
    if "yaml" in content_type and body.lstrip()[:1] != b"{":
        try:
            return yaml.safe_load(body), []
        except yaml.YAMLError as exc:
            raise bad_request(f"error parsing YAML: {exc}") from exc
    try:
        value = json.loads(body, object_pairs_hook=_Object)
    except (ValueError, RecursionError) as exc:
        raise bad_request(f"the object provided is unrecognized (must be JSON): {exc}") from exc
    return value, [f'duplicate field "{path}"' for path in _twice(value)]


def decode(value: Any, schema: Struct, kind: str, api_version: str) -> tuple[Json, list[str]]:
    """Take what the schema knows; return it and the paths of unknown fields, as complaints.

    Nulls count as absent. ``kind`` and ``api_version`` are filled in where they are missing.

    Raises:
        StatusError: 400 for a value of the wrong type.
    """
    if not isinstance(value, dict):
        raise bad_request(f"cannot unmarshal {_go(value)} into Go value of type {kind}")
    unknown: list[str] = []
    try:
        found = _struct(value, schema, "", unknown)
    except _TypeMismatchError as exc:
        message = (
            f'{kind} in version "{api_version.rsplit("/", 1)[-1]}" cannot be handled as a {kind}: '
            f"json: cannot unmarshal {exc}"
        )
        raise bad_request(message) from exc
    found.setdefault("apiVersion", api_version)
    found.setdefault("kind", kind)
    return found, [f'unknown field "{path}"' for path in unknown]


def strict_error(kind: str, api_version: str, complaints: list[str]) -> StatusError:
    """Refuse a request that asked for strict validation of its fields."""
    version = api_version.rsplit("/", 1)[-1]
    told = f'{kind} in version "{version}" cannot be handled as a {kind}: strict decoding error: '
    return bad_request(told + ", ".join(complaints))


class _TypeMismatchError(Exception):
    """A value is of another type than its field."""

    def __init__(self, value: Any, path: str, wanted: str) -> None:
        super().__init__(f"{_go(value)} into Go struct field {path.lstrip('.')} of type {wanted}")


def _struct(value: Json, schema: Struct, path: str, unknown: list[str]) -> Json:
    found: Json = {}
    for name, item in value.items():
        node = schema.fields.get(name)
        where = f"{path}.{name}" if path else name
        if node is None:
            unknown.append(where)
        elif item is not None:
            found[name] = _value(item, node, where, unknown)
    return found


def _value(value: Any, node: Node, path: str, unknown: list[str]) -> Any:
    if isinstance(node, Struct):
        if not isinstance(value, dict):
            raise _TypeMismatchError(value, path, f"v1.{node.name}")
        return _struct(value, node, path, unknown)
    if isinstance(node, ListOf):
        if not isinstance(value, list):
            raise _TypeMismatchError(value, path, "[]" + _type_name(node.item))
        return [_value(v, node.item, f"{path}[{i}]", unknown) for i, v in enumerate(value)]
    if isinstance(node, MapOf):
        if not isinstance(value, dict):
            raise _TypeMismatchError(value, path, "map[string]" + _type_name(node.value))
        return {
            k: _value(v, node.value, f"{path}.{k}", unknown)
            for k, v in value.items()
            if v is not None
        }
    return _leaf(value, node, path)


def _leaf(value: Any, node: Scalar, path: str) -> Any:
    if node.type in _GO_TYPES and not _fits(value, node.type):
        raise _TypeMismatchError(value, path, _GO_TYPES[node.type])
    if node.type == "int-or-string" and not (_fits(value, "integer") or isinstance(value, str)):
        raise _TypeMismatchError(value, path, "intstr.IntOrString")
    if node.type == "quantity":
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise _TypeMismatchError(value, path, "resource.Quantity")
        return _quantity(str(value))
    if node.type == "time":
        return _time(value, path)
    return value


def _quantity(text: str) -> str:
    try:
        quantities.read(text)
    except ValueError as exc:
        raise bad_request(
            f'unable to parse quantity "{text}": quantities must match the regular expression '
            "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        ) from exc
    return text


def _time(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise _TypeMismatchError(value, path, "v1.Time")
    try:
        datetime.fromisoformat(value)
    except ValueError as exc:
        raise bad_request(f'parsing time "{value}" as RFC 3339 failed at {path}') from exc
    return value


def _fits(value: Any, kind: str) -> bool:
    if kind == "boolean":
        return isinstance(value, bool)
    if kind == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, str)


def _type_name(node: Node) -> str:
    if isinstance(node, Struct):
        return f"v1.{node.name}"
    return _GO_TYPES.get(node.type, node.type) if isinstance(node, Scalar) else "interface {}"


def _go(value: Any) -> str:
    names: dict[type, str] = {str: "string", bool: "bool", dict: "object", list: "array"}
    return names.get(type(value), "number")


def valid_base64(text: str) -> bool:
    """Say whether the value of ``Secret.data`` can be decoded."""
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True

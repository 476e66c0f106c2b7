"""Patches of the three kinds that are no apply: JSON patch, merge patch, strategic merge patch."""

from __future__ import annotations

import copy
from typing import Any

from edgectl_gke_edge.emulator.kube.errors import Json, StatusError, bad_request
from edgectl_gke_edge.emulator.kube.schema import ListOf, MapOf, Node, Scalar, Struct

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
TYPES = (JSON_PATCH, MERGE_PATCH, STRATEGIC, APPLY)

_DELETE_PRIMITIVES = "$deleteFromPrimitiveList/"


def merge_patch(value: Any, patch: Any) -> Any:
    """Apply RFC 7396: objects merge, null removes, all else replaces."""
    if not isinstance(patch, dict):
        return patch
    result = dict(value) if isinstance(value, dict) else {}
    for name, item in patch.items():
        if item is None:
            result.pop(name, None)
        else:
            result[name] = merge_patch(result.get(name), item)
    return result


def json_patch(value: Json, operations: Any) -> Json:
    """Apply RFC 6902.

    Raises:
        StatusError: 400 for something that is no patch, 422 for one that cannot be applied.
    """
    if not isinstance(operations, list):
        raise bad_request("error decoding patch: json: cannot unmarshal object into a list")
    result: Any = copy.deepcopy(value)
    for operation in operations:
        result = _operate(result, operation)
    if not isinstance(result, dict):
        raise _unprocessable("the patched object is no object")
    return result


def _operate(document: Any, operation: Any) -> Any:
    if not isinstance(operation, dict) or not isinstance(operation.get("path"), str):
        raise bad_request("error decoding patch: an operation needs 'op' and 'path'")
    name, path = operation.get("op"), _pointer(operation["path"])
    if name in {"add", "replace", "test"} and "value" not in operation:
        raise bad_request(f"error decoding patch: '{name}' needs a value")
    if name == "test":
        if _get(document, path) != operation["value"]:
            raise _unprocessable(f"testing value {operation['path']} failed")
        return document
    if name in {"move", "copy"}:
        source = _pointer(str(operation.get("from", "")))
        value = copy.deepcopy(_get(document, source))
        document = _remove(document, source) if name == "move" else document
        return _add(document, path, value)
    if name == "remove":
        return _remove(document, path)
    if name == "replace":
        _get(document, path)
        return (
            _add(_remove(document, path), path, operation["value"]) if path else operation["value"]
        )
    if name == "add":
        return _add(document, path, operation["value"])
    raise bad_request(f"error decoding patch: unexpected kind of operation '{name}'")


def _pointer(text: str) -> list[str]:
    if text and not text.startswith("/"):
        raise _unprocessable(f"'{text}' is no JSON pointer")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _get(document: Any, path: list[str]) -> Any:
    for part in path:
        if isinstance(document, dict) and part in document:
            document = document[part]
        elif isinstance(document, list) and part.isdigit() and int(part) < len(document):
            document = document[int(part)]
        else:
            raise _unprocessable(f'there is no value at "/{"/".join(path)}"')
    return document


def _add(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent, last = _get(document, path[:-1]), path[-1]
    if isinstance(parent, dict):
        parent[last] = value
    elif isinstance(parent, list) and last == "-":
        parent.append(value)
    elif isinstance(parent, list) and last.isdigit() and int(last) <= len(parent):
        parent.insert(int(last), value)
    else:
        raise _unprocessable(f'nothing can be added at "/{"/".join(path)}"')
    return document


def _remove(document: Any, path: list[str]) -> Any:
    _get(document, path)
    if not path:
        return None
    parent = _get(document, path[:-1])
    del parent[int(path[-1]) if isinstance(parent, list) else path[-1]]
    return document


def _unprocessable(why: str) -> StatusError:
    return StatusError(
        422, "Invalid", f"the server rejected our request due to an error in our request: {why}", {}
    )


def strategic(value: Any, patch: Any, node: Node) -> Any:
    """Apply a strategic merge patch: lists with a merge key are merged by it, others replaced.

    Raises:
        StatusError: 400, an item of a merged list has no merge key.
    """
    if isinstance(patch, dict) and isinstance(node, Struct | MapOf):
        return _strategic_map(value, patch, node)
    if isinstance(patch, list) and isinstance(node, ListOf):
        return _strategic_list(value or [], patch, node)
    return patch


def _strategic_map(value: Any, patch: Json, node: Struct | MapOf) -> Any:
    directive = patch.get("$patch")
    plain = {k: v for k, v in patch.items() if not k.startswith("$")}
    if directive == "replace":
        return plain
    if directive == "delete":
        return {}
    result = dict(value or {})
    for name, item in plain.items():
        below = node.fields.get(name, Scalar("any")) if isinstance(node, Struct) else node.value
        if item is None:
            result.pop(name, None)
        else:
            result[name] = strategic(result.get(name), item, below)
    for name, gone in patch.items():
        if name.startswith(_DELETE_PRIMITIVES):
            field = name.removeprefix(_DELETE_PRIMITIVES)
            result[field] = [v for v in result.get(field, []) if v not in gone]
    if "$retainKeys" in patch:
        result = {k: v for k, v in result.items() if k in patch["$retainKeys"]}
    return result


def _strategic_list(value: list[Any], patch: list[Any], node: ListOf) -> list[Any]:
    if node.is_set:
        return value + [item for item in patch if item not in value]
    key = node.patch_key
    if key is None:
        return patch
    if any(isinstance(i, dict) and i.get("$patch") == "replace" for i in patch):
        return [i for i in patch if not (isinstance(i, dict) and "$patch" in i)]
    live = list(value)
    patched: list[tuple[int, Any]] = []
    for item in patch:
        if not isinstance(item, dict) or key not in item:
            raise bad_request(f"map: {item} does not contain declared merge key: {key}")
        at = next((n for n, old in enumerate(live) if old.get(key) == item[key]), -1)
        if item.get("$patch") != "delete":
            old = live[at] if at >= 0 else {}
            patched.append((at, strategic(old, item, node.item)))
    named = {item[key] for item in patch}
    rest = [(n, old) for n, old in enumerate(live) if old.get(key) not in named]
    return _woven(patched, rest)


def _woven(patched: list[tuple[int, Any]], rest: list[tuple[int, Any]]) -> list[Any]:
    """Keep the patch's order; items that it does not name stay between those of the live list."""
    result: list[Any] = []
    while patched or rest:
        if patched and (not rest or patched[0][0] < rest[0][0]):
            result.append(patched.pop(0)[1])
        else:
            result.append(rest.pop(0)[1])
    return result

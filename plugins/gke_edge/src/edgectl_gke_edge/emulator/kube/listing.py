"""Lists: selectors, pages of one moment, and the versions that can be asked for."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping

from edgectl_gke_edge.emulator.kube.errors import Json, StatusError, bad_request, expired
from edgectl_gke_edge.emulator.kube.requests import Target
from edgectl_gke_edge.emulator.kube.selectors import (
    Selector,
    matches,
    matches_fields,
    parse_fields,
    parse_labels,
)
from edgectl_gke_edge.emulator.kube.store import Store


def listed(store: Store, target: Target, query: Mapping[str, str]) -> Json:
    """Return a list, whole or a page of it.

    Raises:
        StatusError: 400 for a selector that is none, 410 for a page of a forgotten list.
    """
    kind = target.kind
    version, start = _read_token(query.get("continue", ""))
    if version:
        found = store.snapshot(version)
        if found is None:
            raise expired(
                "The provided continue parameter is too old to display a consistent list "
                "result. You can start a new list without the continue parameter."
            )
    else:
        _check_version(store, query.get("resourceVersion", ""))
        chosen = select(target, query)
        objects = store.objects(kind, target.namespace)
        found = [o for o in objects if chosen(o)]
    metadata: Json = {"resourceVersion": str(version or store.version)}
    limit = int(query.get("limit") or 0)
    page = found[start : start + limit] if limit else found[start:]
    if limit and len(found) > start + limit:
        kept = version or store.keep_snapshot(found)
        metadata["continue"] = _token(kept, start + limit)
        metadata["remainingItemCount"] = len(found) - start - limit
    items = [{k: v for k, v in o.items() if k not in {"kind", "apiVersion"}} for o in page]
    listed = {"kind": f"{kind.kind}List", "apiVersion": kind.api_version}
    return {**listed, "metadata": metadata, "items": items}


def _check_version(store: Store, text: str) -> None:
    if not text:
        return
    if not text.isdigit():
        raise bad_request(f'resourceVersion: Invalid value: "{text}": must be a number')
    if int(text) > store.version:
        message = f"Too large resource version: {text}, current: {store.version}"
        details = {"causes": [{"reason": "ResourceVersionTooLarge", "message": message}]}
        raise StatusError(504, "Timeout", f"Timeout: {message}", details)


def select(target: Target, query: Mapping[str, str]) -> Callable[[Json], bool]:
    """Return the predicate of a list's or watch's selectors and name."""
    labels: Selector = parse_labels(query.get("labelSelector", ""))
    fields: Selector = parse_fields(query.get("fieldSelector", ""), target.kind)

    def chosen(obj: Json) -> bool:
        metadata = obj["metadata"]
        if target.name and metadata["name"] != target.name:
            return False
        if target.namespace and metadata.get("namespace") != target.namespace:
            return False
        return matches(labels, metadata.get("labels")) and matches_fields(fields, obj)

    return chosen


def _token(version: int, start: int) -> str:
    text = json.dumps({"v": "meta.k8s.io/v1", "rv": version, "start": str(start)})
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_token(text: str) -> tuple[int, int]:
    if not text:
        return 0, 0
    try:
        token = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        return int(token["rv"]), int(token["start"])
    except (ValueError, KeyError, TypeError) as exc:
        raise bad_request(f"continue key is not valid: {exc}") from exc

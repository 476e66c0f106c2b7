"""The shadow service: merge, delta, versions, and the messages that tell devices.

AWS IoT developer guide, "Device Shadow service documents". An update names only what changes;
null removes; a version that is given has to be the present one.
"""

from __future__ import annotations

import copy
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from edgectl_aws_greengrass.emulator.ports import CloudError

MAX_BYTES = 8 * 1024
MAX_DEPTH = 8

Listener = Callable[[str, bytes], None]


@dataclass
class Shadow:
    """A shadow's state, with the time of each leaf's last change."""

    version: int = 0
    desired: dict[str, Any] = field(default_factory=dict)
    reported: dict[str, Any] = field(default_factory=dict)
    desired_times: dict[str, Any] = field(default_factory=dict)
    reported_times: dict[str, Any] = field(default_factory=dict)
    deleted: bool = False


class ShadowStore:
    """The shadows of an account.

    Args:
        exists: Whether the registry has a thing; shadows of others are refused here, so that a
            misspelt name is found (the service allows them).
        clock: Seconds of the epoch.
    """

    def __init__(
        self, exists: Callable[[str], bool], clock: Callable[[], float] = time.time
    ) -> None:
        self._exists = exists
        self._clock = clock
        self._lock = threading.RLock()
        self._known: dict[tuple[str, str | None], Shadow] = {}
        self._listeners: list[Listener] = []

    def listen(self, callback: Listener) -> None:
        """Be given (topic, payload) of each message to devices."""
        self._listeners.append(callback)

    def names(self, thing: str) -> list[str]:
        """Return the names of a thing's named shadows."""
        with self._lock:
            return sorted(
                name
                for (owner, name), shadow in self._known.items()
                if owner == thing and name is not None and not shadow.deleted
            )

    def get(self, thing: str, name: str | None) -> bytes:
        """Return the document.

        Raises:
            CloudError: Status 404.
        """
        with self._lock:
            return _encode(self._document(self._found(thing, name)))

    def _found(self, thing: str, name: str | None) -> Shadow:
        shadow = self._known.get((thing, name))
        if shadow is None or shadow.deleted:
            what = f"'{name}'" if name else "'(classic)'"
            raise CloudError(
                "ResourceNotFoundException", f"No shadow exists with name: {what}", 404
            )
        return shadow

    def update(self, thing: str, name: str | None, payload: bytes) -> bytes:
        """Merge a request into the shadow; return the ``accepted`` document.

        Raises:
            CloudError: Status 400, 404, 409 or 413.
        """
        request = _read(payload)
        if not self._exists(thing):
            raise CloudError("ResourceNotFoundException", f"there is no thing '{thing}'", 404)
        with self._lock:
            shadow = copy.deepcopy(self._known.get((thing, name)) or Shadow())
            expected = request.get("version")
            if expected is not None and expected != shadow.version:
                raise CloudError("ConflictException", "Version conflict", 409)
            before = None if shadow.deleted else self._document(shadow)
            messages = self._apply(shadow, request, before)
            self._known[thing, name] = shadow
        base = _base(thing, name)
        for suffix, document in messages:
            for listener in tuple(self._listeners):
                listener(f"{base}/{suffix}", _encode(document))
        return _encode(messages[0][1])

    def _apply(
        self, shadow: Shadow, request: dict[str, Any], before: dict[str, Any] | None
    ) -> list[tuple[str, dict[str, Any]]]:
        now = int(self._clock())
        state = request["state"]
        accepted: dict[str, Any] = {"state": state, "metadata": {}}
        for part in ("desired", "reported"):
            values, times = getattr(shadow, part), getattr(shadow, f"{part}_times")
            if part in state and state[part] is None:
                values.clear()
                times.clear()
            elif part in state:
                merge(values, times, state[part], now)
                accepted["metadata"][part] = _stamped(state[part], now)
        if len(_encode({"desired": shadow.desired, "reported": shadow.reported})) > MAX_BYTES:
            raise CloudError("RequestEntityTooLargeException", "the shadow exceeds 8 KB", 413)
        shadow.version += 1
        shadow.deleted = False
        extra: dict[str, Any] = {"version": shadow.version, "timestamp": now}
        if "clientToken" in request:
            extra["clientToken"] = request["clientToken"]
        messages = [("update/accepted", accepted | extra)]
        changed = delta(shadow.desired, shadow.reported)
        if changed and "desired" in state:
            messages.append(("update/delta", self._delta(shadow, changed) | extra))
        documents = {"previous": before or {}, "current": self._document(shadow)} | extra
        messages.append(("update/documents", documents))
        return messages

    def delete(self, thing: str, name: str | None) -> bytes:
        """Delete the shadow; its version goes on from where it was.

        Raises:
            CloudError: Status 404.
        """
        with self._lock:
            shadow = self._found(thing, name)
            shadow.version += 1
            version = shadow.version
            self._known[thing, name] = Shadow(version=version, deleted=True)
        payload = _encode({"version": version, "timestamp": int(self._clock())})
        for listener in tuple(self._listeners):
            listener(f"{_base(thing, name)}/delete/accepted", payload)
        return payload

    def _document(self, shadow: Shadow) -> dict[str, Any]:
        state: dict[str, Any] = {}
        metadata: dict[str, Any] = {}
        for part in ("desired", "reported"):
            values = getattr(shadow, part)
            if values:
                state[part] = json.loads(json.dumps(values))
                metadata[part] = json.loads(json.dumps(getattr(shadow, f"{part}_times")))
        changed = delta(shadow.desired, shadow.reported)
        if changed:
            state["delta"] = changed
        return {
            "state": state,
            "metadata": metadata,
            "version": shadow.version,
            "timestamp": int(self._clock()),
        }

    def _delta(self, shadow: Shadow, changed: dict[str, Any]) -> dict[str, Any]:
        times = {name: shadow.desired_times.get(name) for name in changed}
        return {"state": changed, "metadata": times}


def _read(payload: bytes) -> dict[str, Any]:
    if len(payload) > 2 * MAX_BYTES:
        raise CloudError("RequestEntityTooLargeException", "the request is too large", 413)
    try:
        request = json.loads(payload)
    except ValueError:
        raise CloudError("InvalidRequestException", "Payload contains invalid json", 400) from None
    if not isinstance(request, dict) or "state" not in request:
        raise CloudError("InvalidRequestException", "Missing required node: state", 400)
    if request["state"] is None:
        request["state"] = {"desired": None, "reported": None}
    state = request["state"]
    if not isinstance(state, dict):
        raise CloudError("InvalidRequestException", "State node must be an object", 400)
    unknown = set(state) - {"desired", "reported"}
    if unknown:
        raise CloudError(
            "InvalidRequestException", f"State contains an invalid node: '{min(unknown)}'", 400
        )
    for part, values in state.items():
        if values is not None and not isinstance(values, dict):
            raise CloudError("InvalidRequestException", f"{part} must be an object", 400)
        if _depth(values) > MAX_DEPTH:
            raise CloudError("InvalidRequestException", "JSON contains too many levels", 400)
    return request


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max((_depth(item) for item in value.values()), default=0)
    if isinstance(value, list):
        return max((_depth(item) for item in value), default=0)
    return 0


def merge(values: dict[str, Any], times: dict[str, Any], change: dict[str, Any], now: int) -> None:
    """Merge a change in place: objects member by member, null removes, all else replaces."""
    for name, value in change.items():
        if value is None:
            values.pop(name, None)
            times.pop(name, None)
        elif isinstance(value, dict) and isinstance(values.get(name), dict):
            merge(values[name], times[name], value, now)
        else:
            values[name] = _without_nulls(value)
            times[name] = _stamped(values[name], now)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    return value


def _stamped(value: Any, now: int) -> Any:
    if isinstance(value, dict):
        return {name: _stamped(item, now) for name, item in value.items()}
    if isinstance(value, list):
        return [_stamped(item, now) for item in value]
    return {"timestamp": now}


def delta(desired: dict[str, Any], reported: dict[str, Any]) -> dict[str, Any]:
    """Return what of the desired state is not reported so."""
    found: dict[str, Any] = {}
    for name, value in desired.items():
        other = reported.get(name)
        if isinstance(value, dict) and isinstance(other, dict):
            inner = delta(value, other)
            if inner:
                found[name] = inner
        elif value != other:
            found[name] = value
    return found


def _base(thing: str, name: str | None) -> str:
    return f"$aws/things/{thing}/shadow" + (f"/name/{name}" if name else "")


def _encode(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()

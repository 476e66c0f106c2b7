"""``coordinate``: a text in the twin of an identity of its own, swapped by the twin's ETag.

Twins take 50 writes a second, configurations 20 a minute, so a lease that beats belongs here. The
identity is a disabled device that no selector finds. Each write carries a number of its own: a
writer whose answer got lost knows its own write again.
"""

from __future__ import annotations

import contextlib
import uuid

import msgspec

from edgectl.api import ConflictError, CoordinateRequest, CoordinateResult, Record
from edgectl_azure_iot_edge._sdk.account import Account
from edgectl_azure_iot_edge._sdk.hub import Hub, device_path, patch_twin, read_twin
from edgectl_azure_iot_edge.names import TAG, shared_identity

TRIES = 8


class Shared(Record, frozen=True, kw_only=True):
    """What stands in the tag."""

    value: str | None = None
    write: str = ""


def coordinate(account: Account, request: CoordinateRequest) -> CoordinateResult:
    """Read or swap the text.

    Raises:
        ConflictError: What stands there is not ours.
    """
    hub, identity = account.hub, shared_identity(request.application, request.target.name)
    now, etag = _read(hub, identity, request.key)
    for _ in range(TRIES):
        if request.read_only or now.value != request.expect:
            return CoordinateResult(value=now.value)
        if request.value is None and now.value is None:
            return CoordinateResult(swapped=True)
        if not etag:
            _make(hub, identity)
            now, etag = _read(hub, identity, request.key)  # somebody may have written it by now
            continue
        mine = Shared(value=request.value, write=uuid.uuid4().hex)
        # A null takes the whole tag; the number of the write has to stay.
        patch = {"tags": {TAG: {request.key: msgspec.to_builtins(mine)}}}
        what = f"write '{request.key}' of target '{request.target.name}'"
        try:
            patch_twin(hub, identity, patch, what, etag=etag)
        except ConflictError:
            now, etag = _read(hub, identity, request.key)
            if now.write == mine.write:
                return CoordinateResult(value=now.value, swapped=True)
            continue  # another key of this twin may have been written
        return CoordinateResult(value=request.value, swapped=True)
    return CoordinateResult(value=now.value)


def _make(hub: Hub, identity: str) -> None:
    body = {
        "deviceId": identity,
        "status": "disabled",
        "statusReason": "edgectl keeps here who deploys; no device",
        "capabilities": {"iotEdge": False},
    }
    with contextlib.suppress(ConflictError):  # somebody was quicker
        hub.write("PUT", device_path(identity), f"make the identity '{identity}'", body=body)


def _read(hub: Hub, identity: str, key: str) -> tuple[Shared, str]:
    found = read_twin(hub, identity)
    if found is None:
        return Shared(), ""
    tags = found.document.get("tags") or {}
    text = (tags.get(TAG) or {}).get(key)
    if text is None:
        return Shared(), found.etag
    try:
        return msgspec.convert(text, Shared), found.etag
    except msgspec.ValidationError as exc:
        raise ConflictError(
            f"what stands in the tag '{key}' of '{identity}' is not ours: {str(text)[:80]}"
        ) from exc

"""What the registry knows of a device or module, and which ids, keys and thumbprints are good.

Source: learn.microsoft.com/azure/iot-hub/iot-hub-devguide-identity-registry and reports of what a
real hub accepts.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from edgectl_azure_iot_edge.emulator.hub import clock
from edgectl_azure_iot_edge.emulator.hub.errors import NUMBERED, HubError

AGENT, EDGE_HUB = "$edgeAgent", "$edgeHub"
SYSTEM_MODULES = (AGENT, EDGE_HUB)
MAX_MODULES = 50
MANAGED = "iotEdge"
_ID = re.compile(r"[A-Za-z0-9\-:.+%_#*?!(),=@;$']{1,128}")
_THUMBPRINT = re.compile(r"[0-9A-Fa-f]{40}|[0-9A-Fa-f]{64}")
_KEY_BYTES = range(16, 65)


@dataclass
class Identity:
    """A device, or with a module id a module of one.

    Attributes:
        auth: ``sas``, ``selfSigned``, ``certificateAuthority`` or ``none``.
        keys: Primary and secondary, base64.
        thumbprints: Primary and secondary of X.509 certificates.
        managed_by: ``iotEdge`` for modules that deployments made.
    """

    device_id: str
    module_id: str | None
    generation_id: str
    etag: str
    created: datetime
    status: str = "enabled"
    status_reason: str | None = None
    status_updated: datetime | None = None
    connected: bool = False
    connection_updated: datetime | None = None
    last_activity: datetime | None = None
    auth: str = "sas"
    keys: tuple[str | None, str | None] = (None, None)
    thumbprints: tuple[str | None, str | None] = (None, None)
    managed_by: str | None = None
    iot_edge: bool = False
    device_scope: str | None = None
    parent_scopes: list[str] = field(default_factory=list)

    @property
    def client_id(self) -> str:
        """What it is called in MQTT: ``device`` or ``device/module``."""
        return f"{self.device_id}/{self.module_id}" if self.module_id else self.device_id


def new_etag() -> str:
    """Return an identity's next ETag, without quotes."""
    return base64.b64encode(str(100_000_000 + secrets.randbelow(900_000_000)).encode()).decode()


def new_key() -> str:
    """Return a new symmetric key."""
    return base64.b64encode(secrets.token_bytes(32)).decode()


def check_id(value: str, what: str) -> None:
    """Check a device or module id.

    Raises:
        HubError: ``ArgumentInvalid``.
    """
    if not _ID.fullmatch(value):
        raise HubError("ArgumentInvalid", f"The {what} id '{value}' is invalid.")


def apply_body(identity: Identity, body: dict[str, Any], now: datetime, *, own: bool) -> None:
    """Write a request's body into an identity; what it leaves out gets its default.

    Args:
        identity: Is changed.
        body: A Device or Module of the API.
        now: The account's time.
        own: Whether the device itself asks, which may write the system modules.

    Raises:
        HubError: ``ArgumentInvalid``, ``SystemModuleModifyUnauthorizedAccess``.
    """
    if identity.module_id in SYSTEM_MODULES and not own:
        raise HubError(
            "SystemModuleModifyUnauthorizedAccess",
            f"The system module '{identity.module_id}' cannot be changed.",
            status=401,
            envelope=NUMBERED,
        )
    status = body.get("status") or "enabled"
    if status not in {"enabled", "disabled"}:
        raise HubError("IotHubFormatError", f"The status '{status}' is not known.")
    if status != identity.status:
        identity.status_updated = now
    identity.status = status
    identity.status_reason = body.get("statusReason")
    _authenticate(identity, body.get("authentication") or {})
    if identity.module_id is None:
        _relate(identity, body)
    else:
        identity.managed_by = body.get("managedBy")


def _relate(identity: Identity, body: dict[str, Any]) -> None:
    """Set the scopes: an edge device has its own, another its parent's; both may have a parent."""
    was_edge = identity.iot_edge
    identity.iot_edge = bool((body.get("capabilities") or {}).get("iotEdge", False))
    if identity.iot_edge:
        if not was_edge:
            own = f"ms-azure-iot-edge://{identity.device_id}-{identity.generation_id}"
            identity.device_scope = own
        identity.parent_scopes = list((body.get("parentScopes") or [])[:1])
        return
    scope = body.get("deviceScope") or None
    identity.device_scope = scope
    identity.parent_scopes = [scope] if scope else []


def _authenticate(identity: Identity, given: dict[str, Any]) -> None:
    kind = given.get("type") or ("selfSigned" if _prints(given) != (None, None) else "sas")
    if kind == "none" and identity.module_id is None:
        raise HubError("ArgumentInvalid", "DeviceAuthenticationTypeIsMissing")
    if kind == "none" and identity.module_id not in SYSTEM_MODULES:
        kind = "sas"
    if kind not in {"sas", "selfSigned", "certificateAuthority", "none"}:
        raise HubError("IotHubFormatError", f"The authentication type '{kind}' is not known.")
    identity.auth = kind
    identity.keys = _keys(given) if kind == "sas" else (None, None)
    identity.thumbprints = _prints(given) if kind == "selfSigned" else (None, None)


def _keys(given: dict[str, Any]) -> tuple[str, str]:
    keys = given.get("symmetricKey") or {}
    primary, secondary = keys.get("primaryKey") or None, keys.get("secondaryKey") or None
    if (primary is None) != (secondary is None):
        raise HubError("ArgumentInvalid", "Either no keys or both keys can be set")
    if primary is None or secondary is None:
        return new_key(), new_key()
    for key in (primary, secondary):
        try:
            raw = base64.b64decode(key, validate=True)
        except (binascii.Error, ValueError, TypeError) as exc:
            raise HubError("ArgumentInvalid", "A device key is not base64") from exc
        if len(raw) not in _KEY_BYTES:
            raise HubError("ArgumentInvalid", "Invalid device key length")
    return primary, secondary


def _prints(given: dict[str, Any]) -> tuple[str | None, str | None]:
    found = given.get("x509Thumbprint") or {}
    prints = (found.get("primaryThumbprint") or None, found.get("secondaryThumbprint") or None)
    for thumbprint in prints:
        if thumbprint is not None and not _THUMBPRINT.fullmatch(thumbprint):
            raise HubError("ArgumentInvalid", "StringIsNotThumbprint")
    return prints


def device_document(identity: Identity) -> dict[str, Any]:
    """Return a Device of the API."""
    found: dict[str, Any] = {
        **_common(identity),
        "status": identity.status,
        "statusReason": identity.status_reason,
        "statusUpdatedTime": clock.text(identity.status_updated),
        "capabilities": {"iotEdge": identity.iot_edge},
    }
    if identity.device_scope:
        found["deviceScope"] = identity.device_scope
    if identity.parent_scopes:
        found["parentScopes"] = identity.parent_scopes
    return found


def module_document(identity: Identity) -> dict[str, Any]:
    """Return a Module of the API."""
    return {**_common(identity), "moduleId": identity.module_id, "managedBy": identity.managed_by}


def _common(identity: Identity) -> dict[str, Any]:
    primary, secondary = identity.keys
    first, second = identity.thumbprints
    return {
        "deviceId": identity.device_id,
        "generationId": identity.generation_id,
        "etag": identity.etag,
        "connectionState": "Connected" if identity.connected else "Disconnected",
        "connectionStateUpdatedTime": clock.text(identity.connection_updated),
        "lastActivityTime": clock.text(identity.last_activity),
        "cloudToDeviceMessageCount": 0,
        "authentication": {
            "symmetricKey": {"primaryKey": primary, "secondaryKey": secondary},
            "x509Thumbprint": {"primaryThumbprint": first, "secondaryThumbprint": second},
            "type": identity.auth,
        },
    }

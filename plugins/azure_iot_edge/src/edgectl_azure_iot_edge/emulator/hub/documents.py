"""Decides how twins look in answers and in queries. Pure."""

from __future__ import annotations

from typing import Any

from edgectl_azure_iot_edge.emulator.hub import clock
from edgectl_azure_iot_edge.emulator.hub.identity import Identity
from edgectl_azure_iot_edge.emulator.hub.twin import Section, Twin


def twin_document(identity: Identity, twin: Twin) -> dict[str, Any]:
    """Return a Twin of the API, of a device or a module."""
    found: dict[str, Any] = {"deviceId": identity.device_id}
    if identity.module_id is not None:
        found["moduleId"] = identity.module_id
    primary, secondary = identity.thumbprints
    found |= {
        "etag": twin.etag,
        "deviceEtag": identity.etag,
        "status": identity.status,
        "statusUpdateTime": clock.text(identity.status_updated),
        "connectionState": "Connected" if identity.connected else "Disconnected",
        "lastActivityTime": clock.text(identity.last_activity),
        "cloudToDeviceMessageCount": 0,
        "authenticationType": identity.auth,
        "x509Thumbprint": {"primaryThumbprint": primary, "secondaryThumbprint": secondary},
        "modelId": "",
        "version": twin.version,
    }
    if identity.status_reason is not None:
        found["statusReason"] = identity.status_reason
    if identity.module_id is None or twin.tags:
        found["tags"] = twin.tags
    found["properties"] = {"desired": shown(twin.desired), "reported": shown(twin.reported)}
    if identity.module_id is None:
        found["capabilities"] = {"iotEdge": identity.iot_edge}
        if identity.device_scope:
            found["deviceScope"] = identity.device_scope
        if identity.parent_scopes:
            found["parentScopes"] = identity.parent_scopes
    if twin.configurations:
        found["configurations"] = {
            name: {"status": status} for name, status in sorted(twin.configurations.items())
        }
    return found


def shown(section: Section) -> dict[str, Any]:
    """Return a section with its metadata and version."""
    return {**section.values, "$metadata": section.metadata, "$version": section.version}


def for_device(twin: Twin) -> dict[str, Any]:
    """Return what a device gets of its twin: the properties, without metadata."""
    return {
        "desired": {**twin.desired.values, "$version": twin.desired.version},
        "reported": {**twin.reported.values, "$version": twin.reported.version},
    }

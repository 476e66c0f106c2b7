"""Up to 100 identities in one call (``POST /devices``); each succeeds or fails by itself."""

from __future__ import annotations

from typing import Any

from edgectl_azure_iot_edge.emulator.hub.errors import HubError
from edgectl_azure_iot_edge.emulator.hub.registry import Registry

MAX_ENTRIES = 100
Json = dict[str, Any]


def update_registry(registry: Registry, entries: list[Json]) -> Json:
    """Do what each entry's ``importMode`` says.

    Returns:
        A BulkRegistryOperationResult.

    Raises:
        HubError: There are too many entries.
    """
    if len(entries) > MAX_ENTRIES:
        raise HubError("TooManyDevices", f"{len(entries)} entries, {MAX_ENTRIES} may be")
    errors = []
    for entry in entries:
        try:
            with registry.lock:
                _apply(registry, entry)
        except HubError as exc:
            errors.append(
                {
                    "deviceId": entry.get("id"),
                    "moduleId": entry.get("moduleId"),
                    "errorCode": exc.code,
                    "errorStatus": exc.message,
                }
            )
    return {"isSuccessful": not errors, "errors": errors, "warnings": []}


def _apply(registry: Registry, entry: Json) -> None:
    device, module = str(entry.get("id", "")), entry.get("moduleId")
    mode = entry.get("importMode") or "create"
    body = {**entry, "deviceId": device}
    if mode in {"create", "update", "updateIfMatchETag"}:
        match = {"create": None, "update": "*"}.get(mode, entry.get("eTag"))
        if module:
            registry.put_module(device, str(module), body, match, own=False)
        else:
            registry.put_device(device, body, match)
        if entry.get("tags") or entry.get("properties"):
            registry.patch_twin(device, module, _twin(entry), "*")
    elif mode in {"delete", "deleteIfMatchETag"}:
        match = "*" if mode == "delete" else entry.get("eTag")
        if module:
            registry.delete_module(device, str(module), match)
        else:
            registry.delete_device(device, match)
    elif mode in {"updateTwin", "updateTwinIfMatchETag"}:
        match = "*" if mode == "updateTwin" else entry.get("twinETag")
        registry.patch_twin(device, module, _twin(entry), match)
    else:
        raise HubError("ArgumentInvalid", f"The import mode '{mode}' is not known")


def _twin(entry: Json) -> Json:
    return {key: entry[key] for key in ("tags", "properties") if entry.get(key)}

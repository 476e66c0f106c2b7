"""The operations of the service API: paths, what they take of a caller, which rate counts them.

Source: the service's OpenAPI (2021-04-12); permissions and data actions from
learn.microsoft.com/azure/iot-hub, "Control access…".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from edgectl_azure_iot_edge.emulator.hub import rates
from edgectl_azure_iot_edge.emulator.hub.access import READ, SERVICE, WRITE


@dataclass(frozen=True, kw_only=True)
class Operation:
    """An operation.

    Attributes:
        name: As it is counted.
        permission: Of a shared access policy.
        action: Of a role.
        rate: The bucket.
        throttle: What a 429 calls it.
        standard_only: Whether a Basic hub refuses it.
        by_device: Whether the device of the path may do it with its own key.
    """

    name: str
    permission: str
    action: str
    rate: str
    throttle: str
    standard_only: bool = False
    by_device: bool = False


def _registry(name: str, verb: str, *, by_device: bool = False) -> Operation:
    permission = READ if verb == "read" else WRITE
    kind = "RegistryRead" if verb == "read" else "RegistryWrite"
    return Operation(
        name=name,
        permission=permission,
        action=f"devices/{verb}",
        rate=rates.REGISTRY,
        throttle=kind,
        by_device=by_device,
    )


def _twin(name: str, verb: str) -> Operation:
    return Operation(
        name=name,
        permission=SERVICE,
        action=f"twins/{verb}",
        rate=rates.TWIN_READ if verb == "read" else rates.TWIN_WRITE,
        throttle="TwinRead" if verb == "read" else "TwinWrite",
        standard_only=True,
    )


def _configuration(name: str, verb: str) -> Operation:
    return Operation(
        name=name,
        permission=READ if verb == "read" else WRITE,
        action=f"configurations/{verb}",
        rate=rates.CONFIGURATION,
        throttle="ConfigurationRead" if verb == "read" else "ConfigurationWrite",
        standard_only=True,
    )


def _service(name: str, action: str, rate: str, throttle: str) -> Operation:
    return Operation(
        name=name,
        permission=SERVICE,
        action=action,
        rate=rate,
        throttle=throttle,
        standard_only=rate != rates.REGISTRY,
    )


_ID, _MODULE = r"(?P<id>[^/]+)", r"(?P<mid>[^/]+)"
_METHOD = "directMethods/invoke/action"

_TABLE: tuple[tuple[str, str, Operation], ...] = (
    ("POST", "/devices/query", _service("QueryTwins", "twins/read", rates.QUERY, "Query")),
    ("GET", "/devices", _registry("ListDevices", "read")),
    ("POST", "/devices", _registry("BulkUpdate", "write")),
    ("GET", f"/devices/{_ID}", _registry("GetDevice", "read", by_device=True)),
    ("PUT", f"/devices/{_ID}", _registry("PutDevice", "write")),
    ("DELETE", f"/devices/{_ID}", _registry("DeleteDevice", "delete")),
    ("GET", f"/devices/{_ID}/modules", _registry("ListModules", "read", by_device=True)),
    ("GET", f"/devices/{_ID}/modules/{_MODULE}", _registry("GetModule", "read", by_device=True)),
    ("PUT", f"/devices/{_ID}/modules/{_MODULE}", _registry("PutModule", "write", by_device=True)),
    (
        "DELETE",
        f"/devices/{_ID}/modules/{_MODULE}",
        _registry("DeleteModule", "delete", by_device=True),
    ),
    (
        "DELETE",
        f"/devices/{_ID}/commands",
        _service(
            "PurgeCommands",
            "cloudToDeviceMessages/queue/purge/action",
            rates.REGISTRY,
            "RegistryWrite",
        ),
    ),
    (
        "POST",
        f"/devices/{_ID}/applyConfigurationContent",
        _configuration("ApplyConfigurationContent", "applyToEdgeDevice/action"),
    ),
    ("GET", f"/twins/{_ID}", _twin("GetTwin", "read")),
    ("PATCH", f"/twins/{_ID}", _twin("UpdateTwin", "write")),
    ("PUT", f"/twins/{_ID}", _twin("ReplaceTwin", "write")),
    ("GET", f"/twins/{_ID}/modules/{_MODULE}", _twin("GetModuleTwin", "read")),
    ("PATCH", f"/twins/{_ID}/modules/{_MODULE}", _twin("UpdateModuleTwin", "write")),
    ("PUT", f"/twins/{_ID}/modules/{_MODULE}", _twin("ReplaceModuleTwin", "write")),
    (
        "POST",
        f"/twins/{_ID}/methods",
        _service("InvokeMethod", _METHOD, rates.METHOD, "DirectMethod"),
    ),
    (
        "POST",
        f"/twins/{_ID}/modules/{_MODULE}/methods",
        _service("InvokeModuleMethod", _METHOD, rates.METHOD, "DirectMethod"),
    ),
    ("GET", "/configurations", _configuration("ListConfigurations", "read")),
    (
        "POST",
        "/configurations/testQueries",
        _configuration("TestQueries", "testQueries/action"),
    ),
    ("GET", f"/configurations/{_ID}", _configuration("GetConfiguration", "read")),
    ("PUT", f"/configurations/{_ID}", _configuration("PutConfiguration", "write")),
    ("DELETE", f"/configurations/{_ID}", _configuration("DeleteConfiguration", "delete")),
    ("GET", "/jobs/v2/query", _service("ListJobs", "jobs/read", rates.JOB, "JobRead")),
    ("GET", f"/jobs/v2/{_ID}", _service("GetJob", "jobs/read", rates.JOB, "JobRead")),
    ("PUT", f"/jobs/v2/{_ID}", _service("CreateJob", "jobs/write", rates.JOB, "JobWrite")),
    (
        "POST",
        f"/jobs/v2/{_ID}/cancel",
        _service("CancelJob", "jobs/write", rates.JOB, "JobWrite"),
    ),
    ("GET", "/statistics/devices", _registry("GetDeviceStatistics", "read")),
    (
        "GET",
        "/statistics/service",
        _service("GetServiceStatistics", "statistics/read", rates.REGISTRY, "RegistryRead"),
    ),
)
_COMPILED = tuple((verb, re.compile(path), operation) for verb, path, operation in _TABLE)


def find(verb: str, path: str) -> tuple[Operation, Mapping[str, str]] | None:
    """Return the operation of a request and the names in its decoded path, or None."""
    for known, pattern, operation in _COMPILED:
        match = pattern.fullmatch(path) if known == verb else None
        if match is not None:
            return operation, match.groupdict()
    return None

"""``enroll`` and ``retire``: a device's entry on the server, and its configuration file."""

from __future__ import annotations

import contextlib
from pathlib import Path
from urllib.parse import quote

from edgectl.api import (
    PROFILES,
    AuthError,
    ConflictError,
    Device,
    DeviceConfig,
    DeviceSection,
    EnrollRequest,
    EnrollResult,
    HubSection,
    NotFoundError,
    PlanError,
    RetireRequest,
    RetireResult,
    TelemetrySection,
    TrustSection,
)
from edgectl_selfhosted import fiql
from edgectl_selfhosted._sdk.client import Client
from edgectl_selfhosted._sdk.devices import TARGETS
from edgectl_selfhosted._sdk.inventory import HARDWARE_LABEL
from edgectl_selfhosted._sdk.tags import device_tags, give_tag
from edgectl_selfhosted._sdk.wire import TargetView
from edgectl_selfhosted.config import SelfhostedConfig, in_project, same_origin

DEVICE_FILE = "device.toml"
CA_FILE = "ca.pem"


def enroll(
    client: Client, config: SelfhostedConfig, project_dir: Path, request: EnrollRequest
) -> EnrollResult:
    """Make a device known, give it the tags of its target, and write its configuration.

    A known device keeps its token, so its file comes out the same again.

    Raises:
        PlanError: The target's selector can never find the device, or its hardware is unknown.
        AuthError: The server does not show the device's token.
    """
    _check_fits(request)
    target = _create(client, request.name)
    labels = {**request.labels, HARDWARE_LABEL: request.hardware}
    names = [*fiql.selector_tags(request.target)]
    names += [fiql.label_tag(key, value) for key, value in labels.items()]
    have = device_tags(client, request.name)
    for name in dict.fromkeys(names):
        if name not in have:
            give_tag(client, request.name, name)
    files = {DEVICE_FILE: device_config(config, request, target.security_token).to_toml()}
    if _brings_ca(config):
        files[CA_FILE] = in_project(config.ca, project_dir).read_text(encoding="utf-8")
    device = Device(id=request.name, name=request.name, hardware=request.hardware, labels=labels)
    return EnrollResult(device=device, files=files, notes=_notes(request, config))


def retire(client: Client, request: RetireRequest) -> RetireResult:
    """Delete the device's entry; its token is worth nothing after that."""
    path = f"{TARGETS}/{quote(request.device, safe='')}"
    try:
        client.command(f"remove '{request.device}'", "DELETE", path)
    except NotFoundError:
        return RetireResult(removed=False)
    return RetireResult(removed=True)


def device_config(config: SelfhostedConfig, request: EnrollRequest, token: str) -> DeviceConfig:
    """Return the configuration of an enrolled device.

    The device's token goes along with telemetry only where that is the same server.
    """
    otlp = config.device_otlp
    state_dir = _state_dir(config, request)
    ca = f"{state_dir}/{CA_FILE}" if _brings_ca(config) else config.device_ca
    ours = same_origin(otlp, config.device_server)
    return DeviceConfig(
        device=DeviceSection(
            id=request.name,
            application=request.application,
            hardware=request.hardware,
            state_dir=state_dir,
        ),
        hub=HubSection(url=config.device_server, tenant=config.tenant, token=token, ca=ca),
        trust=TrustSection(publishers=(request.publisher_key,)),
        telemetry=TelemetrySection(
            url=otlp, authorization=f"TargetToken {token}" if ours else "", ca=ca if ours else ""
        ),
    )


def _state_dir(config: SelfhostedConfig, request: EnrollRequest) -> str:
    return f"{config.device_state_dir.rstrip('/')}/{request.name}"


def _brings_ca(config: SelfhostedConfig) -> bool:
    return bool(config.ca and not config.device_ca)


def _check_fits(request: EnrollRequest) -> None:
    fiql.selector_query(request.target)
    if request.hardware not in PROFILES:
        known = ", ".join(PROFILES)
        raise PlanError(f"unknown hardware '{request.hardware}'", hint=f"known: {known}")
    ids = request.target.selector.get("ids")
    if isinstance(ids, list) and request.name not in ids:
        raise PlanError(
            f"target '{request.target.name}' lists its devices by name, "
            f"and '{request.name}' is not among them",
            hint=f"add it to targets.{request.target.name}.selector.ids",
        )


def _create(client: Client, name: str) -> TargetView:
    what = f"enrol '{name}'"
    path = f"{TARGETS}/{quote(name, safe='')}"
    try:
        target = client.get(what, path, TargetView)
    except NotFoundError:
        # Somebody else may enrol it at the same moment; then theirs is taken.
        with contextlib.suppress(ConflictError):
            client.post(what, TARGETS, list[TargetView], [{"controllerId": name, "name": name}])
        target = client.get(what, path, TargetView)
    if not target.security_token:
        raise AuthError(
            f"cannot {what}: the server does not show the device's token",
            hint="the user needs hawkBit's permission READ_TARGET_SECURITY_TOKEN",
        )
    return target


def _notes(request: EnrollRequest, config: SelfhostedConfig) -> tuple[str, ...]:
    notes = []
    if attributes := fiql.selector_attributes(request.target):
        said = ", ".join(f"{key}={value}" for key, value in attributes.items())
        notes.append(
            f"target '{request.target.name}' finds the device once it sends the attributes {said}"
        )
    if "q" in request.target.selector:
        notes.append(f"target '{request.target.name}' finds the device once its query matches it")
    if _brings_ca(config):
        notes.append(f"copy {CA_FILE} to {_state_dir(config, request)}/{CA_FILE} on the device")
    if not same_origin(config.device_otlp, config.device_server):
        notes.append(
            "telemetry goes to another server: set `telemetry.authorization` in the device's file "
            "if that server asks for it"
        )
    return tuple(notes)

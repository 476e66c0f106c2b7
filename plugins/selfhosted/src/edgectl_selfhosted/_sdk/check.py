"""``check``: whether a deploy could start, one finding a question; changes nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from edgectl.api import (
    CheckRequest,
    CheckResult,
    EdgectlError,
    Finding,
    NotFoundError,
    Target,
)
from edgectl_selfhosted import fiql
from edgectl_selfhosted._sdk.client import Client
from edgectl_selfhosted._sdk.devices import TARGETS
from edgectl_selfhosted._sdk.wire import ConfigValue, TargetView
from edgectl_selfhosted.config import SelfhostedConfig

TOKENS_KEY = "authentication.targettoken.enabled"
CONFIGS = "/rest/v1/system/configs"
_PROBE_DEVICE = "edgectl-doctor"

Connect = Callable[[str], Client]


def check(
    config: SelfhostedConfig, state_dir: Path, connect: Connect, request: CheckRequest
) -> CheckResult:
    """Look at the server, the credentials, the device side, telemetry and the local store.

    Args:
        config: What to check.
        state_dir: Where the local store lies.
        connect: Opens a client for a base address.
        request: The targets whose selectors are tried.
    """
    findings = [_local_store(state_dir)]
    server = _found("server", lambda: _server(config, connect))
    findings.append(server)
    if server.ok:
        findings.append(_found("target tokens", lambda: _target_tokens(config, connect)))
        findings += [
            _found(f"target {target.name}", partial(_target, config, connect, target))
            for target in request.targets
        ]
    findings.append(_found("devices' address", lambda: _device_side(config, connect)))
    findings.append(_found("telemetry", lambda: _telemetry(config, connect)))
    return CheckResult(findings=tuple(findings))


def _found(name: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except EdgectlError as exc:
        return Finding(name=name, ok=False, detail=exc.message, hint=exc.hint)


def _server(config: SelfhostedConfig, connect: Connect) -> Finding:
    with connect(config.server) as client:
        page = client.page("list the devices", TARGETS, TargetView, {"limit": 1})
    detail = f"{config.server} answers, {page.total} devices"
    hint = ""
    if config.server.startswith("http://") and not _is_loopback(config.server):
        hint = "the credentials travel unencrypted; use https://"
    return Finding(name="server", ok=True, detail=detail, hint=hint)


def _target_tokens(config: SelfhostedConfig, connect: Connect) -> Finding:
    with connect(config.server) as client:
        try:
            value = client.get(
                "read the server's settings", f"{CONFIGS}/{TOKENS_KEY}", ConfigValue
            ).value
        except NotFoundError:
            return Finding(name="target tokens", ok=True, detail="the server has no such setting")
    if value is True or str(value).lower() == "true":
        return Finding(name="target tokens", ok=True, detail="devices may use their tokens")
    return Finding(
        name="target tokens",
        ok=False,
        detail=f"`{TOKENS_KEY}` is off: no enrolled device could log in",
        hint=f'PUT {CONFIGS}/{TOKENS_KEY} {{"value": true}}, or switch it on in the hawkBit UI',
    )


def _target(config: SelfhostedConfig, connect: Connect, target: Target) -> Finding:
    name = f"target {target.name}"
    query = fiql.selector_query(target)
    params: dict[str, str | int | bool] = {"limit": 1} | ({"q": query} if query else {})
    with connect(config.server) as client:
        page = client.page(f"list the devices of '{target.name}'", TARGETS, TargetView, params)
    hint = "" if page.total else f"`edgectl devices add NAME --target {target.name}` makes one"
    return Finding(name=name, ok=True, detail=f"{page.total} devices", hint=hint)


def _device_side(config: SelfhostedConfig, connect: Connect) -> Finding:
    name = "devices' address"
    path = f"/{config.tenant}/controller/v1/{_PROBE_DEVICE}"
    with connect(config.device_server) as client:
        status = client.probe(path)
    where = f"{config.device_server}{path}"
    if status in {401, 403}:
        return Finding(name=name, ok=True, detail=f"{where} asks for a device's token")
    return Finding(
        name=name,
        ok=False,
        detail=f"{where} answered {status}, expected 401",
        hint="check `device_url` and `tenant` of providers.selfhosted",
    )


def _telemetry(config: SelfhostedConfig, connect: Connect) -> Finding:
    endpoint = config.device_otlp
    with connect(endpoint) as client:
        status = client.probe()
    if status == 404 or status >= 500:
        return Finding(
            name="telemetry",
            ok=False,
            detail=f"{endpoint} answered {status}",
            hint="hawkBit takes no telemetry: run an OpenTelemetry collector and set "
            "`device_telemetry_url` and `telemetry_files`",
        )
    return Finding(name="telemetry", ok=True, detail=f"devices write to {endpoint}")


def _local_store(state_dir: Path) -> Finding:
    folder = state_dir
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    ok = folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
    hint = "" if ok else "packages and model versions are stored there"
    detail = f"{state_dir} {'can be written' if ok else 'cannot be written'}"
    return Finding(name="local store", ok=ok, detail=detail, hint=hint)


def _is_loopback(url: str) -> bool:
    return any(host in url for host in ("//127.", "//localhost", "//[::1]"))

"""``check``: whether a deploy could start, one finding a question; changes nothing.

Rights to write are tried with calls that cannot succeed: the hub looks at who asks before it looks
at what, so a change of something that is not there is refused as denied or as not found, and only
the first is a finding.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from edgectl.api import (
    AuthError,
    CheckRequest,
    CheckResult,
    EdgectlError,
    Finding,
    ProviderError,
    Target,
)
from edgectl_azure_iot_edge._sdk import images
from edgectl_azure_iot_edge._sdk.account import Account
from edgectl_azure_iot_edge._sdk.hub import (
    configuration_path,
    device_path,
    list_configurations,
    patch_twin,
)
from edgectl_azure_iot_edge.limits import max_deployments
from edgectl_azure_iot_edge.queries import select
from edgectl_azure_iot_edge.selector import id_list

PROBE = "edgectl-doctor-is-not-there"


def check(account: Account, request: CheckRequest) -> CheckResult:
    """Look at login, hub, rights, registry, image and the targets."""
    findings = [_found("hub", lambda: _hub(account))]
    if findings[0].ok:
        findings += [
            _found("rights", lambda: _rights(account)),
            _found("registry", lambda: _image(account)),
            *(
                _found(f"target {target.name}", partial(_target, account, target))
                for target in request.targets
            ),
        ]
    return CheckResult(findings=tuple(findings))


def _found(name: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except EdgectlError as exc:
        return Finding(name=name, ok=False, detail=exc.message, hint=exc.hint)


def _hub(account: Account) -> Finding:
    there = [
        one
        for one in list_configurations(account.hub)
        if (one.get("content") or {}).get("modulesContent")
    ]
    most = max_deployments(account.config.tier)
    who = f"policy '{account.hub.policy}'" if account.hub.policy else "azure-identity's login"
    return Finding(
        name="hub",
        ok=True,
        detail=f"{account.hub.host} by {who}; {len(there)} of {most} deployments",
    )


def _rights(account: Account) -> Finding:
    missing = [problem for problem in map(_denied, _dry(account)) if problem]
    if missing:
        return Finding(
            name="rights",
            ok=False,
            detail="; ".join(dict.fromkeys(missing)),
            hint="docs/providers/azure.md has the policy and the role",
        )
    return Finding(name="rights", ok=True, detail="everything that a deploy needs is allowed")


def _denied(call: Callable[[], object]) -> str:
    try:
        call()
    except AuthError as exc:
        return exc.message
    except ProviderError:
        pass
    return ""


def _dry(account: Account) -> tuple[Callable[[], object], ...]:
    """Return calls that change nothing: they read, or are about what is not there."""
    hub = account.hub
    path, device = configuration_path(PROBE), device_path(PROBE)
    return (
        lambda: hub.query(select(("deviceId",), "devices", id_list((PROBE,))), "query"),
        lambda: patch_twin(hub, PROBE, {"tags": {}}, "write tags", etag="*"),
        lambda: hub.write("DELETE", path, "remove deployments", etag="*"),
        lambda: hub.get(device, "read devices"),
    )


def _image(account: Account) -> Finding:
    reference = account.repository("doctor").rsplit("/", 1)[0]
    image = images.pinned_image(account.config)
    return Finding(name="registry", ok=True, detail=f"{reference}; devices run {image}")


def _target(account: Account, target: Target) -> Finding:
    found = account.members(target).all(fresh=True)
    tagged = sum(1 for device in found.values() if device.hardware)
    hint = "" if found else f"`edgectl devices add NAME --target {target.name}` makes one"
    return Finding(
        name=f"target {target.name}",
        ok=True,
        detail=f"{len(found)} edge devices, {tagged} of them added by edgectl",
        hint=hint,
    )

"""``check``: whether a deploy could start, one finding a question; changes nothing.

Permissions to write are tried with calls that cannot succeed: IAM is asked before the service
looks at a request, so a call about something that is not there is refused with AccessDenied or
with "not found", and only the first is a finding.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from edgectl.api import (
    AuthError,
    CheckRequest,
    CheckResult,
    EdgectlError,
    Finding,
    ProviderError,
    Target,
)
from edgectl_aws_greengrass._sdk import fleet
from edgectl_aws_greengrass._sdk.account import Account
from edgectl_aws_greengrass.errors import DENIED
from edgectl_aws_greengrass.selector import read_selector

PROBE = "edgectl-doctor-is-not-there"
_NOWHERE = "00000000-0000-4000-8000-000000000000"
_TRUSTED = "credentials.iot.amazonaws.com"

Params = dict[str, Any]


def check(account: Account, request: CheckRequest) -> CheckResult:
    """Look at identity, bucket, permissions, the devices' role and the targets."""
    findings = [_found("identity", lambda: _identity(account))]
    if findings[0].ok:
        findings.append(_found("bucket", lambda: _bucket(account)))
        findings.append(_found("permissions", lambda: _permissions(account)))
        findings.append(_found("token exchange role", lambda: _role(account)))
        findings += [
            _found(f"target {target.name}", partial(_target, account, target))
            for target in request.targets
        ]
    return CheckResult(findings=tuple(findings))


def _found(name: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except EdgectlError as exc:
        return Finding(name=name, ok=False, detail=exc.message, hint=exc.hint)


def _identity(account: Account) -> Finding:
    who = account.identity()
    return Finding(
        name="identity", ok=True, detail=f"{who.arn} in account {who.account}, {account.region}"
    )


def _bucket(account: Account) -> Finding:
    bucket = account.config.bucket
    found = account.call("s3", "GetBucketLocation", f"look at bucket '{bucket}'", Bucket=bucket)
    region = found.get("LocationConstraint") or "us-east-1"
    if region != account.region:
        return Finding(
            name="bucket",
            ok=False,
            detail=f"bucket '{bucket}' is in {region}, the devices are in {account.region}",
            hint="Greengrass takes artifacts of its own Region only: use a bucket there",
        )
    return Finding(name="bucket", ok=True, detail=f"{bucket} in {region}")


def _permissions(account: Account) -> Finding:
    missing = [
        action for action in account.at_once(partial(_denied, account), _dry(account)) if action
    ]
    if missing:
        named = ", ".join(sorted(set(missing)))
        return Finding(
            name="permissions",
            ok=False,
            detail=f"not allowed: {named}",
            hint=f"add {named} to the policy of the role or user; docs/providers/aws.md has it",
        )
    return Finding(name="permissions", ok=True, detail="everything that a deploy needs is allowed")


def _denied(account: Account, call: tuple[str, str, Params]) -> str:
    """Return the action that is not allowed, or "" for a call that only found nothing."""
    service, operation, params = call
    try:
        account.call(service, operation, f"try {service}:{operation}", **params)
    except AuthError as exc:
        if exc.vendor_code not in DENIED:
            raise
        return exc.message.rsplit(": ", 1)[-1].removesuffix(" is not allowed")
    except ProviderError:
        pass
    return ""


def _dry(account: Account) -> Iterable[tuple[str, str, Params]]:
    """Return calls that change nothing: they read, or are about what is not there."""
    config = account.config
    bucket, key = config.bucket, f"{config.prefix}/{PROBE}"
    group = account.arn("iot", f"thinggroup/{PROBE}")
    component = account.arn("greengrass", f"components:{PROBE}:versions:1.0.0")
    job = {"jobId": PROBE}
    yield "s3", "ListObjectsV2", {"Bucket": bucket, "Prefix": key, "MaxKeys": 1}
    yield "s3", "GetObject", {"Bucket": bucket, "Key": key}
    # Written only over an object that is there and has this tag: never.
    yield "s3", "PutObject", {"Bucket": bucket, "Key": key, "Body": b"", "IfMatch": f'"{"0" * 32}"'}
    yield "greengrassv2", "DescribeComponent", {"arn": component}
    yield "greengrassv2", "CreateComponentVersion", {"inlineRecipe": b"{}"}
    yield "greengrassv2", "ListDeployments", {"targetArn": group}
    yield "greengrassv2", "GetDeployment", {"deploymentId": _NOWHERE}
    yield "greengrassv2", "CreateDeployment", {"targetArn": group}
    yield "greengrassv2", "CancelDeployment", {"deploymentId": _NOWHERE}
    yield "greengrassv2", "ListCoreDevices", {"maxResults": 1}
    yield "iot", "DescribeThingGroup", {"thingGroupName": PROBE}
    yield "iot", "ListThingsInThingGroup", {"thingGroupName": PROBE}
    yield "iot", "CreateThingGroup", {"thingGroupName": PROBE, "parentGroupName": f"{PROBE}-either"}
    yield "iot", "AddThingToThingGroup", {"thingGroupName": PROBE, "thingName": PROBE}
    yield "iot", "RemoveThingFromThingGroup", {"thingGroupName": PROBE, "thingName": PROBE}
    yield "iot", "DeleteThingGroup", {"thingGroupName": PROBE}
    yield "iot", "ListJobExecutionsForJob", job
    yield "iot", "DescribeJobExecution", {**job, "thingName": PROBE}
    yield "iot", "CancelJobExecution", {**job, "thingName": PROBE}
    yield "iot", "DescribeThing", {"thingName": PROBE}
    yield "iot-data", "GetThingShadow", {"thingName": PROBE, "shadowName": "edgectl"}


def _role(account: Account) -> Finding:
    name, alias = "token exchange role", account.config.token_exchange_role_alias
    what = f"look for the role alias '{alias}'"
    found = account.find("iot", "DescribeRoleAlias", what, roleAlias=alias)
    if found is None:
        return Finding(
            name=name,
            ok=False,
            detail=f"there is no role alias '{alias}': devices could not download anything",
            hint="set `token_exchange_role`, then `edgectl devices add` makes the alias; or name "
            "yours in `token_exchange_role_alias`",
        )
    role = str(found["roleAliasDescription"]["roleArn"])
    problem = _untrusted(account, role)
    if problem:
        return Finding(name=name, ok=False, detail=problem, hint=f"let {_TRUSTED} assume the role")
    return Finding(name=name, ok=True, detail=f"{alias} gives devices {role}")


def _untrusted(account: Account, role: str) -> str:
    """Return why devices could not assume a role, or "" if they can or we may not look."""
    name = role.rsplit("/", 1)[-1]
    try:
        found = account.find("iam", "GetRole", f"look at the role '{name}'", RoleName=name)
    except AuthError:
        return ""
    if found is None:
        return f"the role '{name}' of the role alias is not there"
    trust = found["Role"].get("AssumeRolePolicyDocument") or {}
    return "" if _TRUSTED in json.dumps(trust) else f"{_TRUSTED} may not assume the role '{name}'"


def _target(account: Account, target: Target) -> Finding:
    name, selector = f"target {target.name}", read_selector(target)
    found = fleet.things(account, target, selector)
    cores = fleet.cores(account, selector, found) if found else {}
    connected = sum(1 for thing in found if thing in cores)
    hint = "" if found else f"`edgectl devices add NAME --target {target.name}` makes one"
    return Finding(
        name=name,
        ok=True,
        detail=f"{len(found)} things, {connected} of them have been core devices",
        hint=hint,
    )

"""``withdraw``: take a release back from who has not begun with it, or remove the application.

What a device is busy with or has finished is not touched: its nucleus could not be told. Taking a
release back from everybody calls the deployments off; from some, their executions only.
"""

from __future__ import annotations

from collections.abc import Iterable

from edgectl.api import ConflictError, NotFoundError, WithdrawRequest, WithdrawResult
from edgectl_aws_greengrass._sdk import fleet
from edgectl_aws_greengrass._sdk.account import Account
from edgectl_aws_greengrass._sdk.deploy import cancel, remove_parts
from edgectl_aws_greengrass._sdk.view import Deployment, View
from edgectl_aws_greengrass.render import (
    Components,
    deployment_policies,
    part_prefix,
    tags,
    without,
)
from edgectl_aws_greengrass.states import FAILED, SUCCEEDED, WAITING, Execution, current

_NOT_BEGUN = frozenset({"QUEUED", WAITING})
_BEGUN = frozenset({"IN_PROGRESS", *SUCCEEDED, *FAILED})


def withdraw(account: Account, request: WithdrawRequest) -> WithdrawResult:
    """Take a release, or with ``release`` None the application, from devices of the target."""
    view = View(account, request.target, request.application)
    if request.release is None:
        return WithdrawResult(devices=_remove(view, request))
    return WithdrawResult(devices=_take_back(view, request, request.release))


def _take_back(view: View, request: WithdrawRequest, release: int) -> tuple[str, ...]:
    wanted = None if request.devices is None else frozenset(request.devices)
    back: set[str] = set()
    for deployment, number in view.carriers():
        if number != release or deployment.is_canceled or not deployment.latest:
            continue
        open_ = {
            device: execution
            for device, execution in view.executions(deployment).items()
            if execution.status in _NOT_BEGUN and (wanted is None or device in wanted)
        }
        if not open_:
            continue
        if wanted is None or ":thing/" in deployment.target_arn:
            cancel(view.account, deployment)
        else:
            _call_off(view, deployment, open_.values(), open_)
        back |= open_.keys()
    # Looked at anew: a device may have begun between the look and the word.
    now = View(view.account, view.target, view.application)
    return tuple(sorted(back - _begun(now, release))) if back else ()


def _begun(view: View, release: int) -> set[str]:
    """Return who has begun with the release, or has finished it."""
    return {
        device
        for device, executions in view.by_device(release).items()
        if any(e.release == release and e.status in _BEGUN for e in executions)
    }


def _call_off(
    view: View, deployment: Deployment, executions: Iterable[Execution], devices: Iterable[str]
) -> None:
    is_part = deployment.target_name.startswith(part_prefix(view.application, view.target.name))
    jobs = {execution.job for execution in executions}

    def call_off(device: str) -> None:
        for job in jobs:
            try:
                _cancel_execution(view.account, job, device)
            except ConflictError:
                return  # it has begun: it stays in its part
            except NotFoundError:
                continue  # the job has not come to it yet
        if is_part:
            view.account.find(
                "iot",
                "RemoveThingFromThingGroup",
                f"take '{device}' out of '{deployment.target_name}'",
                thingGroupName=deployment.target_name,
                thingName=device,
            )

    view.account.at_once(call_off, sorted(devices))


def _cancel_execution(account: Account, job: str, device: str) -> None:
    account.call(
        "iot",
        "CancelJobExecution",
        f"call off what '{device}' has not begun",
        jobId=job,
        thingName=device,
    )


def _remove(view: View, request: WithdrawRequest) -> tuple[str, ...]:
    """Give the group, or each thing, a revision without the application."""
    had = sorted(
        device
        for device, executions in view.by_device(None).items()
        if (last := current(executions)) is not None and last.release
    )
    if view.selector.things:
        return _remove_from_things(view, request, had)
    base = view.base()
    there = base is not None and view.component in view.components(base)
    live = [part for part in view.parts() if part.latest and not part.is_canceled]
    if there or live:
        present = {} if base is None else view.components(base)
        _create_without(view, view.group_arn, present)
        remove_parts(view, view.parts())
        return tuple(had)
    return ()


def _remove_from_things(
    view: View, request: WithdrawRequest, had: Iterable[str]
) -> tuple[str, ...]:
    removed = []
    for thing in had:
        if request.devices is not None and thing not in request.devices:
            continue
        arn = fleet.thing_arn(view.account, thing)
        base = view.base(arn)
        if base is not None and view.component in view.components(base):
            _create_without(view, arn, view.components(base))
            removed.append(thing)
    return tuple(removed)


def _create_without(view: View, arn: str, present: Components) -> None:
    config = view.account.config
    marks = tags(view.application, view.target.name, 0)
    view.account.call(
        "greengrassv2",
        "CreateDeployment",
        f"remove '{view.application}' from '{fleet.name_of(arn)}'",
        targetArn=arn,
        deploymentName="edgectl/removed",
        components=without(present, config, view.application),
        deploymentPolicies=deployment_policies(config.job),
        tags=marks,
    )

"""``deploy``: give a release to devices of a target; who has it already is left alone.

A thing group gets a new revision once everybody in it is given the release. Before that its
devices are a *part*: a thing group that we make, with a deployment of its own whose parent is the
group (a subdeployment), so that a device has either the group's set of components or the part's,
never both. Such deployments are continuous: to give the release to more devices, they are put
into the part. Once the group itself has the release, its parts are called off and removed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

from edgectl.api import (
    ConflictError,
    DeployRequest,
    DeployResult,
    NotFoundError,
    ProviderError,
)
from edgectl_aws_greengrass._sdk import components, fleet, runtime
from edgectl_aws_greengrass._sdk.account import Account
from edgectl_aws_greengrass._sdk.view import Deployment, View, given
from edgectl_aws_greengrass.limits import check_document
from edgectl_aws_greengrass.recipe import model_version, runtime_name
from edgectl_aws_greengrass.render import (
    APPLICATION_TAG,
    Components,
    deployment_name,
    deployment_policies,
    document,
    job_configuration,
    merge,
    newer_runtime,
    own_components,
    part_name,
    plan_giving,
    tags,
)


def deploy(account: Account, request: DeployRequest) -> DeployResult:
    """Give the release to the named devices.

    Raises:
        NotFoundError: A device is not in the target, or the release was not packaged.
        ConflictError: A thing group that is not ours has the name of one that we need.
    """
    if not request.devices:
        return DeployResult()
    giver = _Giver(account, request)
    giver.check()
    return giver.give_things() if giver.view.selector.things else giver.give_group()


class _Giver:
    """One deploy."""

    def __init__(self, account: Account, request: DeployRequest) -> None:
        self._account = account
        self._request = request
        self._number = request.release.number
        self.view = View(account, request.target, request.release.application)

    def check(self) -> None:
        """Check that release and devices are there; raises ``NotFoundError``."""
        release = self._request.release
        name, version = self.view.component, model_version(self._number)
        made = components.find(self._account, name, version)
        if made is None or made.state == "FAILED":
            raise NotFoundError(
                f"the account has no release {self._number} of '{release.application}'",
                hint="the `package` step makes it; run `edgectl deploy` again",
            )
        components.check_ours(name, version, made)
        selector = self.view.selector
        known = set(fleet.things(self._account, self._request.target, selector))
        missing = [device for device in self._request.devices if device not in known]
        if missing:
            names = ", ".join(f"'{device}'" for device in missing[:5])
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            raise NotFoundError(
                f"target '{self._request.target.name}' has no {names}{more}",
                hint="`edgectl devices list` shows a target's devices, `devices add` makes one",
            )

    def give_things(self) -> DeployResult:
        """Give the release to things one by one, each merged with what it has."""
        had = given(self.view, self._number)
        wanted = tuple(dict.fromkeys(self._request.devices))
        missing = tuple(device for device in wanted if device not in had)

        def give(thing: str) -> None:
            arn = fleet.thing_arn(self._account, thing)
            present = self.view.base(arn)
            self._create(arn, {} if present is None else self.view.components(present))

        self._account.at_once(give, missing)
        unchanged = tuple(device for device in wanted if device in had)
        return DeployResult(assigned=missing, unchanged=unchanged)

    def give_group(self) -> DeployResult:
        """Give the release to some of a group, or to the group."""
        view, base = self.view, self.view.base()
        had = given(view, self._number)
        giving = plan_giving(
            self._request.devices,
            had=had,
            members=view.members(view.selector.group),
            group_has_it=base is not None and view.release(base) == self._number,
            narrowed=bool(view.selector.query),
        )
        if giving.whole:
            self._create(view.group_arn, {} if base is None else view.components(base))
            self._remove_parts(view.parts())
        elif giving.assigned:
            self._extend_part(giving.assigned, base)
            self._remove_parts(self._outdated({*had, *giving.assigned}))
        return DeployResult(assigned=giving.assigned, unchanged=giving.unchanged)

    def _extend_part(self, devices: Iterable[str], base: Deployment | None) -> None:
        release = self._request.release
        group = part_name(release.application, self._request.target.name, self._number)
        arn = self._ensure_group(group)
        # Members first: the job's rate holds for those who are there when it is made.
        self._account.at_once(lambda device: self._add(group, device), devices)
        part = next((d for d in self.view.parts() if d.target_arn == arn and d.latest), None)
        stale = part is not None and base is not None and base.order > part.order
        if part is None or part.is_canceled or stale:
            present = {} if base is None else self.view.components(base)
            self._create_part(arn, present, base)

    def _create_part(self, arn: str, present: Components, base: Deployment | None) -> None:
        parent = self.view.group_arn
        try:
            self._create(arn, present, parent=parent)
        except ProviderError as exc:
            # A group that never had a deployment may not do as a parent: an empty one is none of
            # anybody's components, and takes nothing from a device.
            if base is not None or exc.vendor_code not in {
                "ResourceNotFoundException",
                "ValidationException",
            }:
                raise
            self._create_empty(parent)
            self._create(arn, present, parent=parent)

    def _create_empty(self, arn: str) -> None:
        self._account.call(
            "greengrassv2",
            "CreateDeployment",
            f"make an empty deployment on '{self.view.selector.group}'",
            targetArn=arn,
            deploymentName="edgectl/base",
            components={},
        )

    def _ensure_group(self, group: str) -> str:
        what = f"make the thing group '{group}'"
        marks = self._tags()
        found = self._account.find("iot", "DescribeThingGroup", what, thingGroupName=group)
        if found is not None:
            arn = str(found["thingGroupArn"])
            self._check_group_is_ours(group, found)
            return arn
        made = self._account.call(
            "iot",
            "CreateThingGroup",
            what,
            thingGroupName=group,
            thingGroupProperties={"thingGroupDescription": _description(marks)},
            tags=[{"Key": key, "Value": value} for key, value in marks.items()],
        )
        return str(made["thingGroupArn"])

    def _check_group_is_ours(self, group: str, found: dict[str, Any]) -> None:
        said = (found.get("thingGroupProperties") or {}).get("thingGroupDescription", "")
        if said != _description(self._tags()):
            raise ConflictError(
                f"the thing group '{group}' is there, and edgectl did not make it",
                hint="remove or rename it; edgectl keeps parts of a rollout in such groups",
            )

    def _add(self, group: str, device: str) -> None:
        self._account.call(
            "iot",
            "AddThingToThingGroup",
            f"put '{device}' into '{group}'",
            thingGroupName=group,
            thingName=device,
        )

    def _create(self, arn: str, present: Components, *, parent: str | None = None) -> None:
        config, release = self._account.config, self._request.release
        runtime_at = newer_runtime(
            present, runtime_name(config.publisher), runtime.installed_version()
        )
        ours = own_components(config, release.application, self._number, runtime_at)
        merged = merge(present, ours)
        name = fleet.name_of(arn)
        check_document(name, document(merged))
        is_thing = ":thing/" in arn
        self._account.call(
            "greengrassv2",
            "CreateDeployment",
            f"give release {self._number} to '{name}'",
            targetArn=arn,
            deploymentName=deployment_name(
                release.application, self._request.target.name, self._number
            ),
            components=merged,
            deploymentPolicies=deployment_policies(config.job),
            iotJobConfiguration=None
            if is_thing
            else job_configuration(config.job, self._request.pace),
            parentTargetArn=parent,
            tags=self._tags(),
        )

    def _tags(self) -> dict[str, str]:
        release = self._request.release
        return tags(release.application, self._request.target.name, self._number)

    def _outdated(self, with_release: set[str]) -> list[Deployment]:
        """Return the parts of earlier releases whose every device has gone on."""
        return [
            part
            for part in self.view.parts()
            if self.view.release(part) < self._number
            and set(self.view.members(part.target_name)) <= with_release
        ]

    def _remove_parts(self, parts: Iterable[Deployment]) -> None:
        remove_parts(self.view, parts)


def remove_parts(view: View, parts: Iterable[Deployment]) -> None:
    """Call off parts of a rollout, and remove their groups; their history stays readable."""
    for part in parts:
        if not part.is_canceled and part.latest:
            cancel(view.account, part)
        if view.members(part.target_name) or part.latest:
            name = part.target_name
            view.account.find(
                "iot", "DeleteThingGroup", f"remove the thing group '{name}'", thingGroupName=name
            )


def cancel(account: Account, deployment: Deployment) -> None:
    """Call a deployment off for devices that have not received it."""
    what = f"call off the deployment to '{deployment.target_name}'"
    with contextlib.suppress(ConflictError, NotFoundError):  # it has ended meanwhile
        account.call("greengrassv2", "CancelDeployment", what, deploymentId=deployment.id)


def _description(marks: dict[str, str]) -> str:
    return f"edgectl: part of a rollout of {marks[APPLICATION_TAG]}, removed when it is done"

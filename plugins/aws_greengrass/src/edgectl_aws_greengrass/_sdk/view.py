"""What a target was given of an application: its deployments, newest first, and their executions.

For a thing group these are the group's own revisions and those of its parts (subdeployments);
for a target that names its things, each thing's own. All three of deploy, observe and withdraw
decide from this, so they agree on who was given what.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from edgectl.api import NotFoundError, Record, Target
from edgectl_aws_greengrass._sdk import fleet
from edgectl_aws_greengrass._sdk.account import Account
from edgectl_aws_greengrass.recipe import model_name
from edgectl_aws_greengrass.render import (
    Components,
    named_release,
    part_prefix,
    release_in,
)
from edgectl_aws_greengrass.selector import Selector, read_selector
from edgectl_aws_greengrass.states import CALLED_OFF, WAITING, Execution, current

PAGE = 100
EXECUTIONS_PAGE = 250
LOOK_BACK = 12
"""How many deployments are looked at; a device that took none of these counts as untouched."""


class Deployment(Record, frozen=True, kw_only=True):
    """A deployment that is, or was, on a target.

    Attributes:
        order: When it was made, seconds since 1970 UTC.
        name: ``deploymentName``.
        status: About the job, and never about devices.
        latest: Whether it is the present one of its own target.
        parent: ARN of the group that it is a part of, or "".
    """

    id: str
    target_arn: str
    order: float
    name: str = ""
    status: str = ""
    latest: bool = True
    parent: str = ""

    @property
    def target_name(self) -> str:
        """The name of the group or the thing."""
        return fleet.name_of(self.target_arn)

    @property
    def is_canceled(self) -> bool:
        """Whether it reaches nobody any more."""
        return self.status in {"CANCELED", "INACTIVE"}


class Detail(Record, frozen=True, kw_only=True):
    """What never changes about a deployment."""

    job: str
    components: dict[str, Any]


class View:
    """One look at a target and an application.

    Args:
        account: Whose.
        target: The target.
        application: The application.
    """

    def __init__(self, account: Account, target: Target, application: str) -> None:
        self.account = account
        self.target = target
        self.application = application
        self.selector: Selector = read_selector(target)
        self.component = model_name(account.config.publisher, application)
        self._deployments: list[Deployment] | None = None
        self._members: dict[str, tuple[str, ...]] = {}
        self._executions: dict[str, dict[str, Execution]] = {}

    @property
    def group_arn(self) -> str:
        """The ARN of the target's group."""
        return fleet.group_arn(self.account, self.selector.group)

    def deployments(self) -> list[Deployment]:
        """Return every deployment that reaches devices of the target, newest first."""
        if self._deployments is None:
            found = list(self._of_things() if self.selector.things else self._of_group())
            self._deployments = sorted(found, key=lambda d: (d.order, d.latest), reverse=True)
        return self._deployments

    def base(self, target_arn: str | None = None) -> Deployment | None:
        """Return the present deployment of the group itself, or of a thing."""
        arn = target_arn or self.group_arn
        return next((d for d in self.deployments() if d.target_arn == arn and d.latest), None)

    def parts(self) -> list[Deployment]:
        """Return the deployments to parts of the group that belong to this target, newest first."""
        prefix = part_prefix(self.application, self.target.name)
        return [d for d in self.deployments() if d.parent and d.target_name.startswith(prefix)]

    def carriers(self) -> Iterator[tuple[Deployment, int]]:
        """Yield the deployments with the release of each, newest first; 0 for none of ours."""
        for deployment in self.deployments()[: LOOK_BACK * max(len(self.selector.things), 1)]:
            yield deployment, self.release(deployment)

    def release(self, deployment: Deployment) -> int:
        """Return the release that a deployment carries; 0 for none of the application.

        Ours are named after it; of others' the components are read.
        """
        named = named_release(deployment.name, self.application)
        if named is not None:
            return named
        return release_in(self.components(deployment), self.component)

    def components(self, deployment: Deployment) -> Components:
        """Return a deployment's components."""
        return dict(self.detail(deployment).components)

    def detail(self, deployment: Deployment) -> Detail:
        """Return what never changes about a deployment, read once."""

        def read() -> Detail:
            what = f"read the deployment '{deployment.id}'"
            found = self.account.call(
                "greengrassv2", "GetDeployment", what, deploymentId=deployment.id
            )
            components = dict(found.get("components") or {})
            return Detail(job=str(found.get("iotJobId") or ""), components=components)

        return self.account.remember(f"deployment {deployment.id}", read)

    def members(self, group: str) -> tuple[str, ...]:
        """Return the things of a group; none where there is no such group."""
        if group not in self._members:
            self._members[group] = fleet.members_or_none(self.account, group) or ()
        return self._members[group]

    def executions(self, deployment: Deployment) -> dict[str, Execution]:
        """Return a deployment's execution on each device that it is for."""
        if deployment.id not in self._executions:
            is_thing = ":thing/" in deployment.target_arn
            read = self._on_thing if is_thing else self._on_group
            self._executions[deployment.id] = read(deployment)
        return self._executions[deployment.id]

    def by_device(self, release: int | None) -> dict[str, list[Execution]]:
        """Return what each device was given, as far as it matters.

        Args:
            release: The release in question: it and everything later is read. None: as much as
                it takes to know what each device was given last.
        """
        found: dict[str, list[Execution]] = {}
        for deployment, number in self.carriers():
            if release is not None and number and number < release:
                continue
            if release is None and not self._some_are_open(found):
                break
            if not number and not deployment.latest:
                continue  # nothing of ours, and replaced
            for device, execution in self.executions(deployment).items():
                found.setdefault(device, []).append(execution)
        return found

    def _some_are_open(self, found: dict[str, list[Execution]]) -> bool:
        everybody = self.selector.things or self.members(self.selector.group)
        return any(current(found.get(device, ())) is None for device in everybody)

    def _of_group(self) -> Iterable[Deployment]:
        name = self.selector.group
        what = f"list the deployments of '{name}'"
        seen = set()
        for wanted in ({"targetArn": self.group_arn}, {"parentTargetArn": self.group_arn}):
            for item in self._listed(what, historyFilter="ALL", **wanted):
                if item.id not in seen:
                    seen.add(item.id)
                    yield item

    def _of_things(self) -> Iterable[Deployment]:
        def listed(thing: str) -> list[Deployment]:
            arn = fleet.thing_arn(self.account, thing)
            what = f"list the deployments of '{thing}'"
            return list(self._listed(what, historyFilter="ALL", targetArn=arn))

        for several in self.account.at_once(listed, self.selector.things):
            yield from several

    def _listed(self, what: str, **params: str) -> Iterator[Deployment]:
        pages = self.account.pages(
            "greengrassv2", "ListDeployments", what, "deployments", maxResults=PAGE, **params
        )
        try:
            for item in pages:
                yield Deployment(
                    id=item["deploymentId"],
                    target_arn=item["targetArn"],
                    order=item["creationTimestamp"].timestamp(),
                    name=str(item.get("deploymentName") or ""),
                    status=str(item.get("deploymentStatus") or ""),
                    latest=bool(item.get("isLatestForTarget")),
                    parent=str(item.get("parentTargetArn") or ""),
                )
        except NotFoundError:
            return

    def _on_group(self, deployment: Deployment) -> dict[str, Execution]:
        job = self.detail(deployment).job
        release = self.release(deployment)
        what = f"list how the deployment '{deployment.id}' went"
        listed = self.account.pages(
            "iot",
            "ListJobExecutionsForJob",
            what,
            "executionSummaries",
            jobId=job,
            maxResults=EXECUTIONS_PAGE,
        )
        found = {}
        for item in listed:
            summary = item.get("jobExecutionSummary") or {}
            device = fleet.name_of(item["thingArn"])
            found[device] = Execution(
                order=deployment.order,
                release=release,
                deployment=deployment.id,
                job=job,
                status=str(summary.get("status", "")),
                queued_at=_seconds(summary.get("queuedAt")),
                updated_at=_seconds(summary.get("lastUpdatedAt")),
            )
        if deployment.latest and not deployment.is_canceled:
            for device in self.members(deployment.target_name):
                found.setdefault(device, self._waiting(deployment, release, job))
        return found

    def _waiting(self, deployment: Deployment, release: int, job: str) -> Execution:
        return Execution(
            order=deployment.order,
            release=release,
            deployment=deployment.id,
            job=job,
            status=WAITING,
            queued_at=deployment.order,
        )

    def _on_thing(self, deployment: Deployment) -> dict[str, Execution]:
        thing, release = deployment.target_name, self.release(deployment)
        if not deployment.latest:
            # Greengrass tells of a thing's present deployment only; the others were replaced.
            replaced = self._waiting(deployment, release, "")
            return {thing: replaced} if deployment.status == "COMPLETED" else {}
        effective = self._effective(thing).get(deployment.id)
        if effective is None:
            gone = deployment.is_canceled
            return {} if gone else {thing: self._waiting(deployment, release, "")}
        return {
            thing: Execution(
                order=deployment.order,
                release=release,
                deployment=deployment.id,
                status=str(effective.get("coreDeviceExecutionStatus", "")),
                queued_at=_seconds(effective.get("creationTimestamp")),
                updated_at=_seconds(effective.get("modifiedTimestamp")),
            )
        }

    def _effective(self, thing: str) -> dict[str, dict[str, Any]]:
        try:
            listed = self.account.pages(
                "greengrassv2",
                "ListEffectiveDeployments",
                f"list what runs on '{thing}'",
                "effectiveDeployments",
                coreDeviceThingName=thing,
            )
            return {item["deploymentId"]: item for item in listed}
        except NotFoundError:
            return {}


def given(view: View, release: int) -> dict[str, list[Execution]]:
    """Return the devices that were given a release and have no other one since."""
    found = {}
    for device, executions in view.by_device(release).items():
        last = current(executions)
        if last is not None and last.release == release:
            found[device] = [e for e in executions if e.status not in CALLED_OFF]
    return found


def _seconds(value: Any) -> float | None:
    return value.timestamp() if value is not None else None

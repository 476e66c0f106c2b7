"""Deployments: one component set a target, replaced as a whole by each new revision.

A thing group's deployment travels by a continuous IoT job, a thing's by the named shadow
``AWSManagedGreengrassV2Deployment`` (developer guide, create-deployments). A subdeployment is the
deployment of a group that names another group as its parent; such a group belongs to that parent
for good (create-subdeployments). ``deploymentStatus`` is about the job, not about devices: that of
a group stays ACTIVE whatever fails.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from edgectl_aws_greengrass.emulator.greengrass.components import Components, missing
from edgectl_aws_greengrass.emulator.greengrass.documents import (
    Deployment,
    check_job_configuration,
    configuration_arn,
    document,
    invalid,
)
from edgectl_aws_greengrass.emulator.greengrass.tokens import Tokens
from edgectl_aws_greengrass.emulator.greengrass.versions import parse
from edgectl_aws_greengrass.emulator.ports import DEPLOYMENT_SHADOW, GREENGRASS_NAMESPACE, Shadows
from edgectl_aws_greengrass.emulator.wire import Params, ServiceError

LARGE_BYTES = {"thing": 7 * 1024, "thinggroup": 31 * 1024}
"""A larger document does not travel whole: devices ask for it (GetDeploymentConfiguration)."""

MAX_DOCUMENT_BYTES = 10 * 1024 * 1024


class JobStore(Protocol):
    """What deployments need of IoT jobs."""

    def create(
        self,
        job_id: str,
        *,
        targets: list[str],
        document: str,
        namespace: str,
        configuration: Params,
    ) -> str:
        """Make a continuous job; return its ARN."""

    def cancel(self, job_id: str, comment: str) -> None:
        """Cancel a job: executions that no device has begun are CANCELED."""

    def status(self, job_id: str) -> str:
        """Return IN_PROGRESS, CANCELED or COMPLETED."""

    def delete(self, job_id: str) -> None:
        """Delete a job and its executions."""


class Registry(Protocol):
    """What deployments need of the registry."""

    def exists(self, thing: str) -> bool:
        """Say whether there is a thing."""

    def group_exists(self, arn: str) -> bool:
        """Say whether there is a thing group."""


class Deployments:
    """The deployments of an account.

    Args:
        arn: Makes ARNs: (service, resource) → ARN.
        components: What can be deployed.
        jobs: How groups get it.
        shadows: How things get it.
        registry: Which targets there are.
    """

    def __init__(
        self,
        arn: Callable[[str, str], str],
        *,
        components: Components,
        jobs: JobStore,
        shadows: Shadows,
        registry: Registry,
    ) -> None:
        self._arn = arn
        self._components = components
        self._jobs = jobs
        self._shadows = shadows
        self._registry = registry
        self._lock = threading.RLock()
        self._known: dict[str, Deployment] = {}
        self._revisions: dict[str, int] = {}
        self._tokens = Tokens()

    def create(self, params: Params) -> Params:
        """Answer CreateDeployment."""
        with self._lock:
            earlier = self._tokens.answer(params)
            if earlier is not None:
                return earlier
            self._check(params)
            made = self._make(params)
            before = self.latest(made.target)
            if before is not None:
                self._supersede(before)
            self._known[made.id] = made
            self._revisions[made.target] = made.revision
            self._send(made)
            answer: Params = {"deploymentId": made.id}
            if made.job_id:
                answer |= {"iotJobId": made.job_id, "iotJobArn": made.job_arn}
            self._tokens.keep(params, answer)
            return answer

    def get(self, deployment_id: str) -> Deployment:
        """Return a deployment.

        Raises:
            ServiceError: ``ResourceNotFoundException``.
        """
        with self._lock:
            found = self._known.get(deployment_id)
        if found is None:
            raise missing("deployment", deployment_id)
        return found

    def latest(self, target: str) -> Deployment | None:
        """Return the latest revision of a target."""
        with self._lock:
            found = [d for d in self._known.values() if d.target == target and d.latest]
        return found[0] if found else None

    def all(self) -> list[Deployment]:
        """Return every deployment, newest first."""
        with self._lock:
            return sorted(self._known.values(), key=lambda d: d.created, reverse=True)

    def of_configuration(self, arn: str) -> Deployment:
        """Return the deployment of a ``configurationArn``, or of an id, by which devices ask.

        Raises:
            ServiceError: ``ResourceNotFoundException``.
        """
        with self._lock:
            found = [
                d for d in self._known.values() if arn in {d.id, configuration_arn(self._arn, d)}
            ]
        if not found:
            raise missing("deployment", arn)
        return found[0]

    def of_job(self, job_id: str) -> Deployment | None:
        """Return the deployment that a job carries."""
        with self._lock:
            return next((d for d in self._known.values() if d.job_id == job_id), None)

    def status(self, deployment: Deployment) -> str:
        """Return ``deploymentStatus``: the state of the job, or of a thing's shadow."""
        if deployment.canceled:
            return "INACTIVE" if deployment.is_thing and not deployment.latest else "CANCELED"
        if deployment.job_id:
            job = self._jobs.status(deployment.job_id)
            return {"IN_PROGRESS": "ACTIVE"}.get(job, job)
        return {"SUCCEEDED": "COMPLETED", "FAILED": "FAILED"}.get(
            self.thing_report(deployment).get("status", ""), "ACTIVE"
        )

    def thing_report(self, deployment: Deployment) -> dict[str, Any]:
        """Return what a thing reported of a deployment in its shadow; empty when nothing."""
        thing = deployment.target.partition(":thing/")[2]
        try:
            document = json.loads(self._shadows.get(thing, DEPLOYMENT_SHADOW))
        except Exception:  # noqa: BLE001 - no shadow, no report
            return {}
        reported: dict[str, Any] = document.get("state", {}).get("reported", {})
        mine = reported.get("fleetConfigurationArnForStatus") == configuration_arn(
            self._arn, deployment
        )
        return reported if mine else {}

    def cancel(self, deployment_id: str) -> Params:
        """Answer CancelDeployment: devices that have begun go on."""
        deployment = self.get(deployment_id)
        with self._lock:
            if deployment.canceled or self.status(deployment) not in {"ACTIVE", "COMPLETED"}:
                raise ServiceError(
                    "ConflictException",
                    f"the deployment '{deployment_id}' is not active",
                    resourceId=deployment_id,
                    resourceType="deployment",
                )
            self._end(deployment, "canceled by a user")
        return {"message": f"Deployment {deployment_id} is being canceled"}

    def delete(self, deployment_id: str) -> None:
        """Answer DeleteDeployment: only one that is canceled, superseded or over."""
        deployment = self.get(deployment_id)
        with self._lock:
            if self.status(deployment) == "ACTIVE":
                raise ServiceError(
                    "ConflictException",
                    f"the deployment '{deployment_id}' is active; cancel it first",
                    resourceId=deployment_id,
                    resourceType="deployment",
                )
            del self._known[deployment_id]
            if deployment.job_id:
                self._jobs.delete(deployment.job_id)

    def _check(self, params: Params) -> None:
        target = params["targetArn"]
        parent = params.get("parentTargetArn")
        self._check_exists(target)
        if parent:
            self._check_parent(target, parent)
        if ":thing/" in target and params.get("iotJobConfiguration"):
            raise invalid("iotJobConfiguration is for thing groups only")
        for name, wanted in (params.get("components") or {}).items():
            self._check_component(name, wanted)
        check_job_configuration(params.get("iotJobConfiguration") or {})

    def _check_exists(self, target: str) -> None:
        if target != self._arn("iot", target.split(":", 5)[5]):
            raise invalid(f"'{target}' is not of this account and Region")
        thing = target.partition(":thing/")[2]
        if thing and not self._registry.exists(thing):
            raise missing("thing", thing)
        if not thing and not self._registry.group_exists(target):
            raise missing("thinggroup", target.rpartition("/")[2])

    def _check_parent(self, target: str, parent: str) -> None:
        if ":thing/" in target:
            raise invalid("the target of a subdeployment has to be a thing group")
        if parent == target:
            raise invalid("a thing group cannot be its own parent")
        self._check_exists(parent)
        others = [d.parent for d in self.all() if d.target == target and d.parent != parent]
        if others:
            raise invalid(f"'{target}' has deployments with another parent already")

    def _check_component(self, name: str, wanted: Params) -> None:
        version = wanted["componentVersion"]
        try:
            parse(version)
        except ValueError as error:
            raise invalid(f"component '{name}': {error}") from error
        known = [c for c in self._components.versions(name) if c.version == version]
        if not known:
            raise missing("component", f"{name}:{version}")
        if known[0].state != "DEPLOYABLE":
            raise invalid(f"component '{name}' version '{version}' is {known[0].state}")
        merge = (wanted.get("configurationUpdate") or {}).get("merge")
        if merge is not None:
            try:
                merged = json.loads(merge)
            except json.JSONDecodeError as error:
                raise invalid(f"component '{name}': merge is not JSON: {error}") from error
            if not isinstance(merged, dict):
                raise invalid(f"component '{name}': merge is not an object")

    def _make(self, params: Params) -> Deployment:
        target = params["targetArn"]
        made = Deployment(
            id=str(uuid.uuid4()),
            target=target,
            revision=self._revisions.get(target, 0) + 1,
            given=params,
            created=datetime.now(UTC),
            document="",
            tags=dict(params.get("tags") or {}),
        )
        made.document = json.dumps(document(self._arn, made), separators=(",", ":"))
        if len(made.document) > MAX_DOCUMENT_BYTES:
            raise invalid("the deployment document is larger than 10 MB")
        return made

    def _supersede(self, before: Deployment) -> None:
        before.latest = False
        # A job that its abort criteria, or somebody, ended is over already.
        if not before.canceled and (before.is_thing or self.status(before) == "ACTIVE"):
            self._end(before, "a newer revision of the deployment was created")

    def _end(self, deployment: Deployment, why: str) -> None:
        deployment.canceled = True
        if deployment.job_id:
            self._jobs.cancel(deployment.job_id, why)
        elif deployment.latest:
            self._desire(deployment, "CANCELED")

    def _send(self, made: Deployment) -> None:
        if made.is_thing:
            self._desire(made, "SUCCEEDED")
            return
        made.job_id = str(uuid.uuid4())
        made.job_arn = self._jobs.create(
            made.job_id,
            targets=[made.target],
            document=self._travelling(made),
            namespace=GREENGRASS_NAMESPACE,
            configuration=made.given.get("iotJobConfiguration") or {},
        )

    def _desire(self, made: Deployment, status: str) -> None:
        thing = made.target.partition(":thing/")[2]
        desired = {"desiredStatus": status, "fleetConfig": self._travelling(made)}
        payload = json.dumps({"state": {"desired": desired}}).encode()
        self._shadows.update(thing, DEPLOYMENT_SHADOW, payload)

    def _travelling(self, made: Deployment) -> str:
        """Leave the components out of a document that is too large for its way."""
        limit = LARGE_BYTES["thing" if made.is_thing else "thinggroup"]
        if len(made.document) <= limit:
            return made.document
        short = json.loads(made.document)
        short["components"] = {}
        short["requiredCapabilities"] = ["LARGE_CONFIGURATION"]
        return json.dumps(short, separators=(",", ":"))

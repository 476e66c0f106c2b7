"""One device of a crowd: takes jobs as the nucleus does, and pretends that components come up.

All its methods but ``work`` run on the crowd's one loop.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from edgectl_aws_greengrass.emulator.nucleus import failures, resolution
from edgectl_aws_greengrass.emulator.nucleus.cloud import CloudApi
from edgectl_aws_greengrass.emulator.nucleus.document import Deployment, parse_document
from edgectl_aws_greengrass.emulator.nucleus.failures import DeploymentError
from edgectl_aws_greengrass.emulator.nucleus.orders import NAMESPACE
from edgectl_aws_greengrass.emulator.nucleus.recipe import parse_recipe
from edgectl_aws_greengrass.emulator.nucleus.settings import NucleusSettings
from edgectl_aws_greengrass.emulator.nucleus.state import Installed, RootComponent
from edgectl_aws_greengrass.emulator.nucleus.status import Condition, fleet_status, information

log = logging.getLogger(__name__)

KEEP_ALIVE_S = 300

Components = dict[str, Installed]


class Member:
    """A device.

    Args:
        settings: Who it is and where the cloud is.
        api: Its HTTPS calls.
        has_room: Whether its disk takes anything.
        fetched: Digests of artifacts that a member has fetched and that nobody fetches again,
            shared by all; None has each member fetch everything.
        submit: Has a job's document worked on, elsewhere.
    """

    def __init__(
        self,
        settings: NucleusSettings,
        api: CloudApi,
        *,
        has_room: bool,
        fetched: set[str] | None,
        submit: Callable[[Member, str, str], None],
    ) -> None:
        self.settings = settings
        self.components: Components = {}
        self.groups: dict[str, dict[str, RootComponent]] = {}
        self._api = api
        self._has_room = has_room
        self._fetched = fetched
        self._submit = submit
        self._jobs = f"$aws/things/{settings.thing}/jobs"
        self._sequence = 0
        self._taken: set[str] = set()
        self.client = client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            settings.thing,
            protocol=mqtt.MQTTv5,
            reconnect_on_failure=False,
        )
        client.on_connect = self._on_connect
        client.on_message = self._on_message

    def connect(self, tls: Any) -> None:
        """Connect and shake hands; the answer comes to the loop.

        Raises:
            OSError: There is nobody.
        """
        if self.client._ssl_context is None:  # noqa: SLF001  # paho refuses to be told twice
            self.client.tls_set_context(tls)
        self.client.connect(self.settings.data_host, self.settings.mqtt_port, KEEP_ALIVE_S)

    def work(self, document: str) -> tuple[Deployment | None, Components, DeploymentError | None]:
        """Ask the cloud all that a deployment needs; runs in a worker thread.

        Raises:
            UnavailableError: The cloud cannot be asked now.
        """
        deployment: Deployment | None = None
        try:
            deployment = parse_document(self._whole(document))
            others = resolution.other_groups(self.groups, deployment, self._api.groups())
            chosen = resolution.resolve(
                deployment,
                others,
                self._api.resolve,
                lambda raw: parse_recipe(raw, self.settings.platform),
            )
            for choice in chosen.values():
                old = self.components.get(choice.recipe.name)
                if old is None or old.version != choice.recipe.version:
                    self._download(choice)
            new = resolution.installed(deployment, others, chosen, self.components)
        except DeploymentError as exc:
            return deployment, self.components, exc
        return deployment, new, None

    def conclude(
        self,
        job_id: str,
        deployment: Deployment | None,
        components: Components,
        failure: DeploymentError | None,
    ) -> None:
        """Tell a job's result."""
        removed = set(self.components)
        self.components = components
        told = {"fleetConfigurationArnForStatus": job_id}
        if deployment is not None:
            arn = deployment.configuration_arn
            told = {
                "deploymentId": deployment.deployment_id,
                "fleetConfigurationArnForStatus": arn,
            }
            if failure is None:
                self.groups[deployment.group] = {
                    name: RootComponent(version=change.version, arn=arn)
                    for name, change in deployment.components.items()
                }
        status = "FAILED" if failure else "SUCCEEDED"
        self._update(job_id, status, failures.job_details(failure))
        result = {**information(failure), **told}
        self._tell_health("THING_GROUP_DEPLOYMENT", removed=removed, deployment=result)

    def _whole(self, document: str) -> str:
        found = json.loads(document)
        if "LARGE_CONFIGURATION" in (found.get("requiredCapabilities") or ()):
            return self._api.configuration(str(found["deploymentId"])).decode()
        return document

    def _download(self, choice: resolution.Chosen) -> None:
        for artifact in choice.recipe.artifacts:
            if self._has_room and self._fetched is not None and artifact.digest in self._fetched:
                continue
            parts = urlsplit(artifact.uri)
            bucket, key = parts.netloc, parts.path.lstrip("/")
            size = self._api.object_size(bucket, key)
            if not self._has_room:
                raise DeploymentError(
                    f"Disk space critical: 0 bytes usable, {size} bytes needed",
                    "ARTIFACT_DOWNLOAD_ERROR",
                    "DISK_SPACE_CRITICAL",
                )
            seen = hashlib.sha256()
            for chunk in self._api.object_chunks(bucket, key):
                seen.update(chunk)
            if base64.b64encode(seen.digest()).decode() != artifact.digest:
                raise DeploymentError(
                    f"Integrity check for downloaded artifact failed: {artifact.uri}",
                    "ARTIFACT_DOWNLOAD_ERROR",
                    "ARTIFACT_CHECKSUM_MISMATCH",
                )
            if self._fetched is not None:
                self._fetched.add(artifact.digest)

    def _on_connect(self, _c: Any, _u: Any, _f: Any, code: Any, _p: Any) -> None:
        if code.is_failure:
            log.warning("%s is refused: %s", self.settings.thing, code)
            return
        names = (
            f"{self._jobs}/notify-next-{NAMESPACE}",
            f"{self._jobs}/$next/{NAMESPACE}/get/accepted",
            f"{self._jobs}/+/{NAMESPACE}/update/accepted",
        )
        self.client.subscribe([(name, 1) for name in names])
        self._tell_health("RECONNECT" if self._sequence else "NUCLEUS_LAUNCH")
        self._ask()

    def _on_message(self, _c: Any, _u: Any, message: mqtt.MQTTMessage) -> None:
        body = json.loads(message.payload)
        if message.topic.endswith("/update/accepted"):
            if body.get("executionState", {}).get("status") != "IN_PROGRESS":
                self._ask()
            return
        execution = body.get("execution")
        if not execution or execution["jobId"] in self._taken:
            return
        self._taken.add(execution["jobId"])
        self._update(execution["jobId"], "IN_PROGRESS", {})
        self._submit(self, execution["jobId"], json.dumps(execution["jobDocument"]))

    def _ask(self) -> None:
        request = {"includeJobDocument": True, "jobId": "$next"}
        self.client.publish(f"{self._jobs}/$next/{NAMESPACE}/get", json.dumps(request), qos=1)

    def _update(self, job_id: str, status: str, details: dict[str, str]) -> None:
        request = {"status": status, "statusDetails": details, "includeJobExecutionState": True}
        topic = f"{self._jobs}/{job_id}/{NAMESPACE}/update"
        self.client.publish(topic, json.dumps(request), qos=1)

    def _tell_health(self, trigger: str, **more: Any) -> None:
        self._sequence += 1
        message = fleet_status(
            self.settings,
            trigger=trigger,
            sequence=self._sequence,
            components=self.components,
            conditions=dict.fromkeys(self.components, Condition(state="RUNNING")),
            **more,
        )
        topic = f"$aws/things/{self.settings.thing}/greengrassv2/health/json"
        self.client.publish(topic, json.dumps(message), qos=1)

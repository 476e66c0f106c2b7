"""The emulated account: its parts put together, and what its devices may ask of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import msgspec
from moto.core.config import default_user_config
from moto.s3.models import s3_backends

from edgectl.emulation import Authority, Calls, Fault, Faults
from edgectl_aws_greengrass.emulator.callers import PARTITION, Caller, Callers
from edgectl_aws_greengrass.emulator.control import Clock, Control, NewThings, Stale
from edgectl_aws_greengrass.emulator.dataport import GreengrassDevicePort
from edgectl_aws_greengrass.emulator.front import After, Front, Handler, Services
from edgectl_aws_greengrass.emulator.greengrass.components import Components
from edgectl_aws_greengrass.emulator.greengrass.deployments import Deployments
from edgectl_aws_greengrass.emulator.greengrass.devices import CoreDevices
from edgectl_aws_greengrass.emulator.greengrass.effective import Effective
from edgectl_aws_greengrass.emulator.greengrass.objects import Objects
from edgectl_aws_greengrass.emulator.greengrass.service import GreengrassService
from edgectl_aws_greengrass.emulator.iot import dataapi
from edgectl_aws_greengrass.emulator.iot.jobs import JobStore
from edgectl_aws_greengrass.emulator.iot.jobsapi import JobsApi
from edgectl_aws_greengrass.emulator.iot.registry import Registry
from edgectl_aws_greengrass.emulator.iot.registryapi import RegistryApi
from edgectl_aws_greengrass.emulator.iot.rules import Rules
from edgectl_aws_greengrass.emulator.iot.shadows import ShadowStore
from edgectl_aws_greengrass.emulator.ports import (
    CloudError,
    JobExecution,
    Principal,
    RoleCredentials,
)
from edgectl_aws_greengrass.emulator.sagemaker.packages import ModelRegistry
from edgectl_aws_greengrass.emulator.sagemaker.service import TrainingApi
from edgectl_aws_greengrass.emulator.sagemaker.training import Trainer
from edgectl_aws_greengrass.emulator.throttle import Throttle
from edgectl_aws_greengrass.emulator.wire import Params, ServiceError

ACCOUNT = "123456789012"
"""The account of the first instance in a process; a further one gets another, since moto's state
belongs to the process."""

CREDENTIALS_SERVICE = "credentials.iot.amazonaws.com"

ADMINISTRATOR = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
}

_MEMBERSHIP = (
    "AddThingToThingGroup",
    "CreateThing",
    "DeleteThing",
    "DeleteThingGroup",
    "RemoveThingFromThingGroup",
    "UpdateThing",
    "UpdateThingGroupsForThing",
)
"""Operations of moto's after which a group may have other members."""


_accounts = itertools.count()


def _new_account() -> str:
    number = next(_accounts)
    return ACCOUNT if number == 0 else f"{210_987_654_321 + number}"


def _fault_error(fault: Fault) -> ServiceError:
    return ServiceError(fault.code, fault.message, fault.status)


class EmulatedCloud:
    """One account in one Region; implements ``ports.Cloud``.

    Args:
        folder: Takes keys, certificates and what training jobs leave.
        region: The Region.
        throttle: Request rates; None takes the documented ones.
        minute_s: How long a minute of job rollouts is.

    Attributes:
        endpoints: What DescribeEndpoint answers, by type; whoever starts the listeners fills it.
        url: Where training containers find the API; the same.
    """

    def __init__(
        self,
        folder: Path,
        *,
        region: str = "us-east-1",
        throttle: Throttle | None = None,
        minute_s: float = 60.0,
    ) -> None:
        default_user_config["iot"] = {"use_valid_cert": True}
        self.folder = folder
        self.region = region
        self.account = _new_account()
        self.endpoints: dict[str, str] = {}
        self.callers = Callers(self.account)
        self.authority = Authority(folder / "certificates", "AWS IoT Certificate")
        self.objects = Objects(self.account)
        self.things = Registry(self.account, region)
        self.jobs = JobStore(self.arn, self.things.things_of, minute_s=minute_s)
        self.shadows = ShadowStore(self.things.exists)
        self._publishers: list[Callable[[str, bytes], None]] = []
        self.rules = Rules(self.things, self.callers, self.objects, self._send)
        self.components = Components(self.arn, self.objects)
        self.core_devices = CoreDevices(self.things.exists)
        self.deployments = Deployments(
            self.arn,
            components=self.components,
            jobs=self.jobs,
            shadows=self.shadows,
            registry=self.things,
        )
        self.greengrass = GreengrassDevicePort(self.components, self.deployments, self.core_devices)
        self.url = ""
        self._tags: dict[str, dict[str, str]] = {}
        self.trainer = Trainer(
            folder / "training",
            account=self.account,
            region=region,
            objects=self.objects,
            callers=self.callers,
            settings=self._container_settings,
        )
        self.calls = Calls()
        self.faults = Faults(_fault_error)
        self.throttle = throttle or Throttle()
        self.control = self._control()
        self.administrator = self.callers.new_user("administrator", ADMINISTRATOR)
        self.front = self._front()
        self.jobs.start()

    def _control(self) -> Control:
        made = Control(
            callers=self.callers, calls=self.calls, faults=self.faults, throttle=self.throttle
        )
        made.more["GET", "rules"] = lambda _: self.rules.failures
        made.more["POST", "stale"] = self._make_stale
        made.more["PUT", "clock"] = self._set_clock
        made.more["POST", "things"] = self._add_things
        return made

    def stop(self) -> None:
        """End what runs by itself."""
        self.trainer.close()
        s3_backends[self.account][PARTITION].reset()  # bucket names are the whole process's
        self.jobs.stop()

    def arn(self, service: str, resource: str) -> str:
        """Return ``arn:aws:SERVICE:REGION:ACCOUNT:RESOURCE``."""
        return f"arn:aws:{service}:{self.region}:{self.account}:{resource}"

    def settings(self, url: str) -> dict[str, str]:
        """Return the variables that point boto3 here."""
        key, secret = self.administrator
        return {
            **self._place(url),
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
        }

    def _place(self, url: str) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": url,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def _container_settings(self) -> dict[str, str]:
        return self._place(self.url) if self.url else {}

    def credentials(self, role_alias: str, principal: Principal, thing: str) -> RoleCredentials:
        """Assume a role alias's role for a device."""
        alias = self.things.backend.role_aliases.get(role_alias)
        if alias is None:
            raise CloudError("ResourceNotFoundException", f"no role alias '{role_alias}'", 404)
        if not self.things.allows(principal, "iot:AssumeRoleWithCertificate", alias.arn, thing):
            raise CloudError("AccessDeniedException", "Access Denied", 403)
        if not self.callers.role_trusts(alias.role_arn, CREDENTIALS_SERVICE):
            raise CloudError("AccessDeniedException", "Access Denied", 403)
        made = self.callers.new_session(
            alias.role_arn, principal.certificate_id[:32], alias.credential_duration_seconds
        )
        return RoleCredentials(
            access_key_id=made.access_key_id,
            secret_access_key=made.secret,
            session_token=made.token,
            expiration=f"{made.expires:%Y-%m-%dT%H:%M:%SZ}",
        )

    def publish(self, topic: str, payload: bytes, client_id: str) -> None:
        """Give a device's message to the topic rules."""
        self.rules.take(topic, payload, client_id)

    def on_publish(self, callback: Callable[[str, bytes], None]) -> None:
        """Be given (topic, payload) of messages that the cloud publishes."""
        self._publishers.append(callback)

    def _send(self, topic: str, payload: bytes) -> None:
        for callback in tuple(self._publishers):
            callback(topic, payload)

    def _publish(self, topic: str, payload: bytes) -> None:
        self._send(topic, payload)
        self.rules.take(topic, payload, "")

    def _identity(self, params: Params, caller: Caller) -> Params:
        del params
        return {"UserId": caller.access_key_id, "Account": self.account, "Arn": caller.arn}

    def _set_clock(self, body: bytes) -> None:
        self.front.ahead_s = msgspec.json.decode(body, type=Clock).ahead_s

    def _add_things(self, body: bytes) -> None:
        wanted = msgspec.json.decode(body, type=NewThings)
        self.things.add(wanted.names, wanted.group, wanted.certificate, wanted.attributes)
        self.jobs.members_changed()

    def _make_stale(self, body: bytes) -> None:
        wanted = msgspec.json.decode(body, type=Stale)
        at = self.core_devices.get(wanted.thing).updated - timedelta(seconds=wanted.seconds)
        self.core_devices.age(wanted.thing, at)

    def _executions(self, thing: str) -> list[JobExecution]:
        return [e.shown("") for e in self.jobs.of_thing(thing)]

    def _front(self) -> Front:
        registry = RegistryApi(
            self.things, self.authority, self.endpoints, self.jobs.members_changed
        )
        after: dict[tuple[str, str], After] = {
            ("iot", name): lambda _: self.jobs.members_changed() for name in _MEMBERSHIP
        }
        before: dict[tuple[str, str], Handler] = {
            **registry.checks(),
            ("iot", "CreateTopicRule"): self.rules.check,
            ("iot", "ReplaceTopicRule"): self.rules.check,
        }
        handlers = {**self._handlers(), **registry.handlers()}
        return Front(
            region=self.region,
            account=self.account,
            callers=self.callers,
            services=Services(handlers=handlers, before=before, after=after),
            calls=self.calls,
            faults=self.faults,
            throttle=self.throttle,
            control=self.control,
        )

    def _handlers(self) -> dict[tuple[str, str], Handler]:
        """Return what is ours of the services, but for the registry of things."""
        greengrass = GreengrassService(
            components=self.components,
            deployments=self.deployments,
            devices=self.core_devices,
            effective=Effective(self.arn, self.deployments, self._executions),
            things_of=self.things.things_of,
        )
        training = TrainingApi(
            self.arn,
            trainer=self.trainer,
            callers=self.callers,
            objects=self.objects,
            tags=self._tags,
        )
        return {
            **greengrass.handlers(),
            **JobsApi(self.jobs, self.things, self.objects).handlers(),
            **dataapi.handlers(self.shadows, self._publish),
            **ModelRegistry(self.arn, self.objects, self._tags).handlers(),
            **training.handlers(),
            ("sts", "GetCallerIdentity"): self._identity,
        }

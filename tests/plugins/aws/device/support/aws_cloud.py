"""An account in memory, as the device side asks it: keeps state, patches nothing."""

from __future__ import annotations

import fnmatch
import json
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from edgectl_aws_greengrass.emulator.greengrass import versions
from edgectl_aws_greengrass.emulator.ports import (
    Candidate,
    CloudError,
    JobExecution,
    Platform,
    Principal,
    Resolved,
    RoleCredentials,
)

REGION, ACCOUNT = "eu-west-1", "123456789012"
_ENDED = {"SUCCEEDED", "FAILED", "REJECTED", "TIMED_OUT", "REMOVED", "CANCELED"}


@dataclass
class FakeThings:
    """Certificates by their DER, things, groups, and what the policy denies."""

    principals: dict[bytes, Principal] = field(default_factory=dict)
    memberships: dict[str, list[str]] = field(default_factory=dict)
    denied: list[tuple[str, str]] = field(default_factory=list)
    online: dict[str, bool] = field(default_factory=dict)

    def add(self, cert_pem: bytes, thing: str, *, active: bool = True) -> None:
        der = ssl.PEM_cert_to_DER_cert(cert_pem.decode())
        self.principals[der] = Principal(
            certificate_id=f"cert-{thing}", arn=f"arn:cert:{thing}", active=active, things=(thing,)
        )
        self.memberships.setdefault(thing, [])

    def authenticate(self, cert_pem: bytes) -> Principal | None:
        return self.principals.get(ssl.PEM_cert_to_DER_cert(cert_pem.decode()))

    def exists(self, thing: str) -> bool:
        return thing in self.memberships

    def groups(self, thing: str) -> tuple[tuple[str, str], ...]:
        prefix = f"arn:aws:iot:{REGION}:{ACCOUNT}:thinggroup/"
        return tuple((name, prefix + name) for name in sorted(self.memberships.get(thing, [])))

    def allows(self, principal: Principal, action: str, resource: str, client_id: str) -> bool:
        del client_id
        tail = resource.split(":", 5)[5]
        return not any(
            action == denied and fnmatch.fnmatchcase(tail, pattern)
            for denied, pattern in self.denied
        )

    def connected(self, thing: str, *, connected: bool) -> None:
        self.online[thing] = connected


class FakeJobs:
    """Executions by thing, in the order they were queued."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.executions: dict[str, list[JobExecution]] = {}
        self.history: list[JobExecution] = []
        self._listeners: list[Callable[[str], None]] = []

    def add(self, thing: str, job_id: str, document: dict[str, Any]) -> None:
        now = int(time.time())
        with self.lock:
            self.executions.setdefault(thing, []).append(
                JobExecution(
                    job_id=job_id,
                    thing=thing,
                    status="QUEUED",
                    document=json.dumps(document),
                    number=1,
                    version=1,
                    queued_at=now,
                    updated_at=now,
                )
            )
        self._tell(thing)

    def cancel(self, thing: str, job_id: str) -> None:
        with self.lock:
            self._replace(self.get(thing, job_id), "CANCELED", None)
        self._tell(thing)

    def next(self, thing: str, namespace: str | None) -> JobExecution | None:
        running, queued = self.pending(thing, namespace)
        return (*running, *queued, None)[0]

    def start_next(
        self, thing: str, namespace: str | None, details: dict[str, str]
    ) -> JobExecution | None:
        found = self.next(thing, namespace)
        return self.update(thing, found.job_id, "IN_PROGRESS", details) if found else None

    def pending(
        self, thing: str, namespace: str | None
    ) -> tuple[tuple[JobExecution, ...], tuple[JobExecution, ...]]:
        del namespace
        with self.lock:
            known = self.executions.get(thing, [])
            return (
                tuple(job for job in known if job.status == "IN_PROGRESS"),
                tuple(job for job in known if job.status == "QUEUED"),
            )

    def get(self, thing: str, job_id: str) -> JobExecution:
        with self.lock:
            for job in self.executions.get(thing, []):
                if job.job_id == job_id:
                    return job
        raise CloudError("ResourceNotFound", f"no execution of '{job_id}'", 404)

    def update(
        self,
        thing: str,
        job_id: str,
        status: str,
        details: dict[str, str] | None,
        expected_version: int | None = None,
    ) -> JobExecution:
        with self.lock:
            job = self.get(thing, job_id)
            if job.status in _ENDED:
                raise CloudError("InvalidStateTransition", f"it is {job.status}", 409)
            if expected_version is not None and expected_version != job.version:
                raise CloudError("VersionMismatch", f"it is at {job.version}", 409)
            found = self._replace(job, status, details)
        self._tell(thing)
        return found

    def listen(self, callback: Callable[[str], None]) -> None:
        self._listeners.append(callback)

    def _replace(
        self, job: JobExecution, status: str, details: dict[str, str] | None
    ) -> JobExecution:
        found = msgspec.structs.replace(
            job,
            status=status,
            version=job.version + 1,
            details=job.details if details is None else details,
            started_at=job.started_at or int(time.time()),
        )
        known = self.executions[job.thing]
        known[known.index(job)] = found
        self.history.append(found)
        return found

    def _tell(self, thing: str) -> None:
        for callback in self._listeners:
            callback(thing)


class FakeShadows:
    """Documents by thing and name, merged one level deep, which is what the nucleus needs."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.documents: dict[tuple[str, str | None], dict[str, Any]] = {}
        self._listeners: list[Callable[[str, bytes], None]] = []

    def get(self, thing: str, name: str | None) -> bytes:
        with self.lock:
            if (thing, name) not in self.documents:
                raise CloudError("ResourceNotFoundException", "No shadow exists", 404)
            return json.dumps(self.documents[thing, name]).encode()

    def update(self, thing: str, name: str | None, payload: bytes) -> bytes:
        request = json.loads(payload)
        with self.lock:
            known = self.documents.get((thing, name), {"state": {}, "version": 0})
            if "version" in request and request["version"] != known["version"]:
                raise CloudError("VersionConflict", "Version conflict", 409)
            state = {
                side: {**known["state"].get(side, {}), **request["state"].get(side, {})}
                for side in ("desired", "reported")
                if side in known["state"] or side in request["state"]
            }
            found = {"state": state, "version": known["version"] + 1, "timestamp": 1}
            self.documents[thing, name] = found
            accepted = {**request, "version": found["version"], "timestamp": 1}
        base = f"$aws/things/{thing}/shadow/" + (f"name/{name}/" if name else "")
        raw = json.dumps(accepted).encode()
        for callback in self._listeners:
            callback(f"{base}update/accepted", raw)
        return raw

    def delete(self, thing: str, name: str | None) -> bytes:
        with self.lock:
            found = self.documents.pop((thing, name), None)
        if found is None:
            raise CloudError("ResourceNotFoundException", "No shadow exists", 404)
        return json.dumps({"version": found["version"], "timestamp": 1}).encode()

    def listen(self, callback: Callable[[str, bytes], None]) -> None:
        self._listeners.append(callback)


class FakeGreengrass:
    """Components with their canonical recipes, and what devices reported."""

    def __init__(self) -> None:
        self.recipes: dict[tuple[str, str], bytes] = {}
        self.asked: list[tuple[Candidate, ...]] = []
        self.health: list[dict[str, Any]] = []
        self.configurations: dict[str, bytes] = {}

    def resolve(
        self, thing: str, candidates: tuple[Candidate, ...], platform: Platform
    ) -> tuple[Resolved, ...]:
        del thing, platform
        self.asked.append(candidates)
        return tuple(self._resolved(candidate) for candidate in candidates)

    def _resolved(self, candidate: Candidate) -> Resolved:
        known = sorted(
            (version for name, version in self.recipes if name == candidate.name),
            key=versions.parse,
            reverse=True,
        )
        for version in known:
            parsed = versions.parse(version)
            if all(versions.satisfies(parsed, each) for each in candidate.requirements.values()):
                arn = component_arn(candidate.name, version)
                recipe = self.recipes[candidate.name, version]
                return Resolved(arn=arn, name=candidate.name, version=version, recipe=recipe)
        raise CloudError(
            "ResourceNotFoundException",
            f"The latest version of Component {candidate.name} doesn't claim platform linux"
            f" compatibility with {candidate.requirements}",
            404,
        )

    def recipe(self, arn: str) -> bytes:
        for (name, version), recipe in self.recipes.items():
            if component_arn(name, version) == arn:
                return recipe
        raise CloudError("ResourceNotFoundException", f"no component '{arn}'", 404)

    def configuration(self, thing: str, arn: str) -> bytes:
        del thing
        if arn not in self.configurations:
            raise CloudError("ResourceNotFoundException", f"no deployment '{arn}'", 404)
        return self.configurations[arn]

    def device_status(self, thing: str, payload: bytes) -> None:
        found = json.loads(payload)
        if found.get("thing") != thing:
            raise CloudError("ValidationException", "another thing's status")
        self.health.append(found)


class FakeCloud:
    """The account."""

    region, account = REGION, ACCOUNT

    def __init__(self) -> None:
        self.things = FakeThings()
        self.jobs = FakeJobs()
        self.shadows = FakeShadows()
        self.greengrass = FakeGreengrass()
        self.published: list[tuple[str, bytes, str]] = []
        self.assumed: list[tuple[str, str]] = []
        self._listeners: list[Callable[[str, bytes], None]] = []

    def arn(self, service: str, resource: str) -> str:
        return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{resource}"

    def credentials(self, role_alias: str, principal: Principal, thing: str) -> RoleCredentials:
        del principal
        if role_alias != "TokenExchange":
            raise CloudError("InvalidRequestException", "Role alias does not exist", 404)
        self.assumed.append((role_alias, thing))
        return RoleCredentials(
            access_key_id="ASIATEST",
            secret_access_key="secret",
            session_token="token",
            expiration="2099-01-01T00:00:00Z",
        )

    def publish(self, topic: str, payload: bytes, client_id: str) -> None:
        self.published.append((topic, payload, client_id))

    def on_publish(self, callback: Callable[[str, bytes], None]) -> None:
        self._listeners.append(callback)

    def say(self, topic: str, payload: bytes) -> None:
        for callback in self._listeners:
            callback(topic, payload)


def component_arn(name: str, version: str) -> str:
    """Return a component version's ARN."""
    return f"arn:aws:greengrass:{REGION}:{ACCOUNT}:components:{name}:versions:{version}"

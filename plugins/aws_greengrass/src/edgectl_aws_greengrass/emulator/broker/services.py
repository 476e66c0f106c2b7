"""Answers what devices publish to reserved topics, and says when a thing's jobs have changed."""

from __future__ import annotations

import json
import logging
import time
from typing import Any

from edgectl_aws_greengrass.emulator.broker import documents, reserved
from edgectl_aws_greengrass.emulator.broker.reserved import JobsNotice, Request
from edgectl_aws_greengrass.emulator.ports import Cloud, CloudError, JobExecution

log = logging.getLogger(__name__)

Reply = tuple[str, bytes]
_WITH_STATE = frozenset({"VersionMismatch", "InvalidStateTransition"})


class Services:
    """Jobs, shadows and fleet status over MQTT.

    Called by several threads, but by one at a time for each connection.
    """

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def answer(self, request: Request, topic: str, payload: bytes) -> list[Reply]:
        """Do what a message asks for; return the answers with their topics."""
        now = int(time.time())
        if isinstance(request, reserved.Health):
            try:
                self._cloud.greengrass.device_status(request.thing, payload)
            except CloudError as exc:
                log.warning("a fleet status of '%s' is dropped: %s", request.thing, exc)
            return []
        try:
            body = _body(payload)
        except ValueError:
            error = CloudError("InvalidJson", "Payload is not valid JSON")
            return [_reply(f"{topic}/rejected", _refusal(request, error, None, now, None))]
        token = body.get("clientToken")
        try:
            answer = self._accepted(request, body, payload, now)
        except CloudError as exc:
            job = self._job_of(request) if exc.code in _WITH_STATE else None
            return [_reply(f"{topic}/rejected", _refusal(request, exc, token, now, job))]
        if answer is None:
            return []
        if token is not None:
            answer["clientToken"] = token
        return [_reply(f"{topic}/accepted", answer)]

    def pending(
        self, notice: JobsNotice
    ) -> tuple[tuple[JobExecution, ...], tuple[JobExecution, ...], JobExecution | None]:
        """Return what a notice is made from: in progress, queued and next."""
        running, queued = self._cloud.jobs.pending(notice.thing, notice.namespace)
        return running, queued, self._cloud.jobs.next(notice.thing, notice.namespace)

    def _accepted(
        self, request: Request, body: dict[str, Any], payload: bytes, now: int
    ) -> dict[str, Any] | None:
        jobs = self._cloud.jobs
        if isinstance(request, reserved.PendingJobs):
            running, queued = jobs.pending(request.thing, request.namespace)
            return {
                "timestamp": now,
                "inProgressJobs": [documents.summary(job) for job in running],
                "queuedJobs": [documents.summary(job) for job in queued],
            }
        if isinstance(request, reserved.StartNextJob):
            started = jobs.start_next(request.thing, request.namespace, _details(body) or {})
            return documents.notify_next(started, now)
        if isinstance(request, reserved.DescribeJob):
            return self._described(request, body, now)
        if isinstance(request, reserved.UpdateJob):
            return self._updated(request, body, now)
        if isinstance(request, reserved.Shadow):
            return self._shadow(request, payload)
        return None

    def _described(
        self, request: reserved.DescribeJob, body: dict[str, Any], now: int
    ) -> dict[str, Any]:
        if request.job_id == "$next":
            found = self._cloud.jobs.next(request.thing, request.namespace)
        else:
            found = self._cloud.jobs.get(request.thing, request.job_id)
        answer: dict[str, Any] = {"timestamp": now}
        if found is not None:
            wanted = body.get("includeJobDocument") is not False
            answer["execution"] = documents.execution(found, with_document=wanted)
        return answer

    def _updated(
        self, request: reserved.UpdateJob, body: dict[str, Any], now: int
    ) -> dict[str, Any]:
        expected = body.get("expectedVersion")
        try:  # nucleus lite sends the number as a string
            version = None if expected is None else int(expected)
        except (TypeError, ValueError) as exc:
            raise CloudError("InvalidRequest", "expectedVersion is not a number") from exc
        status = body.get("status")
        if not isinstance(status, str):
            raise CloudError("InvalidRequest", "status is required")
        job = self._cloud.jobs.update(
            request.thing, request.job_id, status, _details(body), version
        )
        answer: dict[str, Any] = {"timestamp": now}
        if body.get("includeJobExecutionState"):
            answer["executionState"] = documents.state(job)
        if body.get("includeJobDocument"):
            answer["jobDocument"] = json.loads(job.document)
        return answer

    def _shadow(self, request: reserved.Shadow, payload: bytes) -> dict[str, Any] | None:
        shadows = self._cloud.shadows
        if request.verb == "update":
            shadows.update(request.thing, request.name, payload)  # the listeners publish accepted
            return None
        verb = shadows.get if request.verb == "get" else shadows.delete
        found: dict[str, Any] = json.loads(verb(request.thing, request.name))
        return found

    def _job_of(self, request: Request) -> JobExecution | None:
        if not isinstance(request, reserved.UpdateJob):
            return None
        try:
            return self._cloud.jobs.get(request.thing, request.job_id)
        except CloudError:
            return None


def _body(payload: bytes) -> dict[str, Any]:
    found = json.loads(payload) if payload.strip() else {}
    if not isinstance(found, dict):
        raise ValueError("not an object")  # noqa: TRY004  # as for any other text that is no request
    return found


def _details(body: dict[str, Any]) -> dict[str, str] | None:
    details = body.get("statusDetails")
    if details is None:
        return None
    if not isinstance(details, dict) or not all(isinstance(v, str) for v in details.values()):
        raise CloudError("InvalidRequest", "statusDetails is a map of strings")
    return details


def _refusal(
    request: Request, error: CloudError, token: str | None, now: int, job: JobExecution | None
) -> dict[str, Any]:
    if isinstance(request, reserved.Shadow):
        return documents.shadow_rejected(error, token, now)
    return documents.rejected(error, token, now, job)


def _reply(topic: str, document: dict[str, Any]) -> Reply:
    return topic, json.dumps(document, separators=(",", ":")).encode()

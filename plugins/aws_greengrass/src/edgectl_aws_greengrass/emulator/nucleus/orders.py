"""Brings deployments to the device, by job and by shadow, and their results back.

Topics and rules are the nucleus's own (``IotJobsHelper``, ``ShadowDeploymentListener``): one job at
a time, an IN_PROGRESS one first; a job that leaves the list of pending ones is cancelled; a shadow
deployment whose result is reported already is not taken again. Results wait in the state file until
the cloud has them.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from typing import Any

from edgectl.api import Record
from edgectl_aws_greengrass.emulator.nucleus import failures
from edgectl_aws_greengrass.emulator.nucleus.failures import DeploymentError, UnavailableError
from edgectl_aws_greengrass.emulator.nucleus.mqtt import Link, RejectedError
from edgectl_aws_greengrass.emulator.nucleus.settings import VERSION
from edgectl_aws_greengrass.emulator.nucleus.state import Report, StateFile

log = logging.getLogger(__name__)

NAMESPACE = "namespace-aws-gg-deployment"
SHADOW = "AWSManagedGreengrassV2Deployment"
_JOB = "job"
_SHADOW = "shadow"


class Order(Record, frozen=True, kw_only=True):
    """A deployment to do.

    Attributes:
        kind: ``job`` or ``shadow``.
        key: The job's id, or the configuration ARN.
    """

    kind: str
    key: str
    document: str

    @property
    def trigger(self) -> str:
        """What fleet status calls it."""
        return "THING_GROUP_DEPLOYMENT" if self.kind == _JOB else "THING_DEPLOYMENT"


class Orders:
    """The device's deployments.

    Args:
        changed: Called when there may be something new; from the connection's thread.
    """

    def __init__(
        self, thing: str, link: Link, state: StateFile, changed: Callable[[], None]
    ) -> None:
        self._link = link
        self._state = state
        self._changed = changed
        self._jobs = f"$aws/things/{thing}/jobs"
        self._shadow = f"$aws/things/{thing}/shadow/name/{SHADOW}"
        self._lock = threading.Lock()
        self._current: tuple[Order, threading.Event] | None = None
        self._desired: dict[str, Any] | None = None
        self._ended: set[str] = set()
        link.on(f"{self._jobs}/notify-{NAMESPACE}", self._on_jobs)
        link.on(f"{self._shadow}/update/accepted", self._on_shadow)

    def next(self) -> Order | None:
        """Ask for what is to be done.

        Raises:
            UnavailableError: The cloud cannot be asked now.
        """
        return self._next_job() or self._next_shadow()

    def begin(self, order: Order, cancelled: threading.Event) -> bool:
        """Tell that an order is in progress; return False when the cloud has taken it back."""
        with self._lock:
            self._current = (order, cancelled)
        return self._tell(Report(kind=order.kind, key=order.key, status="IN_PROGRESS"))

    def end(self, order: Order, failure: DeploymentError | None) -> None:
        """Tell an order's result, now or when there is a connection again."""
        details: dict[str, Any] = dict(
            failures.job_details(failure)
            if order.kind == _JOB
            else failures.status_details(failure)
        )
        status = "SUCCEEDED" if failure is None else "FAILED"
        report = Report(kind=order.kind, key=order.key, status=status, details=details)
        self._state.change(reports=(*self._state.state.reports, report))
        self._close(order)
        self.flush()

    def dropped(self, order: Order) -> None:
        """Forget an order that was cancelled: a job takes no more updates, a shadow does."""
        self._close(order)
        if order.kind == _SHADOW:
            self._tell(Report(kind=_SHADOW, key=order.key, status="CANCELED"))

    def flush(self) -> None:
        """Tell what is still to be told, as far as it goes now."""
        while self._state.state.reports and self._link.is_up:
            first, *rest = self._state.state.reports
            try:
                self._send(first)
            except UnavailableError as exc:
                log.warning("a result is kept for later: %s", exc)
                return
            except RejectedError as exc:
                log.warning("a result is refused: %s", exc)
            self._state.change(reports=tuple(rest))

    def _close(self, order: Order) -> None:
        with self._lock:
            self._current = None
            self._ended.add(order.key)

    def _next_job(self) -> Order | None:
        topic = f"{self._jobs}/$next/{NAMESPACE}/get"
        answer = self._link.call(topic, {"includeJobDocument": True, "jobId": "$next"})
        execution = answer.get("execution")
        if not execution or execution["jobId"] in self._ended:
            return None
        document = json.dumps(execution["jobDocument"])
        return Order(kind=_JOB, key=execution["jobId"], document=document)

    def _next_shadow(self) -> Order | None:
        with self._lock:
            desired, self._desired = self._desired, None
        reported: dict[str, Any] = {}
        if desired is None:
            try:
                state = self._link.call(f"{self._shadow}/get", {}).get("state") or {}
            except RejectedError:  # nobody deployed to this thing alone yet
                return None
            desired, reported = state.get("desired") or {}, state.get("reported") or {}
        if not desired.get("fleetConfig") or desired.get("desiredStatus") == "CANCELED":
            return None
        document = str(desired["fleetConfig"])
        arn = str(json.loads(document)["configurationArn"])
        same = reported.get("fleetConfigurationArnForStatus") == arn
        if arn in self._ended or (same and reported.get("status") != "IN_PROGRESS"):
            return None
        return Order(kind=_SHADOW, key=arn, document=document)

    def _tell(self, report: Report) -> bool:
        try:
            self._send(report)
        except UnavailableError as exc:
            log.warning("%s of %s is not told: %s", report.status, report.key, exc)
        except RejectedError as exc:
            log.warning("%s of %s is refused: %s", report.status, report.key, exc)
            return False
        return True

    def _send(self, report: Report) -> None:
        if report.kind == _JOB:
            self._link.call(
                f"{self._jobs}/{report.key}/{NAMESPACE}/update",
                {"status": report.status, "statusDetails": report.details},
            )
            return
        reported = {
            "fleetConfigurationArnForStatus": report.key,
            "status": report.status,
            "statusDetails": report.details,
            "ggcVersion": VERSION,
        }
        self._link.call(f"{self._shadow}/update", {"state": {"reported": reported}})

    def _on_jobs(self, _topic: str, payload: bytes) -> None:
        listed = {
            job["jobId"] for jobs in json.loads(payload).get("jobs", {}).values() for job in jobs
        }
        with self._lock:
            current = self._current
        if current is not None and current[0].kind == _JOB and current[0].key not in listed:
            log.info("the job %s was cancelled", current[0].key)
            current[1].set()
        self._changed()

    def _on_shadow(self, _topic: str, payload: bytes) -> None:
        desired = (json.loads(payload).get("state") or {}).get("desired")
        if not desired:
            return
        with self._lock:
            self._desired = dict(desired)
            current = self._current
        if current is not None and current[0].kind == _SHADOW:
            current[1].set()  # a new deployment to the thing, or the end of this one
        self._changed()

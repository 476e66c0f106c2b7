"""``observe``: where each device stands, in calls that grow with pages and not with devices.

The executions of the deployments that carry the release are listed by page. Only devices that
failed, or few that are asked for by name, are looked at one by one: what their nucleus said, and
what they wrote into their shadow. Greengrass's own sight of a core device is asked for only when
somebody has been quiet for long.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Any

import msgspec

from edgectl.api import DeviceReport, DeviceStatus, ObservePage, ObserveRequest, State
from edgectl_aws_greengrass._sdk import fleet
from edgectl_aws_greengrass._sdk.account import Account
from edgectl_aws_greengrass._sdk.history import find_record
from edgectl_aws_greengrass._sdk.view import View
from edgectl_aws_greengrass.recipe import SHADOW
from edgectl_aws_greengrass.states import (
    CALLED_OFF,
    FAILED,
    Execution,
    Failure,
    current,
    judge,
    read_failure,
    with_report,
    with_sighting,
)

ASK_UP_TO = 50
_WAITING = frozenset({State.PENDING, State.INSTALLING})

Statuses = dict[str, DeviceStatus]


def observe(account: Account, request: ObserveRequest) -> ObservePage:
    """Return where each device of the target stands, on one page.

    A device that moves between two pages would be seen twice, or not at all.
    """
    look = _Look(account, request)
    statuses = look.statuses()
    statuses = look.with_silence(statuses)
    statuses = look.with_reports(statuses)
    return ObservePage(states=tuple(statuses[device] for device in sorted(statuses)))


class _Look:
    """One look."""

    def __init__(self, account: Account, request: ObserveRequest) -> None:
        self._account = account
        self._request = request
        self._view = View(account, request.target, request.application)

    def statuses(self) -> Statuses:
        """Return what the executions say, with the words of nuclei that failed."""
        given = self._view.by_device(self._request.release)
        wanted = {d: e for d, e in given.items() if self._is_wanted(d)}
        failures = self._failures(wanted)
        found = {}
        for device, executions in wanted.items():
            release = self._release(executions)
            status = judge(
                device,
                executions,
                release,
                package=self._package(release),
                failure=failures.get(device),
            )
            if status is not None:
                found[device] = status
        return found

    def with_silence(self, statuses: Statuses) -> Statuses:
        """Call devices unreachable that have something to do and were not heard of for long."""
        now, after_s = time.time(), self._account.config.unreachable_after_s
        quiet = [
            device
            for device, status in statuses.items()
            if status.state in _WAITING and status.since and now - status.since > after_s
        ]
        if not quiet:
            return statuses
        seen = fleet.cores(self._account, self._view.selector, quiet)
        return {
            device: with_sighting(status, seen.get(device), now=now, after_s=after_s)
            for device, status in statuses.items()
        }

    def with_reports(self, statuses: Statuses) -> Statuses:
        """Add what devices wrote into their shadows, where it is worth the asking."""
        told = self._account.at_once(self._report, self._worth_asking(statuses))
        reports = dict(told)
        return {d: with_report(status, reports.get(d)) for d, status in statuses.items()}

    def _worth_asking(self, statuses: Statuses) -> list[str]:
        failed = [d for d in sorted(statuses) if statuses[d].state.is_failure]
        few = self._request.release is None or self._request.devices is not None
        if few and len(statuses) <= ASK_UP_TO:
            return sorted(statuses)
        return failed[:ASK_UP_TO]

    def _is_wanted(self, device: str) -> bool:
        return self._request.devices is None or device in self._request.devices

    def _release(self, executions: Iterable[Execution]) -> int:
        if self._request.release is not None:
            return self._request.release
        last = current(executions)
        return 0 if last is None else last.release

    def _package(self, release: int) -> str:
        """Return the digest that a release points at, or "" where the account does not know it."""
        if not release:
            return ""
        application = self._request.application

        def read() -> str:
            record = find_record(self._account, application, release)
            return "" if record is None else record.package

        return self._account.remember(f"package of {application} {release}", read)

    def _failures(self, given: dict[str, list[Execution]]) -> dict[str, Failure]:
        """Ask the nuclei of devices whose last word about their release is a failure."""
        wanted: list[tuple[str, Execution]] = []
        for device in sorted(given):
            release = self._release(given[device])
            taken = [
                e for e in given[device] if e.release == release and e.status not in CALLED_OFF
            ]
            failed = [e for e in taken if e.status in FAILED]
            if failed:
                wanted.append((device, max(failed, key=lambda e: e.order)))
        found = self._account.at_once(self._failure, wanted[:ASK_UP_TO])
        return dict(found)

    def _failure(self, wanted: tuple[str, Execution]) -> tuple[str, Failure]:
        device, execution = wanted
        if not execution.job:
            return device, self._thing_failure(device, execution)

        def ask() -> Failure:
            found = self._account.call(
                "iot",
                "DescribeJobExecution",
                f"read what '{device}' said",
                jobId=execution.job,
                thingName=device,
            )
            details = (found.get("execution") or {}).get("statusDetails") or {}
            return read_failure(details.get("detailsMap") or {})

        # What a nucleus said at the end of a deployment does not change.
        key = f"failure {execution.job} {device} {execution.updated_at}"
        return device, self._account.remember(key, ask)

    def _thing_failure(self, device: str, execution: Execution) -> Failure:
        listed = self._account.pages(
            "greengrassv2",
            "ListEffectiveDeployments",
            f"read what '{device}' said",
            "effectiveDeployments",
            coreDeviceThingName=device,
        )
        for item in listed:
            if item["deploymentId"] == execution.deployment:
                details = item.get("statusDetails") or {}
                stack = tuple(details.get("errorStack") or ())
                return Failure(
                    status=_status_of(str(item.get("reason") or "")),
                    cause=str(item.get("reason") or ""),
                    stack=stack,
                )
        return Failure()

    def _report(self, device: str) -> tuple[str, DeviceReport | None]:
        found = self._account.find(
            "iot-data",
            "GetThingShadow",
            f"read the report of '{device}'",
            thingName=device,
            shadowName=SHADOW,
        )
        if found is None:
            return device, None
        report = read_shadow(found["payload"].read())
        ours = report is not None and report.application == self._request.application
        return device, report if ours else None


def read_shadow(payload: bytes) -> DeviceReport | None:
    """Read a device's report from its shadow's document; None for anything else."""
    try:
        document: dict[str, Any] = json.loads(payload)
        reported = document["state"]["reported"]
        return msgspec.convert(reported, DeviceReport)
    except (ValueError, KeyError, TypeError, msgspec.ValidationError):
        return None


def _status_of(reason: str) -> str:
    """Return the nucleus's word where the reason of a thing's deployment begins with one."""
    word = reason.split(":", 1)[0].strip()
    return word if word.isupper() else ""

"""``observe``: where each device stands, in calls that grow with pages and states.

For one release: the devices that were given it, then one listing per state that a device can
write about it; only failed devices are asked one by one for what went wrong (many are asked by
reason). For ``release=None`` the same per release, newest first, until every device is found;
devices that speak of none of the newest ``RELEASES_UP_TO`` are asked one by one. Everything
comes back on one page, because a device that moves between two pages would be seen twice or not
at all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import msgspec

from edgectl.api import (
    DeviceReport,
    DeviceStatus,
    NotFoundError,
    ObservePage,
    ObserveRequest,
    Reason,
    State,
)
from edgectl_selfhosted import fiql
from edgectl_selfhosted._sdk.actions import being_canceled, has_failed, release_actions
from edgectl_selfhosted._sdk.client import Client, Params
from edgectl_selfhosted._sdk.devices import TARGETS, Scope, contact_of
from edgectl_selfhosted._sdk.history import all_releases
from edgectl_selfhosted._sdk.publish import find_set
from edgectl_selfhosted._sdk.wire import ActionStatus, ActionView, TargetView
from edgectl_selfhosted.render import release_record
from edgectl_selfhosted.states import (
    REPORTED,
    Contact,
    assigned_status,
    before_canceled,
    is_silent,
    report_of,
    reported_status,
    superseded_status,
    with_messages,
    with_report,
)

ASK_AT_ONCE = 8
ASK_UP_TO = 100
ASK_ALL_UP_TO = 50
RELEASES_UP_TO = 20
LATER_UP_TO = 200
WORDS_UP_TO = 5

Statuses = dict[str, DeviceStatus]
_NOT_TAKEN = frozenset({State.SKIPPED, State.FAILED})
_CANCELED = fiql.attribute("edgectl_reason", Reason.CANCELED.value)
_WINDOW = Reason.DOWNLOAD_WINDOW.value
_WAITS = fiql.attribute("edgectl_reason", _WINDOW)


def observe(client: Client, request: ObserveRequest, *, unreachable_after_s: float) -> ObservePage:
    """Return where each device of the target stands.

    Args:
        client: The server.
        request: What to look at.
        unreachable_after_s: Patience with devices that have never called.
    """
    scope = Scope(client, fiql.selector_query(request.target), request.devices)
    look = _Look(client, scope, request.application, unreachable_after_s)
    if request.release is not None:
        statuses = look.at_release(request.release, look.package_of(request.release))
        statuses |= look.superseded(request.release, statuses)
        look.explain(statuses, everyone=False)
    else:
        statuses = look.at_latest()
        look.explain(statuses, everyone=len(statuses) <= ASK_ALL_UP_TO)
    return ObservePage(states=tuple(statuses[device] for device in sorted(statuses)))


class _Look:
    """One look at some devices and one application."""

    def __init__(
        self, client: Client, scope: Scope, application: str, unreachable_after_s: float
    ) -> None:
        self._client = client
        self._scope = scope
        self._application = application
        self._after_s = unreachable_after_s
        self._is_ours = fiql.equal("attribute.edgectl_app", application)

    def package_of(self, release: int) -> str:
        """Return the digest that a release points at, or "" if the server has no such release."""
        found = find_set(self._client, self._application, release)
        if found is None:
            return ""
        record = release_record(
            found.name, found.version, found.description, None, application=self._application
        )
        return "" if record is None else record.package

    def at_release(self, release: int, package: str) -> Statuses:
        """Return the devices that were given a release last, or say something about it."""
        given = self._find(fiql.release_is(self._application, release))
        about = fiql.both(self._is_ours, fiql.attribute("edgectl_release", str(release)))
        statuses: Statuses = {}
        for state in REPORTED:
            condition = fiql.both(about, fiql.attribute("edgectl_state", state.value))
            for device, target in self._find(condition).items():
                contact = contact_of(target)
                statuses[device] = reported_status(
                    contact,
                    release=release,
                    state=state,
                    package=package,
                    silent=self._is_silent(contact),
                )
        given |= self._failed_on(release, besides=given.keys() | statuses.keys())
        rest = {device: target for device, target in given.items() if device not in statuses}
        statuses |= self._unreported(rest, release, package)
        self._explain_waiting(statuses, about)
        return self._without_canceled(statuses, release, about)

    def _explain_waiting(self, statuses: Statuses, about: str) -> None:
        """Say of which devices a download waits for its window, and until when.

        Devices of a site say the same, so one is asked and the others are found by its words.
        """
        if not any(status.state is State.DOWNLOADING for status in statuses.values()):
            return
        condition = fiql.both(about, _WAITS)
        left = [device for device in self._find(condition) if device in statuses]
        for _ in range(WORDS_UP_TO):
            report = self._report(left[0]) if left else None
            if report is None:
                break
            same = fiql.both(condition, fiql.attribute("edgectl_detail", report.detail))
            said = {left[0], *self._find(same)} if report.detail else {left[0]}
            for device in said & set(left):
                statuses[device] = msgspec.structs.replace(
                    statuses[device], reason=_WINDOW, detail=report.detail
                )
            left = [device for device in left if device not in said]
        for device in left:
            statuses[device] = msgspec.structs.replace(statuses[device], reason=_WINDOW)

    def _without_canceled(self, statuses: Statuses, release: int, about: str) -> Statuses:
        """Leave out devices that the release was taken back from: as if it was never given."""
        gone: set[str] = set()
        if any(not status.state.is_settled for status in statuses.values()):
            canceling = being_canceled(self._client, self._application, release)
            gone = {d for d in canceling if d in statuses and not statuses[d].state.is_settled}
        if any(status.state in _NOT_TAKEN for status in statuses.values()):
            canceled = self._find(fiql.both(about, _CANCELED))
            gone |= {d for d in canceled if d in statuses and statuses[d].state in _NOT_TAKEN}
        return {device: status for device, status in statuses.items() if device not in gone}

    def at_latest(self) -> Statuses:
        """Return what every device did last: what it was given last, or spoke of last."""
        spoke = fiql.both(self._is_ours, "attribute.edgectl_release!=0")
        assigned = fiql.equal("assignedds.name", self._application)
        expected = self._find(assigned) | self._find(spoke)
        expected |= self._failed_on(None, besides=expected.keys())
        canceled = self._find(fiql.both(self._is_ours, _CANCELED))
        statuses: Statuses = {}
        for record in list(all_releases(self._client, self._application).values())[:RELEASES_UP_TO]:
            if expected.keys() - canceled.keys() <= statuses.keys():
                break
            statuses = self.at_release(record.number, record.package) | statuses
        statuses |= self._beyond(statuses)
        left = [target for device, target in expected.items() if device not in statuses]
        with ThreadPoolExecutor(max_workers=ASK_AT_ONCE) as pool:
            for status in pool.map(self._asked_alone, left):
                if status is not None:
                    statuses[status.device] = status
        return statuses

    def _beyond(self, statuses: Statuses) -> Statuses:
        """Return devices that speak of a release which the server does not know.

        Somebody brought it to them (``edge-agent import``), after what they were given here.
        """
        numbers = sorted(all_releases(self._client, self._application), reverse=True)
        known = [str(number) for number in numbers[:LATER_UP_TO]]
        if not statuses or not known:
            return {}
        unknown = fiql.none_of("attribute.edgectl_release", [*known, "0"])
        found = self._find(fiql.both(self._is_ours, unknown))
        asked = [target for device, target in found.items() if device in statuses]
        with ThreadPoolExecutor(max_workers=ASK_AT_ONCE) as pool:
            told = [status for status in pool.map(self._asked_alone, asked) if status is not None]
        return {s.device: s for s in told if s.release > statuses[s.device].release}

    def superseded(self, release: int, known: Statuses) -> Statuses:
        """Return the devices that were given a release once, and a later one since."""
        numbers = all_releases(self._client, self._application)
        later = [str(number) for number in numbers if number > release][:LATER_UP_TO]
        if not later:
            return {}
        assigned = fiql.equal("assignedds.name", self._application)
        found = self._find(fiql.both(assigned, fiql.one_of("assignedds.version", later)))
        spoke = fiql.one_of("attribute.edgectl_release", later)
        found |= self._find(fiql.both(self._is_ours, spoke))
        if not found.keys() - known.keys():
            return {}
        actions = release_actions(self._client, self._application, release)
        once = {device for device, _action in actions} - set(known)
        return {
            device: superseded_status(contact_of(target), release=release)
            for device, target in found.items()
            if device in once
        }

    def explain(self, statuses: Statuses, *, everyone: bool) -> None:
        """Add reason, detail and the active version where the lists do not have them."""
        failed = [d for d, s in statuses.items() if s.state.is_failure]
        if len(failed) > ASK_UP_TO:
            self._explain_in_bulk(statuses, failed)
            failed = []
        asked = list(statuses) if everyone else failed
        with ThreadPoolExecutor(max_workers=ASK_AT_ONCE) as pool:
            for status in pool.map(self._explained, [statuses[device] for device in asked]):
                statuses[status.device] = status

    def _find(self, condition: str) -> dict[str, TargetView]:
        return self._scope.find(condition, what=f"observe '{self._application}'")

    def _is_silent(self, contact: Contact) -> bool:
        return is_silent(contact, now=self._client.server_time, after_s=self._after_s)

    def _failed_on(self, release: int | None, *, besides: Collection[str]) -> dict[str, TargetView]:
        """Return devices whose feedback was a failure; hawkBit takes the set off those."""
        found = self._find("updatestatus==error")
        errored = {device: target for device, target in found.items() if device not in besides}
        if not errored:
            return {}
        actions = release_actions(self._client, self._application, release, keep=has_failed)
        failed = {device for device, _action in actions}
        return {device: target for device, target in errored.items() if device in failed}

    def _unreported(self, given: dict[str, TargetView], release: int, package: str) -> Statuses:
        agents: Iterable[str] = ()
        if any(target.update_status == "in_sync" for target in given.values()):
            writes = fiql.one_of("attribute.edgectl_state", [state.value for state in State])
            agents = self._find(fiql.both(fiql.release_is(self._application, release), writes))
        statuses = {}
        for device, target in given.items():
            contact = contact_of(target)
            statuses[device] = assigned_status(
                contact,
                release=release,
                package=package,
                own_agent=device in agents,
                silent=self._is_silent(contact),
            )
        return statuses

    def _explain_in_bulk(self, statuses: Statuses, failed: Iterable[str]) -> None:
        wanted = set(failed)
        for release in {statuses[device].release for device in wanted}:
            about = fiql.both(self._is_ours, fiql.attribute("edgectl_release", str(release)))
            for reason in Reason:
                if reason is Reason.NONE:
                    continue
                condition = fiql.both(about, fiql.attribute("edgectl_reason", reason.value))
                for device in wanted & set(self._find(condition)):
                    statuses[device] = msgspec.structs.replace(
                        statuses[device], reason=reason.value
                    )

    def _asked_alone(self, target: TargetView) -> DeviceStatus | None:
        report = self._report(target.controller_id)
        if report is not None and report.reason == Reason.CANCELED:
            report = before_canceled(report)
        if report is None or not report.release:
            return None
        contact = contact_of(target)
        status = reported_status(
            contact,
            release=report.release,
            state=report.state,
            package=report.active_package,
            silent=self._is_silent(contact),
        )
        return with_report(status, report)

    def _explained(self, status: DeviceStatus) -> DeviceStatus:
        report = self._report(status.device)
        explained = with_report(status, report)
        about_this = report is not None and report.release == status.release
        if status.state is State.FAILED and not about_this:
            return self._with_feedback(explained)
        return explained

    def _report(self, device: str) -> DeviceReport | None:
        path = f"{_path(device)}/attributes"
        try:
            attributes = self._client.get(f"ask after '{device}'", path, dict[str, str])
        except NotFoundError:
            return None  # removed since it was listed
        return report_of(attributes, self._application)

    def _with_feedback(self, status: DeviceStatus) -> DeviceStatus:
        path = _path(status.device)
        what = f"ask after '{status.device}'"
        newest: Params = {"sort": "id:DESC", "limit": 1}
        actions = self._client.page(what, f"{path}/actions", ActionView, newest).content
        if not actions:
            return status
        said = self._client.page(
            what,
            f"{path}/actions/{actions[0].id}/status",
            ActionStatus,
            {"sort": "id:DESC", "limit": 5},
        ).content
        error = next((one for one in said if one.type.lower() == "error"), None)
        return status if error is None else with_messages(status, error.messages, error.code)


def _path(device: str) -> str:
    return f"{TARGETS}/{quote(device, safe='')}"

"""What a device's own words and the server's facts mean: the pure part of ``observe``.

Our agent writes its state as attributes; those decide. A device that writes none (SWUpdate, or
another hawkBit client) is judged by hawkBit's update status, which follows from the device's own
feedback. A device that is not settled and has not called when it should is ``unreachable``.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from edgectl.api import DeviceReport, DeviceStatus, Reason, State, from_attributes

# A device moves this way; asked in this order, one that moves meanwhile is seen again, not missed.
REPORTED = (
    State.PENDING,
    State.DOWNLOADING,
    State.INSTALLING,
    State.VERIFYING,
    State.SKIPPED,
    State.HEALTHY,
    State.FAILED,
    State.ROLLED_BACK,
)


class Contact(msgspec.Struct, frozen=True, kw_only=True):
    """What the server knows of a device without asking it; times are seconds since 1970 UTC.

    Attributes:
        update_status: hawkBit's word.
        overdue: Whether the device misses its polls, None if the server does not say.
        called_at: When it called last, None for never.
        changed_at: When the server's record of it changed last.
    """

    device: str
    update_status: str = "unknown"
    overdue: bool | None = None
    called_at: float | None = None
    changed_at: float | None = None
    installed_at: float | None = None


def is_silent(contact: Contact, *, now: float, after_s: float) -> bool:
    """Whether a device has not called for longer than it should.

    Args:
        contact: The device.
        now: The server's clock.
        after_s: The patience with a device that has never called.
    """
    if contact.called_at is not None:
        return bool(contact.overdue)
    return contact.changed_at is not None and now - contact.changed_at > after_s


def reported_status(
    contact: Contact, *, release: int, state: State, package: str, silent: bool
) -> DeviceStatus:
    """Return the status of a device whose attributes are about this release."""
    healthy = state is State.HEALTHY
    status = DeviceStatus(
        device=contact.device,
        state=state,
        release=release,
        since=contact.installed_at if healthy else contact.changed_at,
        raw=state.value,
        active_release=release if healthy else None,
        active_package=package if healthy else "",
    )
    return _unreachable(status, contact) if silent and not state.is_settled else status


def assigned_status(
    contact: Contact, *, release: int, package: str, own_agent: bool, silent: bool
) -> DeviceStatus:
    """Return the status of a device that was given the release and wrote nothing about it.

    Args:
        contact: The device.
        release: What it was given.
        package: The release's package.
        own_agent: It writes our attributes, so hawkBit's "in sync" is not the last word.
        silent: It has not called for long.
    """
    status = DeviceStatus(
        device=contact.device,
        state=State.PENDING,
        release=release,
        since=contact.changed_at,
        raw=contact.update_status,
    )
    if contact.update_status == "error":
        return msgspec.structs.replace(status, state=State.FAILED)
    if contact.update_status == "in_sync" and not own_agent:
        return msgspec.structs.replace(
            status,
            state=State.HEALTHY,
            since=contact.installed_at or contact.changed_at,
            active_release=release,
            active_package=package,
        )
    return _unreachable(status, contact) if silent else status


def superseded_status(contact: Contact, *, release: int) -> DeviceStatus:
    """Return the status of a device that was given this release and then another."""
    return DeviceStatus(
        device=contact.device,
        state=State.SUPERSEDED,
        release=release,
        since=contact.changed_at,
        raw=contact.update_status,
    )


def with_report(status: DeviceStatus, report: DeviceReport | None) -> DeviceStatus:
    """Add a device's whole report to its status, if it is about the same release."""
    if report is None:
        return status
    active = {"active_release": report.active_release, "active_package": report.active_package}
    if report.release != status.release:
        return msgspec.structs.replace(status, **active)
    return msgspec.structs.replace(
        status,
        reason=status.reason or report.reason,
        detail=status.detail or report.detail,
        variant=report.variant,
        execution_provider=report.provider,
        **active,
    )


def report_of(attributes: dict[str, str], application: str) -> DeviceReport | None:
    """Read a device's report on this application; None if it wrote none."""
    report = from_attributes(attributes)
    return report if report is not None and report.application == application else None


def before_canceled(report: DeviceReport) -> DeviceReport:
    """Return where a device stood before a release that was taken back; release 0 for nowhere."""
    return msgspec.structs.replace(
        report,
        release=report.active_release,
        package=report.active_package,
        state=State.HEALTHY,
        reason="",
        detail="",
    )


def with_messages(status: DeviceStatus, messages: Iterable[str], code: int | None) -> DeviceStatus:
    """Add what a foreign device said in its feedback to its failed status."""
    detail = "; ".join(message.strip() for message in messages if message.strip())
    raw = status.raw if code is None else f"{status.raw}:{code}"
    return msgspec.structs.replace(status, detail=detail[:500], raw=raw)


def _unreachable(status: DeviceStatus, contact: Contact) -> DeviceStatus:
    since = contact.called_at or contact.changed_at
    return msgspec.structs.replace(
        status, state=State.UNREACHABLE, reason=Reason.NOT_SEEN.value, since=since
    )

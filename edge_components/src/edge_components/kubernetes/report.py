"""What a pod says of itself while it serves, and how its soak goes.

The kubelet knows whether the runtime answers; that inferences fail, or that the runtime was
started again in its soak, it does not hold against a pod. The runtime keeps that itself, and the
operator reads it before the pod of the release before is let go.
"""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec
from msgspec.structs import replace

from edge_components.agent.control import RuntimeStatus
from edge_components.contract.errors import ContractError
from edge_components.contract.jsonio import canonical_json, decode_json
from edge_components.contract.state import DeviceReport, Reason, State
from edge_components.runtime.control import Status

SOAK_FILE = "soak.json"
_LOADING, _SOAKING = "loading the model", "soaking"
_CRASHED = "the runtime ended in the soak and was started again"
_LOG = logging.getLogger(__name__)


class Soak(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far the soak of a release has come, kept over the runtime's own end.

    Attributes:
        release: Which one soaks.
        since: When the runtime that soaks was started, in seconds since 1970.
        running: Whether a runtime was started and not told to end.
        passed: Whether the soak has ended well.
        crashed: Whether a runtime ended in it.
    """

    release: int = 0
    since: float = 0.0
    running: bool = False
    passed: bool = False
    crashed: bool = False


def at_start(before: Soak, release: int, *, now: float, soak_s: float) -> Soak:
    """Return the soak as it stands when a runtime starts with ``release``.

    One that nobody told to end before has crashed, or was killed: that ends a soak badly, and is
    the kubelet's business afterwards.
    """
    if before.release != release:
        return Soak(release=release, since=now, running=True)
    if before.passed or before.crashed:
        return replace(before, running=True)
    if not before.running:
        return replace(before, since=now, running=True)
    if now - before.since < soak_s:
        return replace(before, crashed=True)
    return replace(before, passed=True)


def at_end(soak: Soak) -> Soak:
    """Return the soak when the runtime is told to end: that is no crash."""
    return replace(soak, running=False)


def judge(
    base: DeviceReport,
    status: RuntimeStatus | Status,
    soak: Soak,
    *,
    answering_s: float,
    soak_s: float,
) -> DeviceReport:
    """Return the report.

    Args:
        base: What does not change: application, hardware, release, package.
        status: What the runtime does now.
        soak: What is known of the soak.
        answering_s: How long it has answered.
        soak_s: How long the release has to.
    """
    report = replace(base, variant=status.precision or "", provider=status.provider or "")
    if status.ready:
        report = replace(
            report, active_release=status.release or 0, active_package=status.package or ""
        )
    if soak.passed and status.ready:
        return replace(report, state=State.HEALTHY)
    if soak.crashed:
        return replace(report, state=State.FAILED, reason=Reason.RUNTIME_CRASHED, detail=_CRASHED)
    if not status.ready:
        return replace(report, state=State.VERIFYING, detail=_LOADING)
    if status.errors:
        detail = f"{status.errors} inferences failed in the soak"
        return replace(report, state=State.FAILED, reason=Reason.SOAK_FAILED, detail=detail)
    if answering_s < soak_s:
        return replace(report, state=State.VERIFYING, detail=_SOAKING)
    return replace(report, state=State.HEALTHY)


class SoakFile:
    """The soak on the pod's disk."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / SOAK_FILE

    def read(self) -> Soak:
        """Return what is written; a file that is none counts for nothing."""
        try:
            return decode_json(
                self._path.read_bytes(), Soak, what=f"'{self._path}'", max_bytes=4096
            )
        except (OSError, ContractError):
            return Soak()

    def write(self, soak: Soak) -> None:
        """Replace the file; what cannot be written is a line in the log."""
        part = self._path.with_name(SOAK_FILE + ".part")
        try:
            part.write_bytes(canonical_json(soak))
            part.replace(self._path)
        except OSError as exc:
            _LOG.warning("the soak cannot be kept in '%s': %s", self._path, exc.strerror)

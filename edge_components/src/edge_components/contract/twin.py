"""What stands about a release in an Azure IoT module twin: what is wanted, and what became of it.

``properties.desired.edgectl`` names a release in a registry; ``properties.reported.edgectl`` is the
device's report, small, because a twin is: 32 KB for everything that is reported, 4 KB for a string
(Azure: IoT Hub, "Understand and use device twins", "Device twin size"). Every key is written each
time, so that nothing of an older report stays.
"""

from __future__ import annotations

from typing import Any

import msgspec

from edge_components.contract.digest import check_digest
from edge_components.contract.errors import ContractError
from edge_components.contract.state import DeviceReport, State

SECTION = "edgectl"
MAX_DETAIL_CHARS = 512
MAX_TEXT_CHARS = 128


class DesiredRelease(msgspec.Struct, frozen=True, kw_only=True):
    """What a module is to run.

    Attributes:
        release: The release's number.
        package: Digest of its package.
        repository: ``host[:port]/repository`` that both lie in.
        artifact: Digest of the release's own manifest there.
    """

    release: int
    package: str
    repository: str
    artifact: str

    def to_twin(self) -> dict[str, Any]:
        """Return the section of the module's desired properties."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain


class ModuleReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a module reports.

    Attributes:
        desired: The release that ``phase`` is about; 0 when there was none yet.
        current: The release that answers now; 0 when none does.
        previous: The release that the device would go back to; 0 for none.
        phase: A device state (``contract.state.State``).
        reason: A reason (``contract.state.Reason``), or "".
        package: Digest of the desired release's package.
        active: Digest of the package that answers now, or "".
        at: When this was so, in seconds since 1970 on the device's clock.
    """

    desired: int = 0
    current: int = 0
    previous: int = 0
    phase: State = State.PENDING
    reason: str = ""
    detail: str = ""
    package: str = ""
    active: str = ""
    application: str = ""
    variant: str = ""
    provider: str = ""
    hardware: str = ""
    agent: str = ""
    at: int = 0

    def to_twin(self) -> dict[str, Any]:
        """Return the section of the module's reported properties."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    def device_report(self) -> DeviceReport:
        """Return the report in the form that every provider has."""
        return DeviceReport(
            application=self.application,
            release=self.desired,
            package=self.package,
            state=self.phase,
            reason=self.reason,
            detail=self.detail,
            active_release=self.current,
            active_package=self.active,
            variant=self.variant,
            provider=self.provider,
            hardware=self.hardware,
            agent=self.agent,
        )


def module_report(report: DeviceReport, *, previous: int, at: int) -> ModuleReport:
    """Return a device's report in the form of a twin, within the twin's limits."""
    return ModuleReport(
        desired=report.release,
        current=report.active_release,
        previous=previous,
        phase=report.state,
        reason=report.reason[:MAX_TEXT_CHARS],
        detail=_plain(report.detail)[:MAX_DETAIL_CHARS],
        package=report.package,
        active=report.active_package,
        application=report.application[:MAX_TEXT_CHARS],
        variant=report.variant[:MAX_TEXT_CHARS],
        provider=report.provider[:MAX_TEXT_CHARS],
        hardware=report.hardware[:MAX_TEXT_CHARS],
        agent=report.agent[:MAX_TEXT_CHARS],
        at=at,
    )


def parse_desired(section: object) -> DesiredRelease | None:
    """Read a module's ``desired.edgectl``; None where nothing is wanted.

    Keys that are not known are left alone: a newer operator may write more.

    Raises:
        ContractError: ``bad-desired``, with the key in the message.
    """
    if section is None:
        return None
    try:
        desired = msgspec.convert(section, DesiredRelease)
    except msgspec.ValidationError as exc:
        raise ContractError(
            "bad-desired", f"the desired '{SECTION}' cannot be read: {exc}"
        ) from exc
    check_digest(desired.artifact)
    check_digest(desired.package)
    if not 0 < desired.release < 1 << 53:
        raise ContractError("bad-desired", f"{desired.release} is not a release number")
    return desired


def parse_report(section: object) -> ModuleReport | None:
    """Read a module's ``reported.edgectl``; None where it has none that can be read."""
    if section is None:
        return None
    try:
        return msgspec.convert(section, ModuleReport)
    except msgspec.ValidationError:
        return None


def _plain(text: str) -> str:
    """Return the text without control characters, which a twin's JSON does not need."""
    return "".join(character if character.isprintable() else " " for character in text)

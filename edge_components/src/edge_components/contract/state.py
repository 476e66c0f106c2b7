"""What a device says of itself: its state, the reason, and which version answers.

The states are the same on every provider. The reasons are short stable words; the human text
goes into ``detail``. ``to_attributes`` writes a report as flat strings, for providers that know
devices by attributes (hawkBit targets, twins, thing attributes).
"""

from __future__ import annotations

import enum

import msgspec

MAX_ATTRIBUTE_CHARS = 128


class State(enum.StrEnum):
    """Where a device stands with a release."""

    PENDING = "pending"
    DOWNLOADING = "downloading"
    INSTALLING = "installing"
    VERIFYING = "verifying"
    HEALTHY = "healthy"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"
    UNREACHABLE = "unreachable"
    SUPERSEDED = "superseded"
    SKIPPED = "skipped"

    @property
    def is_settled(self) -> bool:
        """Whether the device will not move on by itself."""
        return self in _SETTLED

    @property
    def is_failure(self) -> bool:
        """Whether the release did not take on the device; it runs the version before."""
        return self in _FAILURES


_SETTLED = {State.HEALTHY, State.FAILED, State.ROLLED_BACK, State.SUPERSEDED, State.SKIPPED}
_FAILURES = {State.FAILED, State.ROLLED_BACK}


class Reason(enum.StrEnum):
    """Why a device is in its state."""

    NONE = ""
    DIGEST_MISMATCH = "digest-mismatch"
    BAD_SIGNATURE = "bad-signature"
    UNTRUSTED_PUBLISHER = "untrusted-publisher"
    RELEASE_NOT_NEWER = "release-not-newer"
    WRONG_APPLICATION = "wrong-application"
    BAD_PACKAGE = "bad-package"
    DISK_FULL = "disk-full"
    DOWNLOAD_FAILED = "download-failed"
    DOWNLOAD_WINDOW = "download-window"
    HARDWARE_MISMATCH = "hardware-mismatch"
    LOAD_FAILED = "load-failed"
    GOLDEN_FAILED = "golden-failed"
    RUNTIME_CRASHED = "runtime-crashed"
    RUNTIME_NOT_READY = "runtime-not-ready"
    SOAK_FAILED = "soak-failed"
    CANCELED = "canceled"
    INTERNAL = "internal"
    NOT_SEEN = "not-seen"


class DeviceReport(msgspec.Struct, frozen=True, kw_only=True):
    """A device's own statement.

    Attributes:
        release: The release that ``state`` is about; 0 when there was none yet.
        active_release: The release that answers now; 0 when none does.
        active_package: The digest of the package that answers now, or "".
        provider: ONNX Runtime's execution provider that was really used, or "".
    """

    application: str = ""
    release: int = 0
    package: str = ""
    state: State = State.PENDING
    reason: str = ""
    detail: str = ""
    active_release: int = 0
    active_package: str = ""
    variant: str = ""
    provider: str = ""
    hardware: str = ""
    agent: str = ""


_ATTRIBUTES = {
    "edgectl_app": "application",
    "edgectl_release": "release",
    "edgectl_package": "package",
    "edgectl_state": "state",
    "edgectl_reason": "reason",
    "edgectl_detail": "detail",
    "edgectl_active_release": "active_release",
    "edgectl_active_package": "active_package",
    "edgectl_variant": "variant",
    "edgectl_provider": "provider",
    "edgectl_hardware": "hardware",
    "edgectl_agent": "agent",
}


def to_attributes(report: DeviceReport) -> dict[str, str]:
    """Write a report as flat strings of at most 128 characters (hawkBit's limit)."""
    return {
        key: str(getattr(report, field))[:MAX_ATTRIBUTE_CHARS] for key, field in _ATTRIBUTES.items()
    }


def from_attributes(attributes: dict[str, str]) -> DeviceReport | None:
    """Read a report from a device's attributes; None if the device wrote none."""
    values = {field: attributes[key] for key, field in _ATTRIBUTES.items() if key in attributes}
    if "state" not in values:
        return None
    try:
        return msgspec.convert(values, DeviceReport, strict=False)
    except msgspec.ValidationError:
        return None

"""The one record that a device keeps: what is active, what it may fall back to, what it is doing.

The record is the whole truth about a device. It is replaced as one, so a power cut leaves the
record before or the record after; everything else on the disk is either named by it or litter.
"""

from __future__ import annotations

import enum
from typing import Literal

import msgspec

from edge_components.contract.release import ReleaseDocument
from edge_components.contract.state import Reason, State

MAX_RECORD_BYTES = 4 << 20


class Phase(enum.StrEnum):
    """How far an update has come; from ``ACTIVATE`` on the new version is the active one."""

    RELEASE = "release"
    PACKAGE = "package"
    FETCH = "fetch"
    HELD = "held"
    STAGE = "stage"
    CHECK = "check"
    ACTIVATE = "activate"
    SOAK = "soak"
    FALL_BACK = "fall-back"

    @property
    def is_switched(self) -> bool:
        """Whether the update is past the point where it can be canceled."""
        return self in _SWITCHED


_SWITCHED = {Phase.ACTIVATE, Phase.SOAK, Phase.FALL_BACK}


class _Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    pass


class Installed(_Part, frozen=True, kw_only=True, omit_defaults=True):
    """A version that stands whole in its folder and passed the golden check here."""

    number: int
    version: str
    package: str
    precision: str
    provider: str = ""


class Accepted(_Part, frozen=True, kw_only=True, omit_defaults=True):
    """The highest release that was ever accepted for an application."""

    number: int
    content: str


class Update(_Part, frozen=True, kw_only=True, omit_defaults=True):
    """An update in progress.

    Attributes:
        action: The provider's name for the order, for example a hawkBit action id.
        install: Whether it may go on after the download.
        precisions: Variants still to try, preferred first.
        soaks: How often a soak was begun.
        reason: Why the device falls back, in phase ``FALL_BACK``.
        waits: What a download waits for, in words, or "".
    """

    action: str
    phase: Phase = Phase.RELEASE
    install: bool = True
    release: ReleaseDocument | None = None
    precisions: tuple[str, ...] = ()
    soaks: int = 0
    reason: Reason = Reason.NONE
    detail: str = ""
    waits: str = ""


class Outcome(_Part, frozen=True, kw_only=True, omit_defaults=True):
    """How the last update ended; ``delivered`` once whoever ordered it knows."""

    action: str
    state: State
    reason: Reason = Reason.NONE
    detail: str = ""
    release: int = 0
    package: str = ""
    precision: str = ""
    delivered: bool = False


class Record(_Part, frozen=True, kw_only=True, omit_defaults=True):
    """Everything that a device has to remember.

    Attributes:
        active: The version that answers, or is meant to.
        previous: Good versions before it, newest first; the first is what to fall back to.
        highest: Per application, what a newer release has to exceed.
    """

    format: Literal["edgectl.device-record/v1"] = "edgectl.device-record/v1"
    active: Installed | None = None
    previous: tuple[Installed, ...] = ()
    update: Update | None = None
    highest: dict[str, Accepted] = {}
    outcome: Outcome | None = None

    def kept(self) -> tuple[Installed, ...]:
        """Return every version whose folder must stay."""
        return self.previous if self.active is None else (self.active, *self.previous)

"""hawkBit's answers as the management API's OpenAPI document names them; unknown keys are skipped.

Times are milliseconds since 1970 UTC.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


class Answer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The base of all answers."""


class Page(Answer, Generic[T], frozen=True, kw_only=True):
    """Some of a list; ``total`` counts all that the query finds."""

    content: list[T]
    total: int = 0


class PollStatus(Answer, frozen=True, kw_only=True):
    """Whether a device calls as often as the server expects."""

    overdue: bool = False


class TargetView(Answer, frozen=True, kw_only=True):
    """A device (hawkBit: target)."""

    controller_id: str
    name: str = ""
    update_status: str = "unknown"
    security_token: str = ""
    created_at: int | None = None
    last_modified_at: int | None = None
    last_controller_request_at: int | None = None
    installed_at: int | None = None
    poll_status: PollStatus | None = None


class TagView(Answer, frozen=True, kw_only=True):
    """A target tag."""

    id: int
    name: str
    description: str | None = None


class Hashes(Answer, frozen=True, kw_only=True):
    """What the server computed over an artifact."""

    sha256: str = ""


class ArtifactView(Answer, frozen=True, kw_only=True):
    """A file of a software module."""

    id: int
    hashes: Hashes = Hashes()
    provided_filename: str = ""
    size: int = 0


class ModuleView(Answer, frozen=True, kw_only=True):
    """A software module."""

    id: int
    name: str
    version: str
    vendor: str | None = None


class SetView(Answer, frozen=True, kw_only=True):
    """A distribution set."""

    id: int
    name: str
    version: str
    description: str | None = None
    created_at: int | None = None


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A HAL link."""

    href: str = ""


class ActionView(Answer, frozen=True, kw_only=True):
    """One assignment of a set to a device; ``status`` is ``pending`` while it is open."""

    id: int
    status: str = ""
    detail_status: str = ""
    links: dict[str, Link] = msgspec.field(name="_links", default_factory=dict)


class ActionStatus(Answer, frozen=True, kw_only=True):
    """One thing that a device or the server said about an action."""

    type: str = ""
    messages: list[str] = []
    code: int | None = None


class AssignmentView(Answer, frozen=True, kw_only=True):
    """What an assignment did."""

    assigned: int = 0
    already_assigned: int = 0
    total: int = 0


class ConfigValue(Answer, frozen=True, kw_only=True):
    """One value of the tenant's configuration."""

    value: bool | str | int | None = None

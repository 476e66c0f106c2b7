"""What devices send, beside feedback on actions."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Text = Annotated[str, msgspec.Meta(max_length=256)]


class ConfigData(msgspec.Struct, frozen=True, kw_only=True):
    """A device's attributes; merged unless it says otherwise."""

    data: dict[str, str | None]
    mode: Literal["merge", "replace", "remove"] | None = None


class AssignedVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A distribution set that a device installed by itself."""

    name: Text
    version: Text


class ConfirmationFeedback(msgspec.Struct, frozen=True, kw_only=True):
    """A device's answer to the question whether it may be updated."""

    confirmation: Literal["confirmed", "denied"]
    code: Annotated[int, msgspec.Meta(ge=-(1 << 31), lt=1 << 31)] | None = None
    details: list[str] | None = None


class AutoConfirm(msgspec.Struct, frozen=True, kw_only=True):
    """Who lets every update through, and why."""

    initiator: Text | None = None
    remark: Annotated[str, msgspec.Meta(max_length=512)] | None = None

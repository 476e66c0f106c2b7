"""What operators send; lengths and words are checked while reading, unknown keys are left out."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Version = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Key = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Text = Annotated[str, msgspec.Meta(max_length=512)]
LongText = Annotated[str, msgspec.Meta(max_length=4000)]
Short = Annotated[str, msgspec.Meta(max_length=64)]
Token = Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern="^[!-~]*$")]
Filter = Annotated[str, msgspec.Meta(max_length=8192)]
Id = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]
Millis = Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]
Weight = Annotated[int, msgspec.Meta(ge=0, le=1000)]
ForceType = Literal["soft", "forced", "timeforced", "downloadonly"]


class _Body(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    pass


class TargetPost(_Body, frozen=True, kw_only=True):
    """A new target."""

    controller_id: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    name: Name | None = None
    description: Text | None = None
    address: Text | None = None
    security_token: Token | None = None
    request_attributes: bool | None = None
    target_type: Id | None = None


class TargetPut(_Body, frozen=True, kw_only=True):
    """Changes of a target."""

    name: Name | None = None
    description: Text | None = None
    address: Text | None = None
    security_token: Token | None = None
    request_attributes: bool | None = None
    target_type: int | None = None


class IdBody(_Body, frozen=True, kw_only=True):
    """A reference."""

    id: Id


class MaintenanceWindow(_Body, frozen=True, kw_only=True):
    """When a device may install; not supported, and refused."""

    schedule: Short | None = None
    duration: Short | None = None
    timezone: Short | None = None


class SetAssignment(_Body, frozen=True, kw_only=True):
    """A set for a target."""

    id: Id
    type: ForceType = "forced"
    forcetime: Millis | None = None
    weight: Weight | None = None
    confirmation_required: bool | None = None
    maintenance_window: MaintenanceWindow | None = None


class TargetAssignment(_Body, frozen=True, kw_only=True):
    """A target for a set."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    type: ForceType = "forced"
    forcetime: Millis | None = None
    weight: Weight | None = None
    confirmation_required: bool | None = None
    maintenance_window: MaintenanceWindow | None = None


class ActionPut(_Body, frozen=True, kw_only=True):
    """Change of an action."""

    force_type: ForceType | None = None


class MetadataPost(_Body, frozen=True, kw_only=True):
    """A new metadata entry."""

    key: Key
    value: LongText | None = None
    target_visible: bool = False


class MetadataPut(_Body, frozen=True, kw_only=True):
    """A metadata entry's new value."""

    value: LongText | None = None
    target_visible: bool | None = None


class TagBody(_Body, frozen=True, kw_only=True):
    """A tag, new or changed."""

    name: Name | None = None
    description: Text | None = None
    colour: Annotated[str, msgspec.Meta(max_length=16)] | None = None


class FilterBody(_Body, frozen=True, kw_only=True):
    """A target filter, new or changed."""

    name: Name | None = None
    query: Filter | None = None


class AutoAssignment(_Body, frozen=True, kw_only=True):
    """The set that a filter's matches get."""

    id: Id
    type: ForceType = "forced"
    weight: Weight | None = None
    confirmation_required: bool | None = None


class TypePost(_Body, frozen=True, kw_only=True):
    """A new type of modules, sets or targets."""

    name: Name
    key: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None
    description: Text | None = None
    colour: Annotated[str, msgspec.Meta(max_length=16)] | None = None
    max_assignments: Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)] = 1
    mandatorymodules: list[IdBody] = []
    optionalmodules: list[IdBody] = []
    compatibledistributionsettypes: list[IdBody] = []


class TypePut(_Body, frozen=True, kw_only=True):
    """Changes of a type."""

    name: Name | None = None
    description: Text | None = None
    colour: Annotated[str, msgspec.Meta(max_length=16)] | None = None


class ModulePost(_Body, frozen=True, kw_only=True):
    """A new software module."""

    name: Name
    version: Version
    type: Short
    description: Text | None = None
    vendor: Annotated[str, msgspec.Meta(max_length=256)] | None = None
    encrypted: bool = False


class ModulePut(_Body, frozen=True, kw_only=True):
    """Changes of a software module."""

    description: Text | None = None
    vendor: Annotated[str, msgspec.Meta(max_length=256)] | None = None
    locked: bool | None = None


class SetPost(_Body, frozen=True, kw_only=True):
    """A new distribution set."""

    name: Name
    version: Version
    type: Short | None = None
    description: Text | None = None
    required_migration_step: bool = False
    modules: list[IdBody] = []


class SetPut(_Body, frozen=True, kw_only=True):
    """Changes of a distribution set."""

    name: Name | None = None
    version: Version | None = None
    description: Text | None = None
    required_migration_step: bool | None = None
    locked: bool | None = None


class Invalidation(_Body, frozen=True, kw_only=True):
    """What an invalidated set takes with it."""

    action_cancelation_type: Literal["soft", "force", "none"]
    cancel_rollouts: bool = False


class Condition(_Body, frozen=True, kw_only=True):
    """A threshold in percent."""

    condition: Literal["THRESHOLD"] = "THRESHOLD"
    expression: Short = "100"


class SuccessAction(_Body, frozen=True, kw_only=True):
    """What a group that succeeded does."""

    action: Literal["NEXTGROUP", "PAUSE"] = "NEXTGROUP"
    expression: Text | None = None


class ErrorAction(_Body, frozen=True, kw_only=True):
    """What a group that failed does."""

    action: Literal["PAUSE"] = "PAUSE"
    expression: Text | None = None


class GroupBody(_Body, frozen=True, kw_only=True):
    """A deploy group."""

    name: Name
    description: Text | None = None
    target_filter_query: Filter = ""
    target_percentage: Annotated[float, msgspec.Meta(gt=0, le=100)] = 100.0
    success_condition: Condition | None = None
    success_action: SuccessAction | None = None
    error_condition: Condition | None = None
    error_action: ErrorAction | None = None
    confirmation_required: bool | None = None


class RolloutPost(_Body, frozen=True, kw_only=True):
    """A new rollout: ``amount_groups`` equal groups, or ``groups`` one by one."""

    name: Name
    distribution_set_id: Id
    target_filter_query: Filter
    description: Text | None = None
    type: ForceType = "forced"
    forcetime: Millis | None = None
    start_at: Millis | None = None
    weight: Weight | None = None
    amount_groups: int | None = None
    groups: list[GroupBody] | None = None
    success_condition: Condition | None = None
    success_action: SuccessAction | None = None
    error_condition: Condition | None = None
    error_action: ErrorAction | None = None
    confirmation_required: bool | None = None
    dynamic: bool = False


class RolloutPut(_Body, frozen=True, kw_only=True):
    """Changes of a rollout."""

    name: Name
    description: Text | None = None


class SettingBody(_Body, frozen=True, kw_only=True):
    """A setting's new value."""

    value: bool | int | str


def given(values: dict[str, str | int | float | None]) -> dict[str, str | int | float | None]:
    """Return the columns that were sent; a key that was left out changes nothing."""
    return {key: value for key, value in values.items() if value is not None}

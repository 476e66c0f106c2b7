"""Who owns which fields: ``managedFields`` through updates and server-side apply.

Each manager has an entry by name, operation, version and subresource. An update takes over what it
changes. An apply owns what it sets, gives up what it set before, and conflicts with others where
it would change what they own, unless it is forced. Times stay where the ownership stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from edgectl_gke_edge.emulator.kube.errors import Cause, Json, StatusError, apply_conflict
from edgectl_gke_edge.emulator.kube.fieldsets import (
    EMPTY,
    FieldSet,
    Path,
    from_fields_v1,
    path_of,
    to_fields_v1,
    told,
)
from edgectl_gke_edge.emulator.kube.schema import Struct
from edgectl_gke_edge.emulator.kube.structured import (
    StructureError,
    compare,
    field_set,
    merge,
    prune,
)

NEVER_OWNED = {
    path_of("apiVersion"),
    path_of("kind"),
    path_of("metadata"),
    *(
        path_of("metadata", name)
        for name in (
            "name",
            "namespace",
            "creationTimestamp",
            "selfLink",
            "uid",
            "generation",
            "managedFields",
            "resourceVersion",
        )
    ),
}


@dataclass(frozen=True)
class Manager:
    """One entry's identity; an applier keeps its identity over versions."""

    name: str
    operation: str
    api_version: str
    subresource: str = ""

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """What tells two entries apart."""
        version = "" if self.operation == "Apply" else self.api_version
        return self.name, self.operation, version, self.subresource

    def told(self) -> str:
        """Name the manager as conflicts do."""
        text = f'"{self.name}"'
        if self.subresource:
            text += f' with subresource "{self.subresource}"'
        return text if self.operation == "Apply" else f"{text} using {self.api_version}"


Owned = dict[Manager, FieldSet]


def read_owned(stored: Iterable[Json]) -> Owned:
    """Read an object's ``managedFields``."""
    return {
        Manager(
            entry.get("manager", ""),
            entry.get("operation", ""),
            entry.get("apiVersion", ""),
            entry.get("subresource", ""),
        ): from_fields_v1(entry.get("fieldsV1", {}))
        for entry in stored
    }


def write_owned(owned: Owned, before: list[Json], now: str) -> list[Json]:
    """Write ``managedFields``; an entry that did not change keeps its time."""
    times = dict(zip(read_owned(before), before, strict=True))
    entries = []
    for manager, fields in owned.items():
        stored = to_fields_v1(fields)
        old = times.get(manager)
        kept = old is not None and old.get("fieldsV1") == stored
        entry = {
            "manager": manager.name,
            "operation": manager.operation,
            "apiVersion": manager.api_version,
            "time": old["time"] if old is not None and kept else now,
            "fieldsType": "FieldsV1",
            "fieldsV1": stored,
        }
        entries.append(
            {**entry, "subresource": manager.subresource} if manager.subresource else entry
        )
    return sorted(entries, key=lambda e: (e["operation"], e["time"], e["manager"]))


def after_update(old: Json, new: Json, schema: Struct, manager: Manager, reset: str) -> Owned:
    """Return who owns what after an update (create, replace, patch but apply).

    Args:
        old: The live object without ``managedFields``; empty for a create.
        new: The object as it will be stored, without ``managedFields``.
        schema: The kind's shape.
        manager: Who updates.
        reset: The field that this endpoint never writes (``status`` or ``spec``), or "".
    """
    owned = read_owned(old.get("metadata", {}).get("managedFields", []))
    change = compare(_bare(old), _bare(new), schema)
    touched = _relevant(change.added | change.modified, reset)
    result: Owned = {}
    for other, fields in owned.items():
        mine = other.identity == manager.identity
        kept = fields - change.removed
        result[other] = kept if mine else kept - touched
    result[manager] = result.get(manager, EMPTY) | touched
    return {owner: fields for owner, fields in result.items() if fields}


def after_apply(
    live: Json, applied: Json, schema: Struct, manager: Manager, *, reset: str, force: bool
) -> tuple[Json, Owned]:
    """Merge an applied object; return the merged one and who owns what then.

    Raises:
        StatusError: 409 with one cause for each field that somebody else owns.
        StructureError: The applied object's lists cannot be merged.
    """
    owned = read_owned(live.get("metadata", {}).get("managedFields", []))
    before = next((o for o in owned if o.identity == manager.identity), None)
    last = owned.pop(before, EMPTY) if before else EMPTY
    bare_live, bare = _bare(live), _bare(applied)
    owned[manager] = _relevant(field_set(bare, schema), reset)
    merged = merge(bare_live, bare, schema)
    everyone = frozenset().union(*owned.values())
    merged = prune(merged, schema, last, everyone)
    change = compare(bare_live, merged, schema)
    touched = _relevant(change.added | change.modified, reset)
    others = {o: fields & touched for o, fields in owned.items() if o is not manager}
    conflicts = {o: fields for o, fields in others.items() if fields}
    if conflicts and not force:
        raise conflict_error(conflicts)
    result = {o: fields - others.get(o, EMPTY) for o, fields in owned.items()}
    result = {o: f if o is manager else f - change.removed for o, f in result.items()}
    return merged, {owner: fields for owner, fields in result.items() if fields}


def conflict_error(conflicts: dict[Manager, FieldSet]) -> StatusError:
    """Word a conflict: manager and path for each field."""
    found = sorted(
        ((manager.told(), told(path)) for manager, fields in conflicts.items() for path in fields)
    )
    causes = [
        Cause("FieldManagerConflict", f"conflict with {manager}", path) for manager, path in found
    ]
    if len(found) == 1:
        manager, path = found[0]
        return apply_conflict(
            f"Apply failed with 1 conflict: conflict with {manager}: {path}", causes
        )
    lines: list[str] = []
    for name in sorted({manager for manager, _ in found}):
        lines.append(f"conflicts with {name}:")
        lines += [f"- {path}" for manager, path in found if manager == name]
    message = f"Apply failed with {len(found)} conflicts: " + "\n".join(lines)
    return apply_conflict(message, causes)


def manager_name(field_manager: str | None, user_agent: str) -> str:
    """Name the manager of a request: as it says, or the first word of its user agent."""
    return (field_manager or user_agent.split("/", 1)[0])[:128] or "unknown"


def _relevant(fields: FieldSet, reset: str) -> FieldSet:
    def is_reset(path: Path) -> bool:
        return bool(reset) and path[:1] == path_of(reset)

    return frozenset(p for p in fields if p and p not in NEVER_OWNED and not is_reset(p))


def _bare(obj: Json) -> dict[str, Any]:
    metadata = {k: v for k, v in obj.get("metadata", {}).items() if k != "managedFields"}
    return {**obj, "metadata": metadata} if "metadata" in obj else dict(obj)


__all__ = [
    "Manager",
    "Owned",
    "StructureError",
    "after_apply",
    "after_update",
    "conflict_error",
    "manager_name",
    "read_owned",
    "write_owned",
]

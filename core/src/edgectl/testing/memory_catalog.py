"""Which virtual devices there are, which of them a target finds, and in what pages.

Selectors have two keys: ``labels``, of which all have to agree, and ``ids``. Devices stand in the
order of their ids, and a page begins behind the last id of the page before it, so devices that
come and go meanwhile neither hide nor double others.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable

import msgspec

from edge_components.contract.jsonio import canonical_json
from edgectl.errors import NotFoundError, ProjectError
from edgectl.records import Target
from edgectl.testing.memory_fleet import FleetState, MemoryDevice

SELECTOR_KEYS = ("labels", "ids")


class Selection(msgspec.Struct, frozen=True):
    """The devices that a target finds, in order."""

    names: list[str]
    devices: dict[str, MemoryDevice]

    def page(self, cursor: str, size: int) -> tuple[list[str], str]:
        """Return the names of a page, and the cursor of the next one or ""."""
        start = bisect.bisect_right(self.names, cursor) if cursor else 0
        names = self.names[start : start + size]
        return names, names[-1] if start + size < len(self.names) else ""

    def only(self, wanted: Iterable[str] | None) -> Selection:
        """Return the selection without the devices that are not wanted; None wants all."""
        if wanted is None:
            return self
        return Selection(sorted(name for name in set(wanted) if name in self.devices), self.devices)

    def require(self, wanted: Iterable[str]) -> None:
        """Check that all these devices are there.

        Raises:
            NotFoundError: Some are not.
        """
        missing = [name for name in wanted if name not in self.devices]
        if missing:
            shown = ", ".join(f"'{name}'" for name in missing[:3])
            more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            raise NotFoundError(f"the target has no device {shown}{more}")


class Catalog:
    """All virtual devices: the configured ones, and those that came or went since."""

    def __init__(self, configured: Iterable[MemoryDevice]) -> None:
        self._configured = {device.id: device for device in configured}
        self._cache: dict[bytes, tuple[int, Selection]] = {}

    def select(self, state: FleetState, target: Target) -> Selection:
        """Return the devices that the target finds.

        Raises:
            ProjectError: The selector has another form.
        """
        key = canonical_json(target.selector)
        generation, selection = self._cache.get(key, (-1, None))
        if selection is None or generation != state.generation:
            selection = self._find(state, target)
            self._cache[key] = (state.generation, selection)
        return selection

    def add(self, state: FleetState, device: MemoryDevice) -> None:
        """Make a device known, or known anew."""
        state.enrolled[device.id] = device
        state.retired = [name for name in state.retired if name != device.id]
        state.generation += 1

    def remove(self, state: FleetState, name: str) -> None:
        """Forget a device."""
        state.enrolled.pop(name, None)
        if name in self._configured:
            state.retired.append(name)
        state.generation += 1

    def _find(self, state: FleetState, target: Target) -> Selection:
        labels, ids = selector_of(target)
        everything = {**self._configured, **state.enrolled}
        for name in state.retired:
            everything.pop(name, None)
        names = sorted(
            name
            for name, device in everything.items()
            if (ids is None or name in ids)
            and all(device.labels.get(key) == value for key, value in labels.items())
        )
        return Selection(names, {name: everything[name] for name in names})


def selector_of(target: Target) -> tuple[dict[str, str], frozenset[str] | None]:
    """Return a selector's labels, and its ids or None for any.

    Raises:
        ProjectError: It has another key, or a value of another form.
    """
    for key in target.selector:
        if key not in SELECTOR_KEYS:
            raise ProjectError(
                f"targets.{target.name}.selector: unknown key '{key}'",
                hint=f"provider 'memory' knows {', '.join(SELECTOR_KEYS)}",
            )
    labels, ids = target.selector.get("labels", {}), target.selector.get("ids")
    if not isinstance(labels, dict):
        raise ProjectError(f"targets.{target.name}.selector.labels: expected names and values")
    if ids is not None and not isinstance(ids, list):
        raise ProjectError(f"targets.{target.name}.selector.ids: expected a list of device ids")
    return labels, None if ids is None else frozenset(ids)

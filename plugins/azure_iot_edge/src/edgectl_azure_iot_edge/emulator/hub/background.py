"""The hub's own work, in one thread woken by changes: assign deployments, count metrics."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from edgectl_azure_iot_edge.emulator.hub import assignment, metrics
from edgectl_azure_iot_edge.emulator.hub.configurations import Configuration, Configurations
from edgectl_azure_iot_edge.emulator.hub.errors import HubError
from edgectl_azure_iot_edge.emulator.hub.identity import MANAGED, SYSTEM_MODULES
from edgectl_azure_iot_edge.emulator.hub.index import Index
from edgectl_azure_iot_edge.emulator.hub.query.evaluate import matches, run
from edgectl_azure_iot_edge.emulator.hub.query.lexer import QueryError
from edgectl_azure_iot_edge.emulator.hub.query.parser import parse_condition, parse_query
from edgectl_azure_iot_edge.emulator.hub.query.tree import Expression
from edgectl_azure_iot_edge.emulator.hub.registry import DeviceEntry, Entry, Registry
from edgectl_azure_iot_edge.emulator.hub.settings import HubSettings
from edgectl_azure_iot_edge.emulator.hub.twin import Json

log = logging.getLogger(__name__)

_REST = 9.0
"""How many times as long as a count took, nothing is counted."""


class Background:
    """Assigns and counts.

    Args:
        registry: The devices.
        configurations: What is to be assigned.
        index: What metrics are counted from.
        settings: How soon.

    Attributes:
        settled: Called from time to time after changes.
    """

    def __init__(
        self,
        registry: Registry,
        configurations: Configurations,
        index: Index,
        settings: HubSettings,
    ) -> None:
        self._registry = registry
        self._configurations = configurations
        self._index = index
        self._settings = settings
        self._wanted = threading.Event()
        self._stopping = threading.Event()
        self._counted = -1
        self.settled: Callable[[], None] = lambda: None
        self._for_all = True
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; there is a first round at once."""
        self._thread = threading.Thread(target=self._run, name="hub-background", daemon=True)
        self._wanted.set()
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopping.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join()

    def wake(self) -> None:
        """Look at all devices, after the time that the hub takes: deployments changed."""
        self._for_all = True
        self._wanted.set()

    def wake_for_changes(self) -> None:
        """Look at the devices that changed, after the same time."""
        self._wanted.set()

    def _run(self) -> None:
        count_at = time.monotonic()
        while not self._stopping.is_set():
            woken = self._wanted.wait(max(count_at - time.monotonic(), 0.05))
            if woken:
                self._stopping.wait(self._settings.background_s)
                self._wanted.clear()
                try:
                    self._assign_changed()
                except Exception:
                    log.exception("deployments cannot be assigned")
                    self._for_all = True
            if time.monotonic() >= count_at:
                began = time.monotonic()
                self._count_when_changed()
                ended = time.monotonic()
                # Of ten thousand devices a count takes seconds, in which nobody else gets far.
                count_at = ended + max(self._settings.metrics_s, (ended - began) * _REST)

    def _count_when_changed(self) -> None:
        revision = self._registry.revision
        if revision == self._counted:
            return
        try:
            self.count()
            self.settled()
        except Exception:
            log.exception("metrics cannot be counted")
        self._counted = revision

    def assign(self) -> None:
        """Do one round: each device gets what the deployments of now make of it."""
        self._for_all = True
        self._assign_changed()

    def _assign_changed(self) -> None:
        registry = self._registry
        with registry.lock:
            wanted = [(c, _condition(c)) for c in self._configurations.all.values()]
            registry.reports_matter = any(_looks_at_reports(c) for c, _ in wanted)
            names = registry.devices if self._for_all else registry.changed_devices
            found = [registry.devices[name] for name in names if name in registry.devices]
            seen = [(device, _document(device)) for device in found]
            registry.changed_devices = set()
            self._for_all = False
        for device, document in seen:
            fitting = [c for c, condition in wanted if _targets(c, condition, device, document)]
            with registry.lock:
                if registry.devices.get(device.identity.device_id) is device:
                    self._give(device, fitting)

    def count(self) -> None:
        """Count all metrics."""
        with self._registry.lock:
            all_of = list(self._configurations.all.values())
            of_edge = metrics.count_edge(self._registry.devices.values())
        for configuration in all_of:
            own = self._numbers(configuration.metrics)
            if configuration.is_edge:
                system = of_edge.get(configuration.id, metrics.NOTHING)
            else:
                system = self._numbers(configuration.system_queries())
            with self._registry.lock:
                configuration.system_results, configuration.results = dict(system), own

    def _numbers(self, queries: Mapping[str, str]) -> dict[str, int]:
        found = {}
        for name, text in queries.items():
            try:
                query = parse_query(text)
            except QueryError:  # a target condition that no query can hold
                continue
            documents = self._index.documents(query.collection)
            found[name] = sum(1 for _ in run(query, documents))
        return found

    def _give(self, device: DeviceEntry, fitting: list[Configuration]) -> None:
        if device.identity.iot_edge:
            self._give_edge(device, fitting)
        self._give_device(device, [c for c in fitting if c.content.get("deviceContent")])
        for module in device.modules.values():
            chosen = [c for c in self._module_ones() if _takes_module(c, module)]
            if chosen and module.identity.module_id not in SYSTEM_MODULES:
                self._give_paths(module, chosen, "moduleContent")

    def _module_ones(self) -> list[Configuration]:
        found = self._configurations.all.values()
        return [c for c in found if c.content.get("moduleContent")]

    def _give_edge(self, device: DeviceEntry, fitting: list[Configuration]) -> None:
        given = assignment.assign(fitting)
        statuses = dict(given.statuses)
        if given.desired is not None:
            try:
                self._write_modules(device, given)
            except HubError as exc:
                log.warning("'%s' cannot be assigned: %s", device.identity.device_id, exc)
                statuses = dict.fromkeys(statuses, assignment.TARGETED)
        named = {c.id: c.modules for c in fitting}
        for name, module in device.modules.items():
            mine = {key: status for key, status in statuses.items() if name in named[key]}
            if module.twin.configurations != mine:
                module.twin.configurations = mine
                self._registry.revision += 1

    def _write_modules(self, device: DeviceEntry, given: assignment.Assignment) -> None:
        for name in sorted(given.modules):
            self._registry.manage_module(device, name)
        for name in [n for n, m in device.modules.items() if m.identity.managed_by == MANAGED]:
            if name not in given.modules and name not in SYSTEM_MODULES:
                self._registry.drop_module(device, name)
        for name, module in device.modules.items():
            paths = given.paths.get(name, {})
            wanted: Json = {"paths": {".".join(path): value for path, value in paths.items()}}
            if name in (given.desired or {}):
                wanted["whole"] = (given.desired or {})[name]
            if device.assigned.get(name, {"paths": {}}) == wanted:
                continue
            after = wanted.get("whole", module.twin.desired.values)
            for path, value in paths.items():
                after = assignment.with_value(after, path, value)
            if after != module.twin.desired.values:
                self._registry.set_desired(module, after)
                _written(module)
            device.assigned[name] = wanted

    def _give_device(self, device: DeviceEntry, chosen: list[Configuration]) -> None:
        self._give_paths(device, chosen, "deviceContent")

    def _give_paths(self, entry: Entry, chosen: Iterable[Configuration], kind: str) -> None:
        ranked = sorted(chosen, key=assignment.rank)
        after = entry.twin.desired.values
        for configuration in ranked:
            for key, value in configuration.content[kind].items():
                path = tuple(key.removeprefix("properties.desired").strip(".").split("."))
                after = value if path == ("",) else assignment.with_value(after, path, value)
        if after != entry.twin.desired.values:
            self._registry.set_desired(entry, after)
            _written(entry)
        statuses = {c.id: assignment.APPLIED for c in ranked}
        if entry.twin.configurations != statuses:
            entry.twin.configurations = statuses
            self._registry.revision += 1


def _written(entry: Entry) -> None:
    entry.twin.counter += 1
    entry.twin.version += 1


def _document(device: DeviceEntry) -> Json:
    twin = device.twin
    return {
        "deviceId": device.identity.device_id,
        "tags": twin.tags,
        "properties": {"reported": twin.reported.values},
    }


def _looks_at_reports(configuration: Configuration) -> bool:
    return "reported" in configuration.target_condition


def _condition(configuration: Configuration) -> Expression | None:
    text = configuration.target_condition.strip()
    if text in {"", "*"} or configuration.content.get("moduleContent"):
        return None
    return parse_condition(text)


def _targets(
    configuration: Configuration,
    condition: Expression | None,
    device: DeviceEntry,
    document: Mapping[str, Any],
) -> bool:
    if configuration.content.get("moduleContent") or not configuration.target_condition.strip():
        return False
    if configuration.is_edge != device.identity.iot_edge and configuration.is_edge:
        return False
    return matches(condition, document)


def _takes_module(configuration: Configuration, module: Entry) -> bool:
    text = configuration.target_condition.strip()
    head = "from devices.modules where"
    if text.lower().startswith(head):
        text = text[len(head) :].strip()
    if not text:
        return False
    document = {
        "deviceId": module.identity.device_id,
        "moduleId": module.identity.module_id,
        "tags": module.twin.tags,
        "properties": {"reported": module.twin.reported.values},
    }
    return text == "*" or matches(parse_condition(text), document, "devices.modules")

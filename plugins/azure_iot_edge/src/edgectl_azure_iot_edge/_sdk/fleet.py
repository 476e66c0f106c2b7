"""What edgeAgents and our modules say, asked for in few queries.

Only devices are asked again and again that have not settled; others as far as there is room in
the same query, and now and then. Everything is forgotten with the process: the hub is the only
memory.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any

from edgectl.api import ModuleReport, Record
from edgectl_azure_iot_edge import queries
from edgectl_azure_iot_edge._sdk.hub import Hub
from edgectl_azure_iot_edge._sdk.members import EdgeDevice, Members, read_time
from edgectl_azure_iot_edge.names import AGENT, Given, module_name
from edgectl_azure_iot_edge.states import Agent, read_agent, read_module_report

SETTLED_S = 30.0
"""How long a settled device is not asked again, where a query has no room for it."""

Clock = Callable[[], float]


class Words(Record, frozen=True, kw_only=True):
    """What edgeAgent and our module of a device say.

    Attributes:
        at: When it was read, by the fleet's clock.
    """

    agent: Agent
    report: ModuleReport | None
    at: float


class Fleet:
    """The devices of a target for one application; shared by everything in this process.

    Args:
        hub: Where they are.
        members: The target's devices.
        application: Whose tag and module are read.
        clock: Seconds, never going back.
    """

    def __init__(
        self, hub: Hub, members: Members, application: str, clock: Clock = time.monotonic
    ) -> None:
        self.hub = hub
        self.members = members
        self.target = members.target
        self.selector = members.selector
        self.application = application
        self.module = module_name(application)
        self._clock = clock
        self._lock = threading.RLock()
        self._words: dict[str, Words] = {}
        self._settled: set[str] = set()
        self._layers: set[int] = set()
        self._seen: set[object] = set()

    def given(self, device: EdgeDevice) -> Given:
        """Return what a device's tag says."""
        return device.given(self.application)

    def note(self, device: str, given: Given | None, etag: str) -> None:
        """Remember what we wrote into a device's tag."""
        self.members.note(device, self.application, given, etag)
        with self._lock:
            self._settled.discard(device)
            self._words.pop(device, None)

    def settle(self, device: str, *, settled: bool) -> None:
        """Remember whether a device will not move on by itself."""
        with self._lock:
            if settled:
                self._settled.add(device)
            else:
                self._settled.discard(device)

    def has_layer(self, number: int) -> bool:
        """Whether a release's deployment is known to be in the hub."""
        return number in self._layers

    def note_layer(self, number: int) -> None:
        """Remember that a release's deployment is in the hub."""
        self._layers.add(number)

    def forget_layers(self) -> None:
        """Have all deployments looked for anew."""
        self._layers.clear()

    def first_time(self, what: object) -> bool:
        """Whether this is asked for the first time."""
        with self._lock:
            if what in self._seen:
                return False
            self._seen.add(what)
            return True

    def words(self, devices: Collection[str], *, all_of_them: bool = False) -> dict[str, Words]:
        """Return what edgeAgents and modules of devices say.

        Args:
            devices: Whose.
            all_of_them: Whether each has to be asked now.
        """
        with self._lock:
            wanted = sorted(devices) if all_of_them else self._to_ask(devices)
            rows = [
                row
                for text in queries.modules(wanted, self.module)
                for row in self.hub.query(text, f"ask the devices of target '{self.target.name}'")
            ]
            self._take(wanted, rows)
            return {device: self._words[device] for device in devices if device in self._words}

    def _to_ask(self, devices: Collection[str]) -> list[str]:
        """Return who is asked now: who has not settled, and others as far as there is room."""
        now = self._clock()
        asked: list[str] = []
        rest: list[str] = []
        for device in sorted(devices):
            known = self._words.get(device)
            old = known is None or now - known.at > SETTLED_S
            (asked if old or device not in self._settled else rest).append(device)
        for_asked = len(list(queries.modules(asked, self.module)))
        if len(list(queries.modules([*asked, *rest], self.module))) <= max(for_asked, 1):
            return [*asked, *rest]
        return asked

    def _take(self, asked: Iterable[str], rows: Iterable[dict[str, Any]]) -> None:
        agents: dict[str, Agent] = {}
        reports: dict[str, ModuleReport | None] = {}
        for row in rows:
            device = str(row.get("deviceId", ""))
            if row.get("moduleId") == AGENT:
                agents[device] = read_agent(row, read_time(row.get("lastActivityTime")))
            else:
                reports[device] = read_module_report(row)
        now = self._clock()
        for device in asked:
            self._words[device] = Words(
                agent=agents.get(device, Agent()), report=reports.get(device), at=now
            )

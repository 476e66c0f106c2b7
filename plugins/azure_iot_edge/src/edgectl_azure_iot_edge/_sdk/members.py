"""The devices of a target, asked for in one query and remembered for a moment.

Twenty queries a minute are all that a hub's unit takes, and a page of a query is one. Only who
drives a rollout writes its tags, so the list is asked for now and then, and what we write
ourselves is noted: a query may tell it only later (iot-hub-devguide-query-language).
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from edgectl.api import Record, Target
from edgectl_azure_iot_edge import queries
from edgectl_azure_iot_edge._sdk.hub import Hub
from edgectl_azure_iot_edge.names import HARDWARE_TAG, Given, given_tags, read_given
from edgectl_azure_iot_edge.selector import Selector, read_selector

DEVICES_S = 10.0
"""How long the list of devices is taken as it was read."""
NOTED_S = 60.0
"""How long what we wrote counts before what a query says otherwise."""
_NO_TIME = "0001-01-01"
_FRACTION = re.compile(r"\.(\d+)")

Clock = Callable[[], float]


class EdgeDevice(Record, frozen=True, kw_only=True):
    """A device of the target, as its twin says.

    Attributes:
        etag: Of the twin when it was read or written last.
        tags: All of them.
        last_activity: When it was heard of last, seconds since 1970 UTC, or None.
    """

    id: str
    etag: str
    tags: dict[str, Any]
    last_activity: float | None = None

    @property
    def hardware(self) -> str | None:
        """Its hardware profile, where its tags say one."""
        found = self.tags.get(HARDWARE_TAG)
        return found if isinstance(found, str) else None

    def given(self, application: str) -> Given:
        """Return what its tag says of an application."""
        return read_given(self.tags, application)


class _Noted(Record, frozen=True, kw_only=True):
    """What we wrote: application → what was given; the twin's ETag after it; when."""

    given: dict[str, Given | None]
    etag: str
    at: float


class Members:
    """The devices of a target; shared by everything in this process.

    Args:
        hub: Where they are.
        target: The target.
        clock: Seconds, never going back.
    """

    def __init__(self, hub: Hub, target: Target, clock: Clock = time.monotonic) -> None:
        self.target = target
        self.selector: Selector = read_selector(target)
        self._hub = hub
        self._clock = clock
        self._lock = threading.RLock()
        self._devices: dict[str, EdgeDevice] = {}
        self._noted: dict[str, _Noted] = {}
        self._read_at: float | None = None

    def all(self, *, fresh: bool = False) -> dict[str, EdgeDevice]:
        """Return the target's devices by id.

        Args:
            fresh: Whether the hub has to be asked now.
        """
        with self._lock:
            if fresh or self._read_at is None or self._clock() - self._read_at > DEVICES_S:
                self._read()
            return dict(self._devices)

    def find(self, ids: tuple[str, ...]) -> dict[str, EdgeDevice]:
        """Return those of these devices that are there, asking anew where one is not known."""
        known = self.all()
        if any(one not in known for one in ids):
            known = self.all(fresh=True)
        return {one: known[one] for one in ids if one in known}

    def note(self, device: str, application: str, given: Given | None, etag: str) -> None:
        """Remember what we wrote into a device's tag."""
        with self._lock:
            before = self._noted.get(device)
            noted = _Noted(
                given={**(before.given if before else {}), application: given},
                etag=etag,
                at=self._clock(),
            )
            self._noted[device] = noted
            if device in self._devices:
                self._devices[device] = _with(self._devices[device], noted)

    def forget(self) -> None:
        """Have the devices asked for anew when they are asked for next."""
        with self._lock:
            self._read_at = None

    def _read(self) -> None:
        rows = self._hub.query(
            queries.devices(self.selector), f"list the devices of target '{self.target.name}'"
        )
        now = self._clock()
        self._noted = {d: n for d, n in self._noted.items() if now - n.at < NOTED_S}
        found = {}
        for device in sorted(map(read_device, rows), key=lambda one: one.id):
            noted = self._noted.get(device.id)
            if noted is not None and _agrees(device, noted):
                del self._noted[device.id]
                noted = None
            found[device.id] = device if noted is None else _with(device, noted)
        self._devices, self._read_at = found, now


def _agrees(device: EdgeDevice, noted: _Noted) -> bool:
    return all(device.given(app) == (given or Given()) for app, given in noted.given.items())


def _with(device: EdgeDevice, noted: _Noted) -> EdgeDevice:
    tags = device.tags
    for application, given in noted.given.items():
        tags = given_tags(tags, application, given)
    return msgspec.structs.replace(device, tags=tags, etag=noted.etag)


def read_device(row: dict[str, Any]) -> EdgeDevice:
    """Read a row of a query over devices."""
    tags = row.get("tags")
    return EdgeDevice(
        id=str(row["deviceId"]),
        etag=str(row.get("etag") or ""),
        tags=dict(tags) if isinstance(tags, dict) else {},
        last_activity=read_time(row.get("lastActivityTime")),
    )


def read_time(text: object) -> float | None:
    """Read one of the hub's times; None for the one that means never."""
    if not isinstance(text, str) or not text or text.startswith(_NO_TIME):
        return None
    # The hub writes seven digits of a second, which Python 3.11 takes up to six of.
    plain = _FRACTION.sub(lambda match: f".{match[1][:6]}", text.replace("Z", "+00:00"))
    try:
        found = datetime.fromisoformat(plain)
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()

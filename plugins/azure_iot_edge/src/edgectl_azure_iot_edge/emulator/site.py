"""What the rooms of an emulated subscription share: folder, certificates, tokens, events, clock."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import msgspec

from edgectl.api import ProviderError
from edgectl.emulation import Authority, Calls, Faults
from edgectl_azure_iot_edge.emulator.directory import Directory
from edgectl_azure_iot_edge.emulator.events import EventLog
from edgectl_azure_iot_edge.emulator.place import Place
from edgectl_azure_iot_edge.emulator.rooms import FaultError, Room

TENANT = "00000000-0000-4000-8000-0000000000e2"
LOCATION = "westeurope"

_PORTS = "ports.json"
_Room = TypeVar("_Room")


class Site:
    """The emulated subscription, as its rooms see it.

    Args:
        folder: Takes keys, certificates and what rooms keep.
        names: What clients and devices call this machine; the first stands in addresses.
        host: Address that rooms with ports for devices bind.
        place: What everything is called; None takes names of ours.

    Attributes:
        place: The same.
        subscription: Its id.
        resource_group: Of everything in it.
        hub: The IoT Hub's name.
        url: Of the web server, once it listens; without a slash at the end.
        ahead_s: How far the account's clock is ahead of this machine's.
        events: What devices sent to the cloud.
        directory: Microsoft Entra ID: clients, their roles, their tokens.
    """

    def __init__(
        self,
        folder: Path,
        *,
        names: tuple[str, ...] = (),
        host: str = "127.0.0.1",
        place: Place | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.host = host
        self.names = tuple(dict.fromkeys((*names, "localhost", "127.0.0.1")))
        self.place = place = place or Place()
        self.subscription = place.subscription
        self.tenant = TENANT
        self.resource_group = place.resource_group
        self.hub = place.hub
        self.location = LOCATION
        self.url = ""
        self.ahead_s = 0.0
        self.authority = Authority(folder / "certificates", "edgectl IoT device")
        self.calls = Calls()
        self.faults = Faults(FaultError)
        self.directory = Directory(folder, tenant=TENANT, now=self.now)
        self.events = EventLog(now=self.now)
        self.rooms: tuple[Room, ...] = ()

    def now(self) -> datetime:
        """Return the account's time."""
        return datetime.now(UTC) + timedelta(seconds=self.ahead_s)

    @property
    def host_name(self) -> str:
        """What this machine is called in addresses."""
        return self.names[0]

    def port(self, name: str, wanted: int) -> int:
        """Return which port to bind: the one wanted, else the one of last time if it is free.

        What is deployed names the registry and the hub by their ports, so a folder keeps its own.
        """
        last = self._ports().get(name, 0)
        return wanted or (last if last and _is_free(self.host, last) else 0)

    def keep_port(self, name: str, port: int) -> None:
        """Remember a port that was bound."""
        file = self.folder / _PORTS
        file.write_bytes(msgspec.json.encode({**self._ports(), name: port}))

    def _ports(self) -> dict[str, int]:
        file = self.folder / _PORTS
        if not file.exists():
            return {}
        return msgspec.json.decode(file.read_bytes(), type=dict[str, int])

    def enter(self, room: str, operation: str) -> None:
        """Count a call that does not come over the web server, and do what faults are set for it.

        Raises:
            FaultError: A fault with a code.
            DropError: The connection is to be cut.
        """
        self.calls.count(room, operation)
        self.faults.raise_for(room, operation)

    def find(self, kind: type[_Room]) -> _Room:
        """Return the room of a class.

        Raises:
            ProviderError: The account has none.
        """
        for room in self.rooms:
            if isinstance(room, kind):
                return room
        raise ProviderError(f"the emulator runs without its room '{kind.__name__}'")


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True

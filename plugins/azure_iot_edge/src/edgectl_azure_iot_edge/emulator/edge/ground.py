"""What all parts of a virtual device stand on: who it is, what is wrong with it, what it keeps."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgectl_azure_iot_edge.emulator.edge.ca import DeviceCa
from edgectl_azure_iot_edge.emulator.edge.faults import FaultFile
from edgectl_azure_iot_edge.emulator.edge.identities import Identities
from edgectl_azure_iot_edge.emulator.edge.settings import MQTT_PORT, DeviceSettings
from edgectl_azure_iot_edge.emulator.edge.state import Kept

_ADDRESS = "address"
_HOLD_PORT = 10_254
_TRIES = 50


@dataclass(frozen=True, kw_only=True)
class Ground:
    """The common ground.

    Attributes:
        sockets: A folder with a short path, for unix sockets.
        address: Where edgeHub listens.
    """

    settings: DeviceSettings
    faults: FaultFile
    kept: Kept
    identities: Identities
    authority: DeviceCa
    sockets: Path
    address: tuple[str, int]

    @property
    def gateway(self) -> str:
        """What modules call edgeHub: its host, and its port where that is not the usual one."""
        host, port = self.address
        return host if port == MQTT_PORT else f"{host}:{port}"


def lay_ground(settings: DeviceSettings, held: contextlib.ExitStack) -> Ground:
    """Make a device's folders, or find what was there before.

    Args:
        settings: The device's.
        held: Keeps its address from others until it is closed.
    """
    settings.folder.mkdir(parents=True, exist_ok=True)
    faults = FaultFile(settings.folder)
    kept = kept_of(settings.folder)
    return Ground(
        settings=settings,
        faults=faults,
        kept=kept,
        identities=Identities(settings, faults, kept),
        authority=DeviceCa(settings.folder / "ca"),
        sockets=_sockets(settings.folder),
        address=reserve_address(settings.device_id, kept, held, by_starter=True),
    )


def _sockets(folder: Path) -> Path:
    """Return a folder for sockets: always the same, since modules keep its name, and short."""
    name = hashlib.sha256(str(folder).encode()).hexdigest()[:12]
    found = Path(tempfile.gettempdir()) / f"edgectl-{os.getuid()}-{name}"
    found.mkdir(mode=0o700, exist_ok=True)
    if found.stat().st_uid != os.getuid():
        raise PermissionError(f"'{found}' belongs to somebody else")
    return found


def kept_of(folder: Path) -> Kept:
    """Return what the device of a folder keeps."""
    return Kept(folder / "state")


def reserve_address(
    device_id: str, kept: Kept, held: contextlib.ExitStack, *, by_starter: bool = False
) -> tuple[str, int]:
    """Return an address for edgeHub that is free now, the same as before where it is.

    Each device has its own address in 127.0.0.0/8, so that edgeHub's port is the real one however
    many devices a machine has. Only Linux has all of them; elsewhere a free port is taken.

    Args:
        device_id: Where the search begins.
        kept: Remembers the address.
        held: Keeps others off the address until it is closed.
        by_starter: Whether who started the device may hold the address from before already.
    """
    known = kept.find(_ADDRESS, tuple[str, int])
    for place in _places(device_id, known):
        with contextlib.suppress(OSError), contextlib.ExitStack() as claim:
            try:
                claim.enter_context(_bound(place[0], _HOLD_PORT))
            except OSError:
                if place != known or not by_starter:
                    raise
            _bound(*place, again=True).close()
            held.enter_context(claim.pop_all())
            kept.write(_ADDRESS, place)
            return place
    with _bound("127.0.0.1", 0) as probe:
        found = ("127.0.0.1", int(probe.getsockname()[1]))
    kept.write(_ADDRESS, found)
    return found


def _places(device_id: str, known: tuple[str, int] | None) -> Iterator[tuple[str, int]]:
    if known is not None:
        yield known
    if sys.platform != "linux":
        return
    start = int.from_bytes(hashlib.sha256(device_id.encode()).digest()[:3], "big")
    for attempt in range(_TRIES):
        number = (start + attempt * 7919) % 0xFDFFFF + 0x010000
        if number & 0xFF not in {0, 255}:
            yield f"127.{number >> 16}.{number >> 8 & 0xFF}.{number & 0xFF}", MQTT_PORT


def _bound(host: str, port: int, *, again: bool = False) -> socket.socket:
    """Return a socket at an address that nobody else is bound to.

    Args:
        host: The address.
        port: Its port.
        again: Whether connections that have ended there are no matter.

    Raises:
        OSError: Somebody has it.
    """
    found = socket.socket()
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, again)
        found.bind((host, port))
    except OSError:
        found.close()
        raise
    return found

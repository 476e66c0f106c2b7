"""What all parts of a virtual device stand on: who it is, what is wrong with it, what it keeps."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edgectl_azure_iot_edge.emulator.edge.ca import DeviceCa
from edgectl_azure_iot_edge.emulator.edge.faults import FaultFile
from edgectl_azure_iot_edge.emulator.edge.identities import Identities
from edgectl_azure_iot_edge.emulator.edge.settings import MQTT_PORT, DeviceSettings
from edgectl_azure_iot_edge.emulator.edge.state import Kept

_ADDRESS = "address"
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


def lay_ground(settings: DeviceSettings) -> Ground:
    """Make a device's folders, or find what was there before."""
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
        address=reserve_address(settings.device_id, kept),
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


def reserve_address(device_id: str, kept: Kept) -> tuple[str, int]:
    """Return an address for edgeHub that is free now, the same as before where it is.

    Each device has its own address in 127.0.0.0/8, so that edgeHub's port is the real one however
    many devices a machine has. Only Linux has all of them; elsewhere a free port is taken.
    """
    known = kept.find(_ADDRESS, tuple[str, int])
    candidates = [known] if known else []
    if sys.platform == "linux":
        start = int.from_bytes(hashlib.sha256(device_id.encode()).digest()[:3], "big")
        numbers = ((start + number * 7919) % 0xFDFFFF + 0x010000 for number in range(_TRIES))
        candidates += [
            (f"127.{number >> 16}.{number >> 8 & 0xFF}.{number & 0xFF}", MQTT_PORT)
            for number in numbers
            if number & 0xFF not in {0, 255}
        ]
    for host, port in candidates:
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            kept.write(_ADDRESS, (host, port))
            return host, port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        found = ("127.0.0.1", int(probe.getsockname()[1]))
    kept.write(_ADDRESS, found)
    return found

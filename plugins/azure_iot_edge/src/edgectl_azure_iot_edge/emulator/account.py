"""An emulated subscription with its doors open: one TLS web server, and rooms with their ports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from edgectl.emulation import WebServer
from edgectl_azure_iot_edge.emulator.arm.room import ArmRoom
from edgectl_azure_iot_edge.emulator.blob.room import BlobRoom, keep_names
from edgectl_azure_iot_edge.emulator.eventhub.room import EventHubRoom
from edgectl_azure_iot_edge.emulator.hub.room import HubRoom
from edgectl_azure_iot_edge.emulator.login import LoginRoom
from edgectl_azure_iot_edge.emulator.ml.room import MlRoom
from edgectl_azure_iot_edge.emulator.place import Place
from edgectl_azure_iot_edge.emulator.rooms import Room
from edgectl_azure_iot_edge.emulator.server import Front
from edgectl_azure_iot_edge.emulator.site import Site

MakeRoom = Callable[[Site], Room]

ROOMS: tuple[MakeRoom, ...] = (
    LoginRoom,
    BlobRoom,
    MlRoom,
    ArmRoom,
    EventHubRoom,
    HubRoom,
)
"""All rooms, in the order in which they are asked for a web request; the hub takes the rest."""


class RunningAccount:
    """Starts and stops an account; a context manager.

    Args:
        folder: Takes keys, certificates and the account's state.
        names: Further names that devices call this machine by; the first stands in addresses.
        host: Address to bind for what devices use. The web server binds it too, since a device's
            identity service asks there.
        port: Of the web server; 0 takes a free one.
        rooms: What makes the rooms; None takes ``ROOMS``. A test leaves out what it needs not, or
            gives a room other settings with ``functools.partial``.
        place: What subscription, hub and workspace are called; None takes names of ours.
    """

    def __init__(
        self,
        folder: Path,
        *,
        names: tuple[str, ...] = (),
        host: str = "127.0.0.1",
        port: int = 0,
        rooms: tuple[MakeRoom, ...] | None = None,
        place: Place | None = None,
    ) -> None:
        self.site = Site(folder, names=names, host=host, place=place)
        self.site.rooms = tuple(make(self.site) for make in (ROOMS if rooms is None else rooms))
        tls = self.site.authority.server_context(self.site.names, demand=False)
        self.server = WebServer(
            Front(self.site),
            host=host,
            port=self.site.port("web", port),
            tls=tls,
            extend=keep_names,
        )

    @property
    def url(self) -> str:
        """The web server's address."""
        return f"https://{self.site.host_name}:{self.server.port}"

    @property
    def ca_file(self) -> Path:
        """The certificate that clients have to trust."""
        return self.site.authority.ca_file

    def settings(self) -> dict[str, str]:
        """Return the variables that point ``edgectl`` and Azure's SDKs and CLI here."""
        trust = {"REQUESTS_CA_BUNDLE": str(self.ca_file), "SSL_CERT_FILE": str(self.ca_file)}
        for room in self.site.rooms:
            trust.update(room.settings())
        return trust

    def start(self) -> None:
        """Begin to listen; a room that cannot start stops those before it.

        Raises:
            OSError: A port cannot be had.
        """
        self.server.start()
        self.site.keep_port("web", self.server.port)
        self.site.url = self.url
        try:
            for room in self.site.rooms:
                room.start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Close every connection and end."""
        for room in reversed(self.site.rooms):
            room.stop()
        self.server.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

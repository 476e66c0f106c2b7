"""The telemetry endpoint as a room of the account: a port of its own, with TLS."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Mapping

from edgectl_azure_iot_edge.emulator.eventhub.access import Gate
from edgectl_azure_iot_edge.emulator.eventhub.connection import Connection
from edgectl_azure_iot_edge.emulator.eventhub.endpoint import Endpoint, EndpointSettings
from edgectl_azure_iot_edge.emulator.events import Event
from edgectl_azure_iot_edge.emulator.hub.room import HubRoom
from edgectl_azure_iot_edge.emulator.rooms import Controls
from edgectl_azure_iot_edge.emulator.site import Site

CONNECTION_VARIABLE = "EDGECTL_AZURE_EVENTHUB"
_TICK_S = 0.2
_POLICY = "iothubowner"


class EventHubRoom:
    """The hub's Event Hubs-compatible endpoint.

    Args:
        site: The account.
        settings: How it is; None takes the hub's name.
        port: 0 takes a free one.
    """

    name = "eventhub"

    def __init__(
        self, site: Site, settings: EndpointSettings | None = None, *, port: int = 0
    ) -> None:
        self._site = site
        self._settings = settings or EndpointSettings(name=f"iothub-ehub-{site.hub}")
        self.port = port
        self._connections: set[Connection] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="eventhub", daemon=True)
        self._server: asyncio.Server | None = None
        self._endpoint: Endpoint | None = None

    def start(self) -> None:
        """Begin to listen; raises ``OSError`` if the port cannot be had."""
        policies = self._site.find(HubRoom).hub.policies
        self._endpoint = Endpoint(
            self._settings,
            self._site.events,
            Gate(policies, self._site.directory, self._site.now),
            address=lambda: (self._site.host_name, self.port),
            enter=lambda operation: self._site.enter(self.name, operation),
        )
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        self._site.events.listen(self._appended)

    def stop(self) -> None:
        """Close every connection and end."""
        if not self._thread.is_alive():
            self._loop.close()
            return
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def settings(self) -> Mapping[str, str]:
        """Return the connection string of the endpoint."""
        return {CONNECTION_VARIABLE: self.connection_string(_POLICY)}

    def connection_string(self, policy: str) -> str:
        """Return the connection string of a shared access policy, as the portal shows it."""
        key = self._site.find(HubRoom).hub.policies[policy].primary
        return (
            f"Endpoint=sb://{self._site.host_name}:{self.port}/;SharedAccessKeyName={policy};"
            f"SharedAccessKey={key};EntityPath={self._settings.name}"
        )

    def controls(self) -> Controls:
        """Cut all connections."""
        return {("POST", "cut"): lambda _: self.cut()}

    def readers(self, partition: int) -> int:
        """Return how many read a partition now."""
        return 0 if self._endpoint is None else self._endpoint.readers(partition)

    def cut(self) -> dict[str, int]:
        """Cut all connections; return how many there were."""
        count = len(self._connections)
        self._loop.call_soon_threadsafe(self._cut)
        return {"cut": count}

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _listen(self) -> None:
        tls = self._site.authority.server_context(self._site.names, demand=False)
        self._server = await asyncio.start_server(
            self._accepted, self._site.host, self.port, ssl=tls
        )
        self.port = int(self._server.sockets[0].getsockname()[1])
        self._ticks = asyncio.create_task(self._tick())

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._endpoint is None:
            return
        connection = Connection(reader, writer, self._endpoint)
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)

    async def _tick(self) -> None:
        """Send what waited for room, and end what may not be read any more."""
        while True:
            await asyncio.sleep(_TICK_S)
            self._pump()

    def _appended(self, _event: Event) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._pump)

    def _pump(self) -> None:
        for connection in tuple(self._connections):
            connection.pump()

    def _cut(self) -> None:
        for connection in tuple(self._connections):
            connection.cut()

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        self._ticks.cancel()
        self._cut()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=2.0)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

"""An emulated hub with its telemetry endpoint, and the official SDK as its reader."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from azure.eventhub import EventData, EventHubConsumerClient, TransportType

from edgectl_azure_iot_edge.emulator.account import RunningAccount
from edgectl_azure_iot_edge.emulator.eventhub.endpoint import EndpointSettings
from edgectl_azure_iot_edge.emulator.eventhub.room import EventHubRoom
from edgectl_azure_iot_edge.emulator.hub.room import HubRoom
from edgectl_azure_iot_edge.emulator.hub.settings import HubSettings
from edgectl_azure_iot_edge.emulator.login import LoginRoom

NAME = "iothub-ehub-test"


class Endpoint:
    """A running account; ``tell`` is a device that sends."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        def events(site: Any) -> EventHubRoom:
            return EventHubRoom(site, EndpointSettings(name=NAME, groups=("readers",), **settings))

        def hub(site: Any) -> HubRoom:
            return HubRoom(site, HubSettings(throttle=False, background_s=3600, metrics_s=3600))

        self.account = RunningAccount(folder, rooms=(LoginRoom, events, hub))
        self.account.start()
        self.site = self.account.site
        self.room = self.site.find(EventHubRoom)
        self.hub = self.site.find(HubRoom)
        self.ca = str(self.account.ca_file)

    def close(self) -> None:
        self.account.stop()

    def tell(self, device: str, body: bytes, **annotations: Any) -> Any:
        return self.site.events.append(device, body, annotations=annotations)

    def client(
        self,
        policy: str = "service",
        *,
        group: str = "$Default",
        credential: Any = None,
        name: str = NAME,
        **options: Any,
    ) -> EventHubConsumerClient:
        """Return the SDK's client, as a user opens it."""
        settings = {
            "consumer_group": group,
            "custom_endpoint_address": f"sb://localhost:{self.room.port}",
            "connection_verify": self.ca,
            "transport_type": TransportType.Amqp,
            "retry_total": 0,
            "load_balancing_interval": 1,
            **options,
        }
        if credential is not None:
            return EventHubConsumerClient("localhost", name, credential=credential, **settings)
        text = self.room.connection_string(policy)
        text = text.replace(f":{self.room.port}/", "/").replace(
            f"EntityPath={NAME}", f"EntityPath={name}"
        )
        return EventHubConsumerClient.from_connection_string(text, **settings)


class Receiving:
    """A receiver in a thread; stops when enough came, or with the error that ended it."""

    def __init__(
        self, client: EventHubConsumerClient, partition: str, start: Any = "-1", **options: Any
    ) -> None:
        self.events: list[EventData] = []
        self.errors: list[Exception] = []
        self._client = client
        self._condition = threading.Condition()
        self._thread = threading.Thread(
            target=client.receive_batch,
            kwargs={
                "on_event_batch": self._take,
                "on_error": self._failed,
                "partition_id": partition,
                "starting_position": start,
                "max_wait_time": 0.2,
                **options,
            },
            daemon=True,
        )
        self._thread.start()

    def _take(self, _context: object, events: list[EventData]) -> None:
        with self._condition:
            self.events += events
            self._condition.notify_all()

    def _failed(self, _context: object, error: Exception) -> None:
        with self._condition:
            self.errors.append(error)
            self._condition.notify_all()

    def until(self, holds: Callable[[], bool], timeout_s: float = 20.0) -> None:
        with self._condition:
            assert self._condition.wait_for(holds, timeout_s), (len(self.events), self.errors)

    def bodies(self, count: int) -> list[str]:
        """Wait for so many events, end, and return their bodies."""
        try:
            self.until(lambda: len(self.events) >= count or bool(self.errors))
            assert not self.errors, self.errors
            return [event.body_as_str() for event in self.events]
        finally:
            self.close()

    def error(self) -> str:
        """Wait for an error, end, and return its text."""
        try:
            self.until(lambda: bool(self.errors))
            return f"{type(self.errors[0]).__name__}: {self.errors[0]}"
        finally:
            self.close()

    def close(self) -> None:
        self._client.close()
        self._thread.join(20)
        assert not self._thread.is_alive()


def until(holds: Callable[[], Any], timeout_s: float = 15.0) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (found := holds()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found

"""What all connections of the telemetry endpoint share: the events, who reads what, and who may."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from edgectl.api import Record
from edgectl_azure_iot_edge.emulator.eventhub.access import Gate
from edgectl_azure_iot_edge.emulator.eventhub.places import Stream
from edgectl_azure_iot_edge.emulator.eventhub.types import AmqpError
from edgectl_azure_iot_edge.emulator.events import EventLog

MAX_READERS = 5
DEFAULT_GROUP = "$default"


class EndpointSettings(Record, frozen=True, kw_only=True):
    """How the endpoint is.

    Attributes:
        name: The Event Hubs-compatible name.
        groups: Consumer groups beside ``$Default``.
        idle_ms: A connection that is silent for so long is closed, in milliseconds.
        max_frame: The longest frame that is taken, in bytes.
    """

    name: str
    groups: tuple[str, ...] = ()
    idle_ms: int = 240_000
    max_frame: int = 65_536


class Reading(Protocol):
    """A link that reads a partition."""

    epoch: int | None

    def steal(self, message: str) -> None:
        """End it: another reader takes its place."""


class Endpoint:
    """The endpoint; used on one event loop.

    Args:
        settings: How it is.
        log: What devices sent.
        gate: Checks tokens.
        address: Host and port that clients are redirected to.
        enter: Counts an operation and does what faults are set for it.
    """

    def __init__(
        self,
        settings: EndpointSettings,
        log: EventLog,
        gate: Gate,
        *,
        address: Callable[[], tuple[str, int]],
        enter: Callable[[str], None],
    ) -> None:
        self.settings = settings
        self.log = log
        self.gate = gate
        self.address = address
        self.enter = enter
        self._readers: dict[tuple[str, int], list[Reading]] = {}
        self._groups = {DEFAULT_GROUP, *(group.lower() for group in settings.groups)}

    def check(self, stream: Stream) -> None:
        """See that a stream's event hub and consumer group are there.

        Raises:
            AmqpError: ``amqp:not-found``.
        """
        if stream.hub.lower() != self.settings.name.lower() or (
            stream.group.lower() not in self._groups
        ):
            raise AmqpError(
                "amqp:not-found",
                f"The messaging entity 'sb://{self.address()[0]}/{stream.hub}/consumergroups/"
                f"{stream.group}' could not be found.",
            )

    def admit(self, group: str, partition: int, reader: Reading) -> None:
        """Let a reader in; one with an epoch that is not lower takes the others' place.

        Raises:
            AmqpError: There are enough readers, or one with a higher epoch.
        """
        readers = self._readers.setdefault((group.lower(), partition), [])
        highest = max((one.epoch for one in readers if one.epoch is not None), default=None)
        if highest is not None and (reader.epoch is None or reader.epoch < highest):
            raise AmqpError(
                "amqp:link:stolen",
                f"Receiver 'nil' with a higher epoch '{highest}' already exists. Receiver 'nil' "
                f"with epoch {reader.epoch or 0} cannot be created. Make sure you are creating "
                "receiver with increasing epoch value to ensure connectivity.",
            )
        if reader.epoch is not None:
            for one in tuple(readers):
                one.steal(
                    f"New receiver 'nil' with higher epoch of '{reader.epoch}' is created hence "
                    f"current receiver 'nil' with epoch '{one.epoch or 0}' is getting disconnected."
                )
        elif len(readers) >= MAX_READERS:
            raise AmqpError(
                "amqp:resource-limit-exceeded",
                "Exceeded the maximum number of allowed receivers per partition in a consumer "
                f"group which is {MAX_READERS}.",
            )
        readers.append(reader)

    def readers(self, partition: int) -> int:
        """Return how many read a partition."""
        return sum(len(r) for (_, number), r in self._readers.items() if number == partition)

    def dismiss(self, reader: Reading) -> None:
        """Forget a reader."""
        for readers in self._readers.values():
            if reader in readers:
                readers.remove(reader)

"""MQTT clients of the device side: paho's, which wait with poll() here.

paho itself waits with select(), which knows no file descriptor above 1023 and takes such a one for
a lost connection (eclipse-paho/paho.mqtt.python issue 183): a runtime with a thousand connections
could not send its telemetry. So paho's module is given another ``select``; it asks nothing else of
it.
"""

from __future__ import annotations

import select
from collections.abc import Sequence
from typing import Any, Protocol

import paho.mqtt.client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

_BROKEN = select.POLLERR | select.POLLHUP | select.POLLNVAL


class _File(Protocol):
    def fileno(self) -> int: ...


class _Poll:
    """Stands for the module ``select``."""

    @staticmethod
    def select(
        reading: Sequence[_File], writing: Sequence[_File], _: Sequence[_File], timeout_s: float
    ) -> tuple[list[_File], list[_File], list[_File]]:
        """Wait as ``select.select`` does; the third list is always empty.

        Raises:
            ValueError: A file is closed.
        """
        wanted = dict.fromkeys((file.fileno() for file in reading), select.POLLIN)
        for file in writing:
            wanted[file.fileno()] = wanted.get(file.fileno(), 0) | select.POLLOUT
        poller = select.poll()
        for descriptor, events in wanted.items():
            poller.register(descriptor, events)
        found = dict(poller.poll(timeout_s * 1000))
        readable, writable = select.POLLIN | _BROKEN, select.POLLOUT | _BROKEN
        return (
            [file for file in reading if found.get(file.fileno(), 0) & readable],
            [file for file in writing if found.get(file.fileno(), 0) & writable],
            [],
        )


paho.mqtt.client.select = _Poll  # type: ignore[assignment,attr-defined]  # see above


def new_client(
    client_id: str, protocol: MQTTProtocolVersion, *, reconnect: bool = False, **more: Any
) -> paho.mqtt.client.Client:
    """Return a client that is not connected yet.

    Args:
        client_id: As the broker is to know it; "" lets the broker choose, where the protocol does.
        protocol: Its version.
        reconnect: Whether it connects again by itself.
        more: As paho takes it.
    """
    return paho.mqtt.client.Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        protocol=protocol,
        reconnect_on_failure=reconnect,
        **more,
    )

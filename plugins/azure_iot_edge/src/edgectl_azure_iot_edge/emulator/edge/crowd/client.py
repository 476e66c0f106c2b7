"""A light connection to the hub as one identity, for an event loop that has thousands of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import struct
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

from edgectl.emulation import mqtt
from edgectl.emulation.mqtt import building, parsing
from edgectl_azure_iot_edge.emulator.edge.tokens import make_token
from edgectl_azure_iot_edge.emulator.edge.uplink import API_VERSION

KEEP_ALIVE_S = 600
_ANSWER_S = 60.0
_LIFE_S = 86_400.0
_CONNACK, _SUBACK = 2, 9
_FILTERS = ("$iothub/twin/res/#", "$iothub/twin/PATCH/properties/desired/#")

Desired = Callable[[], None]


class Place:
    """Where the hub is.

    Args:
        hub_host: Its name, with a port.
        mqtt_port: Where it speaks MQTT.
    """

    def __init__(self, hub_host: str, mqtt_port: int, tls: ssl.SSLContext) -> None:
        self.hub_host = hub_host
        self.host = hub_host.partition(":")[0]
        self.mqtt_port = mqtt_port
        self.tls = tls


class LightLink:
    """One connection.

    Args:
        path: ``device/module``.
        key: The device's key, with which an edge device may speak for its modules.
        desired: Called when desired properties have changed.
    """

    def __init__(self, place: Place, path: str, key: str, desired: Desired) -> None:
        self._place = place
        self._path = path
        self._key = key
        self._desired = desired
        self._transport: mqtt.Transport | None = None
        self._answers: dict[str, asyncio.Future[tuple[int, bytes]]] = {}
        self._number = 0
        self._reader: asyncio.Task[None] | None = None

    @property
    def is_up(self) -> bool:
        """Whether there is a connection."""
        return self._reader is not None and not self._reader.done()

    async def open(self, now: float) -> None:
        """Connect and subscribe.

        Raises:
            OSError: The hub cannot be reached or refuses.
        """
        place = self._place
        reader, writer = await asyncio.open_connection(place.host, place.mqtt_port, ssl=place.tls)
        self._transport = transport = mqtt.Transport(reader, writer)
        device, _, module = self._path.partition("/")
        address = f"{place.hub_host}/devices/{device}/modules/{module}"
        transport.write(
            _connect(
                self._path,
                f"{place.hub_host}/{self._path}/?api-version={API_VERSION}",
                make_token(address, self._key, now, _LIFE_S),
            )
        )
        try:
            kind, _, body = await transport.packet(_ANSWER_S)
            if kind != _CONNACK or body[1] != 0:
                raise ConnectionRefusedError(f"the hub refuses '{self._path}': {body[1:2]!r}")
            transport.write(_subscribe(_FILTERS))
            while (await transport.packet(_ANSWER_S))[0] != _SUBACK:
                pass
        except (EOFError, TimeoutError, mqtt.PacketError) as exc:
            await transport.close()
            raise ConnectionError(f"the hub does not answer '{self._path}'") from exc
        self._reader = asyncio.get_running_loop().create_task(self._read(transport))

    async def close(self) -> None:
        """Leave."""
        if self._reader is not None:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reader
        if self._transport is not None:
            await self._transport.close()

    async def twin(self) -> dict[str, Any]:
        """Return the twin.

        Raises:
            OSError: It is not given.
        """
        status, payload = await self._ask("$iothub/twin/GET/", b"")
        if status != 200:
            raise ConnectionError(f"the twin of '{self._path}' is not given: {status}")
        found: dict[str, Any] = json.loads(payload)
        return found

    async def report(self, patch: Mapping[str, Any]) -> None:
        """Merge a patch into the reported properties.

        Raises:
            OSError: It does not arrive, or is refused.
        """
        body = json.dumps(patch, separators=(",", ":")).encode()
        status, answer = await self._ask("$iothub/twin/PATCH/properties/reported/", body)
        if status >= 300:
            raise ConnectionError(f"'{self._path}' may not report: {status} {answer[:200]!r}")

    async def _ask(self, topic: str, payload: bytes) -> tuple[int, bytes]:
        if self._transport is None or not self.is_up:
            raise ConnectionError("there is no connection")
        self._number += 1
        rid = str(self._number)
        answer: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self._answers[rid] = answer
        message = mqtt.Message(topic=f"{topic}?$rid={rid}", payload=payload)
        self._transport.write(building.publish(mqtt.V311, message, 0))
        try:
            return await asyncio.wait_for(answer, _ANSWER_S)
        except TimeoutError as exc:
            raise ConnectionError(f"no answer to '{topic}'") from exc
        finally:
            self._answers.pop(rid, None)

    async def _read(self, transport: mqtt.Transport) -> None:
        try:
            while True:
                kind, flags, body = await self._packet(transport)
                if kind == mqtt.Kind.PUBLISH:
                    packet = parsing.parse(kind, flags, body, mqtt.V311)
                    if isinstance(packet, mqtt.Publish):
                        self._take(packet.message)
        except (OSError, EOFError, mqtt.PacketError):
            pass
        finally:
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(ConnectionError("the connection is lost"))
            await transport.close()

    async def _packet(self, transport: mqtt.Transport) -> tuple[int, int, bytes]:
        while True:
            try:
                return await transport.packet(KEEP_ALIVE_S / 2)
            except TimeoutError:
                transport.write(bytes([mqtt.Kind.PINGREQ << 4, 0]))

    def _take(self, message: mqtt.Message) -> None:
        path, _, query = message.topic.partition("?")
        if path.startswith("$iothub/twin/res/"):
            rid = next(iter(parse_qs(query).get("$rid", ())), "")
            answer = self._answers.get(rid)
            if answer is not None and not answer.done():
                answer.set_result((int(path.strip("/").split("/")[3]), message.payload))
        elif path.startswith("$iothub/twin/PATCH/properties/desired"):
            self._desired()


def _connect(client_id: str, username: str, password: str) -> bytes:
    """Build a CONNECT (MQTT 3.1.1, section 3.1) with a clean session."""
    flags = 0x80 | 0x40 | 0x02
    head = _text("MQTT") + bytes([mqtt.V311, flags]) + struct.pack("!H", KEEP_ALIVE_S)
    return _packet(0x10, head + _text(client_id) + _text(username) + _text(password))


def _subscribe(filters: tuple[str, ...]) -> bytes:
    body = struct.pack("!H", 1) + b"".join(_text(name) + b"\0" for name in filters)
    return _packet(0x82, body)


def _packet(first: int, body: bytes) -> bytes:
    length, left = b"", len(body)
    while True:
        left, digit = divmod(left, 128)
        length += bytes([digit | (0x80 if left else 0)])
        if not left:
            return bytes([first]) + length + body


def _text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("!H", len(raw)) + raw

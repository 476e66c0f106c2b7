"""A module's connection to edgeHub: MQTT 3.1.1, packet by packet, on the server's event loop."""

from __future__ import annotations

import contextlib
import logging
from concurrent.futures import Future
from typing import Protocol

from edgectl.emulation import mqtt
from edgectl.emulation.mqtt import building, parsing

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 10.0
_NEVER_S = 86_400.0
_NOT_AUTHORIZED = 5
_BAD_VERSION = 1
_REFUSED = 0x80


class Desk(Protocol):
    """What a connection asks edgeHub; all of it may block."""

    def admit(self, connect: mqtt.Connect) -> str:
        """Return the module's name, "" for a stranger."""

    def arrived(self, module: str, client: ModuleClient) -> None:
        """A module is there."""

    def gone(self, module: str, client: ModuleClient) -> None:
        """A module has gone."""

    def may_subscribe(self, module: str, name: str) -> bool:
        """Say whether a module may have what a filter brings."""

    def take(self, module: str, client: ModuleClient, topic: str, payload: bytes) -> bool:
        """Take what a module publishes; False cuts it off."""


class ModuleClient:
    """One connection."""

    def __init__(
        self, transport: mqtt.Transport, listener: mqtt.Listener, desk: Desk, keep_alive_s: float
    ) -> None:
        self._transport = transport
        self._listener = listener
        self._desk = desk
        self._keep_alive_s = keep_alive_s
        self._filters: dict[str, int] = {}
        self._unacknowledged: dict[int, Future[None]] = {}
        self._last_id = 0

    def wants(self, topic: str) -> bool:
        """Say whether the module subscribed to a topic."""
        return any(mqtt.topics.matches(name, topic) for name in tuple(self._filters))

    def push(self, topic: str, payload: bytes, *, acknowledged: bool = False) -> Future[None]:
        """Send something from any thread; the future is done when it is sent or acknowledged."""
        done: Future[None] = Future()
        try:
            self._listener.loop.call_soon_threadsafe(
                self._write, topic, payload, done, acknowledged
            )
        except RuntimeError:
            done.set_exception(ConnectionError("edgeHub is stopping"))
        return done

    def cut(self) -> None:
        """End the connection, from any thread."""
        with contextlib.suppress(RuntimeError):
            self._listener.loop.call_soon_threadsafe(
                self._transport.end, mqtt.Reason.SESSION_TAKEN_OVER, "another connection came"
            )

    async def run(self, module: str) -> None:
        """Take packets until the module goes.

        Raises:
            PacketError: It has to be cut off.
            OSError: The connection is lost; EOFError when the module closed it.
        """
        await self._listener.ask(self._desk.arrived, module, self)
        try:
            while True:
                timeout_s = self._keep_alive_s * 1.5 or _NEVER_S
                kind, flags, body = await self._transport.packet(timeout_s)
                packet = parsing.parse(kind, flags, body, mqtt.V311)
                if isinstance(packet, mqtt.Disconnect):
                    return
                await self._handle(module, packet)
                await self._transport.drain()
        finally:
            for future in self._unacknowledged.values():
                if not future.done():
                    future.set_exception(ConnectionError("the module has gone"))
            await self._listener.ask(self._desk.gone, module, self)

    async def _handle(self, module: str, packet: mqtt.Packet) -> None:
        if isinstance(packet, mqtt.Publish):
            await self._publish(module, packet)
        elif isinstance(packet, mqtt.Subscribe):
            self._subscribe(module, packet)
        elif isinstance(packet, mqtt.Unsubscribe):
            for name in packet.filters:
                self._filters.pop(name, None)
            self._transport.write(building.unsuback(mqtt.V311, packet.packet_id, []))
        elif isinstance(packet, mqtt.PubAck):
            future = self._unacknowledged.pop(packet.packet_id, None)
            if future is not None and not future.done():
                future.set_result(None)
        elif isinstance(packet, mqtt.Ping):
            self._transport.write(building.pingresp())
        else:
            raise mqtt.PacketError(mqtt.Reason.PROTOCOL_ERROR, "a second CONNECT")

    async def _publish(self, module: str, packet: mqtt.Publish) -> None:
        topic, payload = packet.message.topic, packet.message.payload
        if not await self._listener.ask(self._desk.take, module, self, topic, payload):
            why = f"nobody publishes to '{topic}'"
            raise mqtt.PacketError(mqtt.Reason.NOT_AUTHORIZED, why)
        if packet.message.qos:
            self._transport.write(building.puback(mqtt.V311, packet.packet_id))

    def _subscribe(self, module: str, packet: mqtt.Subscribe) -> None:
        codes = []
        for name, qos in packet.filters:
            if self._desk.may_subscribe(module, name):
                self._filters[name] = min(qos, 1)
                codes.append(min(qos, 1))
            else:
                codes.append(_REFUSED)
        self._transport.write(building.suback(mqtt.V311, packet.packet_id, codes))

    def _write(self, topic: str, payload: bytes, done: Future[None], acknowledged: bool) -> None:
        number = 0
        if acknowledged:
            self._last_id = self._last_id % 65_535 + 1
            number = self._last_id
            self._unacknowledged[number] = done
        message = mqtt.Message(topic=topic, payload=payload, qos=int(acknowledged))
        self._transport.write(building.publish(mqtt.V311, message, number))
        if not acknowledged:
            done.set_result(None)


async def serve(transport: mqtt.Transport, listener: mqtt.Listener, desk: Desk) -> None:
    """Serve one connection to its end; what goes wrong with it stays here."""
    try:
        kind, flags, body = await transport.packet(CONNECT_TIMEOUT_S)
        connect = parsing.parse(kind, flags, body, mqtt.V5)
        if not isinstance(connect, mqtt.Connect):
            return
        transport.version = mqtt.V311
        refusal = 0 if connect.version == mqtt.V311 else _BAD_VERSION
        module = "" if refusal else await listener.ask(desk.admit, connect)
        code = refusal or (0 if module else _NOT_AUTHORIZED)
        transport.write(building.connack(mqtt.V311, code, present=False, properties={}))
        if code:
            await transport.drain()
            return
        transport.is_open = True
        await ModuleClient(transport, listener, desk, float(connect.keep_alive_s)).run(module)
    except mqtt.PacketError as exc:
        log.info("a module is cut off: %s", exc)
        transport.end(exc.reason, str(exc))
    except (TimeoutError, OSError, EOFError):
        pass  # nobody is left to tell

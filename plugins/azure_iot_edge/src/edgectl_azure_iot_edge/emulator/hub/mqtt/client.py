"""Decides what a connected device or module may do, packet by packet.

A breach closes the connection: MQTT 3.1.1 has no other word for it, and the hub sends none. So does
the end of the token, QoS 2, a message over 256 KB and a second connection of the same identity.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from edgectl.emulation.mqtt import (
    Disconnect,
    Message,
    Packet,
    PacketError,
    Ping,
    PubAck,
    Publish,
    Reason,
    Session,
    Subscribe,
    Transport,
    Unsubscribe,
    building,
    parsing,
)
from edgectl.emulation.mqtt import topics as mqtt_topics
from edgectl_azure_iot_edge.emulator.events import MAX_MESSAGE_BYTES
from edgectl_azure_iot_edge.emulator.hub.documents import for_device
from edgectl_azure_iot_edge.emulator.hub.errors import HubError
from edgectl_azure_iot_edge.emulator.hub.mqtt import topics
from edgectl_azure_iot_edge.emulator.hub.rates import SEND, TWIN_READ, TWIN_WRITE
from edgectl_azure_iot_edge.emulator.rooms import FaultError

if TYPE_CHECKING:
    from edgectl_azure_iot_edge.emulator.hub.mqtt.server import DeviceServer

_GRACE = 1.5
_MAX_SHAPING_S = 10.0


class Client:
    """A connection of an identity.

    Args:
        server: Whose.
        transport: Its packets.
        session: What it has subscribed to.
        device_id: The device.
        module_id: The module, or None for the device itself.
        keep_alive_s: What the client asked for; 0 is no limit.
        expiry: When its token ends, in seconds since 1970.
        will: Sent as a message when the connection is lost.
    """

    def __init__(
        self,
        server: DeviceServer,
        transport: Transport,
        session: Session,
        *,
        device_id: str,
        module_id: str | None,
        keep_alive_s: int,
        expiry: float,
        will: Message | None,
    ) -> None:
        self.transport = transport
        self.session = session
        self.device_id = device_id
        self.module_id = module_id
        self.will = will
        self._server = server
        self._keep_alive_s = keep_alive_s
        self._expiry = expiry
        # a Basic hub has no twins, methods or messages to devices
        basic = server.hub.settings.is_basic
        self._allowed = frozenset() if basic else topics.filters(device_id, module_id)

    @property
    def client_id(self) -> str:
        """``device`` or ``device/module``."""
        return self.session.client_id

    async def run(self) -> None:
        """Take packets until the client goes.

        Raises:
            PacketError: The client has to be cut off.
            OSError: The connection is lost; EOFError when the client closed it.
        """
        while True:
            kind, flags, body = await self._next()
            packet = parsing.parse(kind, flags, body, self.transport.version)
            if isinstance(packet, Disconnect):
                self.will = None
                return
            await self._handle(packet)
            await self.transport.drain()

    def listens(self, topic: str) -> bool:
        """Say whether the client has subscribed to a topic."""
        return any(mqtt_topics.matches(name, topic) for name in self.session.subscriptions)

    def tell(self, topic: str, payload: bytes) -> bool:
        """Send a message if the client has subscribed to it; say whether so."""
        for name, qos in self.session.subscriptions.items():
            if mqtt_topics.matches(name, topic):
                self.session.deliver(Message(topic=topic, payload=payload, qos=1), qos)
                return True
        return False

    async def _next(self) -> tuple[int, int, bytes]:
        left_s = self._expiry - self._server.site.now().timestamp()
        quiet_s = self._keep_alive_s * _GRACE if self._keep_alive_s else left_s
        try:
            return await self.transport.packet(max(min(left_s, quiet_s), 0.0))
        except TimeoutError as exc:
            if left_s <= quiet_s:
                raise PacketError(Reason.NOT_AUTHORIZED, "the token is expired") from exc
            said = "nothing came within the keep-alive time"
            raise PacketError(Reason.KEEP_ALIVE_TIMEOUT, said) from exc

    async def _handle(self, packet: Packet) -> None:
        if isinstance(packet, Publish):
            await self._publish(packet)
        elif isinstance(packet, Subscribe):
            self._subscribe(packet)
        elif isinstance(packet, Unsubscribe):
            for name in packet.filters:
                self.session.subscriptions.pop(name, None)
            codes = [0] * len(packet.filters)
            self._write(building.unsuback(self.transport.version, packet.packet_id, codes))
        elif isinstance(packet, PubAck):
            self.session.acknowledged(packet.packet_id)
        elif isinstance(packet, Ping):
            self._write(building.pingresp())
        else:
            raise PacketError(Reason.PROTOCOL_ERROR, "a second CONNECT")

    def _subscribe(self, packet: Subscribe) -> None:
        codes = []
        for name, qos in packet.filters:
            known = name in self._allowed
            codes.append(min(qos, 1) if known else int(Reason.UNSPECIFIED))
            if known:
                self.session.subscriptions[name] = min(qos, 1)
        self._write(building.suback(self.transport.version, packet.packet_id, codes))
        self._server.hub.methods.came()

    async def _publish(self, packet: Publish) -> None:
        message = packet.message
        if len(message.payload) > MAX_MESSAGE_BYTES:
            raise PacketError(Reason.PACKET_TOO_LARGE, "a message is over 256 KB")
        try:
            asked = topics.asked(message.topic, self.device_id, self.module_id)
        except topics.TopicError as exc:
            raise PacketError(Reason.TOPIC_NAME_INVALID, str(exc)) from exc
        await self._do(asked, message)
        if message.qos:
            self._write(building.puback(self.transport.version, packet.packet_id))

    async def _do(self, asked: topics.Asked, message: Message) -> None:
        if isinstance(asked, topics.Telemetry):
            await self._enter("Telemetry", SEND)
            self.take(asked, message)
        elif isinstance(asked, topics.MethodAnswer):
            who = f"{self.device_id}/{self.module_id or ''}"
            methods = self._server.hub.methods
            methods.answered(who, asked.request_id, asked.status, message.payload)
        else:
            await self._twin(asked, message.payload)

    def take(self, asked: topics.Telemetry, message: Message, kind: str = "Telemetry") -> None:
        """Put a message of the client into the built-in endpoint."""
        self._server.append(self.device_id, self.module_id, asked, message, kind)

    async def _twin(self, asked: topics.TwinGet | topics.TwinReport, payload: bytes) -> None:
        reading = isinstance(asked, topics.TwinGet)
        version: int | None = None
        body = b""
        try:
            name, rate = ("TwinGet", TWIN_READ) if reading else ("TwinReport", TWIN_WRITE)
            await self._enter(name, rate)
            if reading:
                body, status = await self._server.ask(self._read), 200
            else:
                version, status = await self._server.ask(self._report, payload), 204
        except FaultError as exc:
            status = exc.fault.status or 500
        except HubError as exc:
            status, body = (
                exc.status,
                json.dumps({"errorCode": exc.number, "message": exc.message}).encode(),
            )
        self.tell(topics.twin_answer(asked.request_id, status, version), body)

    async def _enter(self, operation: str, rate: str) -> None:
        """Count, do what faults are set, and wait for the rate as the hub's shaping does.

        Raises:
            HubError: It would take too long.
            FaultError: A fault with an error.
        """
        await self._server.ask(self._server.site.enter, "device", operation)
        until = time.monotonic() + _MAX_SHAPING_S
        while not self._server.may_do(rate):
            if time.monotonic() >= until:
                raise HubError("ThrottlingException", "too many requests")
            await self._server.pause()

    def _read(self) -> bytes:
        registry = self._server.hub.registry
        with registry.lock:
            twin = registry.twin_entry(self.device_id, self.module_id).twin
            return json.dumps(for_device(twin), separators=(",", ":")).encode()

    def _report(self, payload: bytes) -> int:
        try:
            patch = json.loads(payload)
        except ValueError as exc:
            raise HubError("IotHubFormatError", "the patch is no JSON") from exc
        return self._server.hub.registry.report(self.device_id, self.module_id, patch)

    def _write(self, packet: bytes) -> None:
        self.transport.write(packet)

"""Decides what a connected client may do, packet by packet.

What AWS does on a breach is kept: MQTT 5 clients are told in PUBACK, SUBACK or DISCONNECT; those
of 3.1.1 are cut off when they publish what their policy does not allow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgectl.emulation.mqtt import (
    Disconnect,
    Message,
    PacketError,
    Ping,
    PubAck,
    Publish,
    Reason,
    Subscribe,
    Unsubscribe,
    building,
    packets,
    parsing,
)
from edgectl_aws_greengrass.emulator.broker import topics

if TYPE_CHECKING:
    from edgectl.emulation.mqtt import Session, Transport
    from edgectl_aws_greengrass.emulator.broker.server import Broker
    from edgectl_aws_greengrass.emulator.ports import Principal

_GRACE = 1.5
_WILL_ANYWAY = 4
_ALLOWED_FOR_S = 2.0
_MAX_ALIASES = 8


class Client:
    """A client with a session.

    Attributes:
        expiry_s: How long the session outlives the connection.
    """

    def __init__(
        self,
        broker: Broker,
        transport: Transport,
        principal: Principal,
        session: Session,
        *,
        will: Message | None,
        keep_alive_s: float,
        expiry_s: float,
    ) -> None:
        self.transport = transport
        self.keep_alive_s = keep_alive_s
        self.expiry_s = expiry_s
        self._broker = broker
        self._principal = principal
        self._session = session
        self._will = will
        self._aliases: dict[int, str] = {}
        self._received: dict[str, tuple[bool, float]] = {}

    @property
    def client_id(self) -> str:
        """The client id, which is the thing's name for a core device."""
        return self._session.client_id

    async def run(self) -> None:
        """Take packets until the client goes.

        Raises:
            PacketError: The client has to be cut off.
            OSError: The connection is lost; EOFError when the client closed it.
        """
        await self._tell(connected=True)
        while True:
            try:
                kind, flags, body = await self.transport.packet(self.keep_alive_s * _GRACE)
            except TimeoutError as exc:
                raise PacketError(
                    Reason.KEEP_ALIVE_TIMEOUT, "nothing came within the keep-alive time"
                ) from exc
            packet = parsing.parse(kind, flags, body, self.transport.version)
            if isinstance(packet, Disconnect):
                if packet.reason != _WILL_ANYWAY:
                    self._will = None
                return
            await self._handle(packet)
            await self.transport.drain()

    def let_go(self) -> None:
        """Leave the session to the connection that takes over, or to its time."""
        self._session.detach()
        if self.expiry_s > 0:
            self._session.expires_at = self._broker.loop.time() + self.expiry_s
        else:
            self._broker.switchboard.drop(self._session)

    async def finish(self) -> None:
        """Do what follows the end of the connection: session, presence, will."""
        if self._broker.clients.get(self.client_id) is self:
            self.let_go()
            del self._broker.clients[self.client_id]
            await self._tell(connected=False)
        will = self._will
        if will is None or topics.topic_fault(will.topic):
            return
        if self._allows("iot:Publish", f"topic/{will.topic}"):
            await self._broker.take(self.client_id, will)

    def may_receive(self, topic: str) -> bool:
        """Say whether the policy has ``iot:Receive``; the answer holds for a moment."""
        now = self._broker.loop.time()
        known = self._received.get(topic)
        if known is None or known[1] < now:
            known = (self._allows("iot:Receive", f"topic/{topic}"), now + _ALLOWED_FOR_S)
            self._received[topic] = known
        return known[0]

    async def _handle(self, packet: packets.Packet) -> None:
        if isinstance(packet, Publish):
            await self._publish(packet)
        elif isinstance(packet, Subscribe):
            await self._subscribe(packet)
        elif isinstance(packet, Unsubscribe):
            self._unsubscribe(packet)
        elif isinstance(packet, PubAck):
            self._session.acknowledged(packet.packet_id)
        elif isinstance(packet, Ping):
            self.transport.write(building.pingresp())
        else:
            raise PacketError(Reason.PROTOCOL_ERROR, "a second CONNECT")

    async def _publish(self, packet: Publish) -> None:
        message = self._named(packet)
        version = self.transport.version
        if fault := topics.topic_fault(message.topic):
            raise PacketError(Reason.TOPIC_NAME_INVALID, fault)
        if len(message.payload) > topics.MAX_PAYLOAD_BYTES:
            size = len(message.payload)
            raise PacketError(Reason.PACKET_TOO_LARGE, f"a payload has {size} bytes, 131072 may be")
        if not self._may_publish(message):
            if version == packets.V311 or not message.qos:
                why = f"no iot:Publish for topic/{message.topic}"
                raise PacketError(Reason.NOT_AUTHORIZED, why)
            refusal = building.puback(version, packet.packet_id, Reason.NOT_AUTHORIZED)
            self.transport.write(refusal)
            return
        if message.qos:
            self.transport.write(building.puback(version, packet.packet_id))
        await self._broker.take(self.client_id, message)

    def _named(self, packet: Publish) -> Message:
        message = packet.message
        if not packet.alias:
            return message
        if packet.alias > _MAX_ALIASES or (not message.topic and packet.alias not in self._aliases):
            raise PacketError(Reason.TOPIC_ALIAS_INVALID, f"no topic has the alias {packet.alias}")
        if message.topic:
            self._aliases[packet.alias] = message.topic
            return message
        return Message(
            topic=self._aliases[packet.alias],
            payload=message.payload,
            qos=message.qos,
            retain=message.retain,
            properties=message.properties,
        )

    def _may_publish(self, message: Message) -> bool:
        resource = f"topic/{message.topic}"
        if message.retain and not self._allows("iot:RetainPublish", resource):
            return False
        return self._allows("iot:Publish", resource)

    def _allows(self, action: str, resource: str) -> bool:
        return self._broker.allows(self._principal, action, resource, self.client_id)

    async def _subscribe(self, packet: Subscribe) -> None:
        if len(packet.filters) > topics.MAX_FILTERS_A_REQUEST:
            why = f"{len(packet.filters)} filters in a request, 8 may be"
            raise PacketError(Reason.QUOTA_EXCEEDED, why)
        granted: list[tuple[str, int]] = []
        codes: list[int] = []
        for name, qos in packet.filters:
            codes.append(self._granted(name, qos, len(granted)))
            if codes[-1] < Reason.UNSPECIFIED:
                granted.append((name, codes[-1]))
        for name, code in granted:
            self._broker.switchboard.subscribe(self._session, name, code)
        # What is told begins with what changes after SUBACK, and nothing after it is missed.
        await self._broker.watch([name for name, _ in granted])
        self.transport.write(building.suback(self.transport.version, packet.packet_id, codes))

    def _granted(self, name: str, qos: int, besides: int) -> int:
        known = self._session.subscriptions
        if name.startswith("$share/"):
            return Reason.SHARED_NOT_SUPPORTED
        if topics.filter_fault(name):
            return Reason.TOPIC_FILTER_INVALID
        if name not in known and len(known) + besides >= topics.MAX_SUBSCRIPTIONS:
            return Reason.QUOTA_EXCEEDED
        if not self._allows("iot:Subscribe", f"topicfilter/{name}"):
            return Reason.NOT_AUTHORIZED
        return min(qos, 1)

    def _unsubscribe(self, packet: Unsubscribe) -> None:
        board = self._broker.switchboard
        codes = [
            int(
                Reason.SUCCESS if board.unsubscribe(self._session, name) else Reason.NO_SUBSCRIPTION
            )
            for name in packet.filters
        ]
        self.transport.write(building.unsuback(self.transport.version, packet.packet_id, codes))

    async def _tell(self, *, connected: bool) -> None:
        if self.client_id in self._principal.things:
            things = self._broker.cloud.things
            await self._broker.ask(things.connected, self.client_id, connected=connected)

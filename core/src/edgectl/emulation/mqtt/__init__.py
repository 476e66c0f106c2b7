"""MQTT 3.1.1 and 5 for emulators' servers: packets on the wire, sessions, a listener.

What a client may do, and what becomes of its messages, each emulator decides for its own cloud.
"""

from __future__ import annotations

from edgectl.emulation.mqtt import building, packets, parsing, topics
from edgectl.emulation.mqtt.listener import Listener
from edgectl.emulation.mqtt.packets import (
    V5,
    V311,
    Connect,
    Disconnect,
    Kind,
    Message,
    Packet,
    PacketError,
    Ping,
    PubAck,
    Publish,
    Reason,
    Subscribe,
    Unsubscribe,
)
from edgectl.emulation.mqtt.session import MAX_IN_FLIGHT, Session
from edgectl.emulation.mqtt.transport import MAX_PACKET, Transport

__all__ = [
    "MAX_IN_FLIGHT",
    "MAX_PACKET",
    "V5",
    "V311",
    "Connect",
    "Disconnect",
    "Kind",
    "Listener",
    "Message",
    "Packet",
    "PacketError",
    "Ping",
    "PubAck",
    "Publish",
    "Reason",
    "Session",
    "Subscribe",
    "Transport",
    "Unsubscribe",
    "building",
    "packets",
    "parsing",
    "topics",
]

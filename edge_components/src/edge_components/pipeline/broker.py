"""MQTT 5 clients as the pipeline needs them: credentials, TLS, one connection at a time."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge_components.mqtt import new_client
from edge_components.pipeline.endpoints import Endpoint

KEEPALIVE_S = 30
_CONNECT_TIMEOUT_S = 5.0


def make_client(
    endpoint: Endpoint, client_id: str, *, manual_ack: bool = False, reconnect: bool = False
) -> mqtt.Client:
    """Return a client that is not connected yet.

    Raises:
        PipelineError: A secret cannot be read.
        OSError: A certificate cannot be used.
    """
    client = new_client(
        client_id, MQTTProtocolVersion.MQTTv5, reconnect=reconnect, manual_ack=manual_ack
    )
    client.connect_timeout = _CONNECT_TIMEOUT_S
    parts, section = urlsplit(endpoint.url), endpoint.section
    if section.username:
        client.username_pw_set(section.username, endpoint.password())
    elif parts.username is not None:
        client.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
    if parts.scheme == "mqtts":
        client.tls_set(
            ca_certs=section.ca or None,
            certfile=section.certificate or None,
            keyfile=section.key or None,
        )
    return client


def address(endpoint: Endpoint) -> tuple[str, int]:
    """Return the broker's host and port."""
    parts = urlsplit(endpoint.url)
    return parts.hostname or "", parts.port or (8883 if parts.scheme == "mqtts" else 1883)


def connect_properties(*, session_s: int, receive_maximum: int, max_bytes: int) -> Properties:
    """Return what a subscriber asks of the broker (MQTT 5.0, 3.1.2.11)."""
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho has no types there
    properties.SessionExpiryInterval = session_s
    properties.ReceiveMaximum = receive_maximum
    properties.MaximumPacketSize = max_bytes
    return properties


def json_properties() -> Properties:
    """Return what says that a message is JSON."""
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho has no types there
    properties.ContentType = "application/json"
    return properties

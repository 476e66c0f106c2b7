"""Telemetry over MQTT 5: each batch is one message with QoS 1, delivered when it is acknowledged.

``mqtts://user:password@broker:8883/site/lot-7/telemetry?client_id=lot-7``: the path is the topic.
The payload is gzipped OTLP JSON, and its properties say so (content type ``application/json``,
user property ``content-encoding: gzip``). With a client certificate the broker knows the device by
it (mutual TLS). A broker that has nobody to give a message to says so
(reason 16, MQTT 5.0 section 3.4.2.1); such records are kept until somebody subscribes.
"""

from __future__ import annotations

import gzip
import queue
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge_components.mqtt import new_client
from edge_components.telemetry.sender import Answer, Outcome, SenderError, UplinkSettings

_TOPIC = "edgectl/telemetry"
_KEEPALIVE_S = 30
_PACKET_OVERHEAD = 256
_NO_SUBSCRIBERS = 0x10
_POISON = frozenset({0x95, 0x99})  # packet too large, payload format invalid
_LOST = "the connection to the broker is lost"


def classify(reason: int) -> Outcome:
    """Decide from the reason code of a PUBACK."""
    if reason in _POISON:
        return Outcome.POISON
    delivered = reason < 0x80 and reason != _NO_SUBSCRIBERS
    return Outcome.DELIVERED if delivered else Outcome.KEPT


class _Link:
    """One connection; it ends with the first trouble."""

    def __init__(self, settings: UplinkSettings) -> None:
        parts = urlsplit(settings.url)
        self.max_bytes = 0
        self._timeout_s = settings.read_timeout_s
        self._events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        client_id = parse_qs(parts.query).get("client_id", [""])[-1]
        self._client = client = new_client(client_id, MQTTProtocolVersion.MQTTv5)
        client.connect_timeout = settings.connect_timeout_s
        if parts.username is not None:
            client.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
        is_tls = parts.scheme == "mqtts"
        if is_tls:
            _set_tls(client, settings)
        client.on_connect = lambda _c, _u, _f, code, properties: self._events.put(
            ("connect", (code, properties))
        )
        client.on_publish = lambda _c, _u, _m, code, _p: self._events.put(("publish", code))
        client.on_disconnect = lambda *_: self._events.put(("lost", _LOST))
        self._address = (parts.hostname or "", parts.port or (8883 if is_tls else 1883))

    def open(self) -> str:
        """Connect; return what is in the way, or ""."""
        host, port = self._address
        self._client.connect(host, port, keepalive=_KEEPALIVE_S, clean_start=True)
        self._client.loop_start()
        kind, found = self._next()
        if kind != "connect":
            return str(found)
        code, properties = found
        if code.is_failure:
            return f"the broker refuses: {code}"
        self.max_bytes = getattr(properties, "MaximumPacketSize", 0)
        return ""

    def publish(self, topic: str, payload: bytes) -> Answer:
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho has no types there
        properties.ContentType = "application/json"
        properties.UserProperty = ("content-encoding", "gzip")
        self._client.publish(topic, payload, qos=1, properties=properties)
        kind, found = self._next()
        if kind != "publish":
            return Answer(Outcome.KEPT, str(found))
        return Answer(classify(found.value), f"the broker answered '{found}'")

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def is_lost(self) -> bool:
        return not self._client.is_connected()

    def _next(self) -> tuple[str, Any]:
        try:
            return self._events.get(timeout=self._timeout_s)
        except queue.Empty:
            return "late", f"the broker did not answer in {self._timeout_s:g} s"


def _set_tls(client: mqtt.Client, settings: UplinkSettings) -> None:
    try:
        client.tls_set(
            ca_certs=settings.ca or None,
            certfile=settings.certificate or None,
            keyfile=settings.key or None,
            # Without a password paho would let OpenSSL ask on the terminal for an encrypted key's.
            keyfile_password="" if settings.key else None,
        )
    except (OSError, ValueError) as exc:
        raise SenderError(
            f"'{settings.ca}', '{settings.certificate}' and '{settings.key}' cannot be used "
            f"for TLS: {exc}"
        ) from exc


class MqttSender:
    """Publishes to a broker.

    Raises:
        SenderError: The address names no broker, or a topic that nobody can publish to.
    """

    def __init__(self, settings: UplinkSettings) -> None:
        parts = urlsplit(settings.url)
        self._topic = unquote(parts.path.lstrip("/")) or _TOPIC
        if not parts.hostname:
            raise SenderError("an MQTT uplink needs a broker, mqtt://broker/topic")
        try:
            _ = parts.port
        except ValueError:  # its message holds a piece of the address, perhaps of the password
            raise SenderError(
                "the broker's port is no number; signs in a password are written as %XX"
            ) from None
        if any(character in self._topic for character in "+#\0"):
            raise SenderError(f"'{self._topic}' is no topic to publish to")
        self._settings = settings
        self._link: _Link | None = None

    def send(self, body: bytes) -> Answer:
        """Publish a batch and wait for its acknowledgement."""
        try:
            answer = self._publish(gzip.compress(body, compresslevel=5))
        except (OSError, ValueError) as exc:
            answer = Answer(Outcome.KEPT, f"{type(exc).__name__}: {exc}")
        if answer.outcome is Outcome.KEPT:
            self.close()
        return answer

    def close(self) -> None:
        """Disconnect."""
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def _publish(self, payload: bytes) -> Answer:
        if self._link is not None and self._link.is_lost:
            self.close()
        if self._link is None:
            self._link = _Link(self._settings)
            if why := self._link.open():
                return Answer(Outcome.KEPT, why)
        if 0 < self._link.max_bytes < len(payload) + len(self._topic) + _PACKET_OVERHEAD:
            return Answer(Outcome.POISON, f"the broker takes {self._link.max_bytes} bytes at most")
        return self._link.publish(self._topic, payload)

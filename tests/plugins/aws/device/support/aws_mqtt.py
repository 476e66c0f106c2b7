"""A plain MQTT client for the tests, on paho."""

from __future__ import annotations

import json
import queue
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

WAIT_S = 10.0


class Device:
    """A client with a certificate; what happens to it is put into queues."""

    def __init__(
        self, port: int, ca: Path, files: tuple[Path, Path], client_id: str, **more: Any
    ) -> None:
        self.messages: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self.connects: queue.Queue[Any] = queue.Queue()
        self.disconnects: queue.Queue[Any] = queue.Queue()
        self.acks: queue.Queue[tuple[int, Any]] = queue.Queue()
        self.subscribed: queue.Queue[list[Any]] = queue.Queue()
        self._port = port
        self._more = more
        protocol = more.pop("protocol", MQTTProtocolVersion.MQTTv5)
        clean = {"clean_session": more.pop("clean_session")} if "clean_session" in more else {}
        self.client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            protocol=protocol,
            reconnect_on_failure=False,
            **clean,
        )
        self.client.tls_set(str(ca), str(files[0]), str(files[1]))
        self.client.on_connect = lambda _c, _u, flags, code, props: self.connects.put(
            (code, flags, props)
        )
        self.client.on_disconnect = lambda _c, _u, _f, code, _p: self.disconnects.put(code)
        self.client.on_message = lambda _c, _u, m: self.messages.put((m.topic, m.payload))
        self.client.on_publish = lambda _c, _u, mid, code, _p: self.acks.put((mid, code))
        self.client.on_subscribe = lambda _c, _u, _m, codes, _p: self.subscribed.put(codes)

    def connect(self, keepalive: int = 60, **more: Any) -> Any:
        """Connect; return (reason code, flags, properties)."""
        self.client.connect("127.0.0.1", self._port, keepalive, **more)
        self.client.loop_start()
        return self.connects.get(timeout=WAIT_S)

    def subscribe(self, *topics: str, qos: int = 1) -> list[Any]:
        """Subscribe and return the reason codes."""
        self.client.subscribe([(topic, qos) for topic in topics])
        return self.subscribed.get(timeout=WAIT_S)

    def publish(self, topic: str, payload: Any = b"", qos: int = 1, **more: Any) -> Any:
        """Publish with QoS 1 and return the reason code of the acknowledgement."""
        raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self.client.publish(topic, raw, qos=qos, **more)
        return self.acks.get(timeout=WAIT_S)[1] if qos else None

    def next(self) -> tuple[str, Any]:
        """Return the next message's topic and its JSON."""
        topic, payload = self.messages.get(timeout=WAIT_S)
        return topic, json.loads(payload)

    def close(self) -> None:
        """Leave."""
        self.client.disconnect()
        self.client.loop_stop()

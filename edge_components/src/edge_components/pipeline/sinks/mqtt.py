"""Answers as MQTT messages: a few are on their way, the others wait for the broker.

The client connects by itself and again after a cut; with QoS 1 a message is gone from here only
when the broker has acknowledged it. A thread of its own publishes, because paho calls back with
its locks held: whoever waits for those must hold none of ours.
"""

from __future__ import annotations

import threading
from typing import Any

import msgspec
import paho.mqtt.client as mqtt

from edge_components.contract.pipeline import MqttSink
from edge_components.pipeline.broker import KEEPALIVE_S, address, json_properties, make_client
from edge_components.pipeline.endpoints import Endpoint
from edge_components.pipeline.reports import Reports
from edge_components.pipeline.sinks.backlog import Backlog

_ON_THEIR_WAY = 16


class MqttWriter:
    """Publishes answers in their order."""

    def __init__(self, sink: MqttSink, endpoint: Endpoint, reports: Reports) -> None:
        self._sink = sink
        self._endpoint = endpoint
        self._reports = reports
        self._properties = json_properties()
        self._waiting: Backlog[bytes] = Backlog(
            most=sink.max_waiting,
            block=sink.when_full == "block",
            word="mqtt",
            whom=endpoint.shown,
            reports=reports,
        )
        self._sent = 0
        self._connected = False
        self._stopping = False
        self._condition = threading.Condition()
        self._client: mqtt.Client | None = None

    def write(self, name: str, answer: dict[str, Any]) -> None:
        """Let an answer wait for the broker.

        Raises:
            OSError: Too many wait, and the pipeline is to wait too.
            PipelineError: A secret cannot be read.
        """
        del name
        if self._client is None:
            self._client = self._connect()
            threading.Thread(
                target=self._run, args=(self._client,), name="mqtt-sink", daemon=True
            ).start()
        with self._condition:
            self._waiting.add(msgspec.json.encode(answer))
            self._condition.notify_all()

    def close(self, timeout_s: float) -> None:
        """Deliver what waits, at most for so long."""
        client, self._client = self._client, None
        if client is None:
            return
        with self._condition:
            self._condition.wait_for(lambda: not self._waiting and not self._sent, timeout_s)
            self._stopping = True
            lost = len(self._waiting) + self._sent
            self._condition.notify_all()
        if lost:
            self._reports.count("mqtt_lost", lost)
        client.disconnect()
        client.loop_stop()

    def _connect(self) -> mqtt.Client:
        client = make_client(self._endpoint, self._sink.client_id, reconnect=True)
        client.reconnect_delay_set(1, 30)
        client.on_connect = lambda _c, _u, _f, code, _p: self._on_connect(code)
        client.on_disconnect = lambda *_: self._on_disconnect()
        client.on_connect_fail = lambda *_: self._trouble("cannot be reached")
        client.on_publish = lambda _c, _u, _m, code, _p: self._on_publish(code)
        host, port = address(self._endpoint)
        client.connect_async(host, port, keepalive=KEEPALIVE_S)
        client.loop_start()
        return client

    def _run(self, client: mqtt.Client) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._stopping or self._may_send)
                if self._stopping:
                    return
                payload = self._waiting.popleft()
                self._sent += 1
            sent = client.publish(
                self._sink.topic,
                payload,
                qos=self._sink.qos,
                retain=self._sink.retain,
                properties=self._properties,
            )
            if self._sink.qos == 0 and sent.rc != mqtt.MQTT_ERR_SUCCESS:
                self._take_back(payload)

    def _take_back(self, payload: bytes) -> None:
        """Let an answer wait again: with QoS 0 paho forgets what it has no connection for."""
        with self._condition:
            self._connected = False
            self._sent = max(0, self._sent - 1)
            self._waiting.appendleft(payload)

    @property
    def _may_send(self) -> bool:
        return self._connected and bool(self._waiting) and self._sent < _ON_THEIR_WAY

    def _on_connect(self, code: Any) -> None:
        if code.is_failure:
            self._trouble(f"refuses: {code}")
            return
        self._reports.fine("mqtt-sink")
        with self._condition:
            self._connected = True
            self._condition.notify_all()

    def _on_disconnect(self) -> None:
        lost = 0
        with self._condition:
            self._connected = False
            if self._sink.qos == 0:  # nobody will say what became of them
                lost, self._sent = self._sent, 0
            self._condition.notify_all()
        if lost:
            self._reports.count("mqtt_lost", lost)

    def _on_publish(self, code: Any) -> None:
        refused = code is not None and code.is_failure
        self._reports.count("mqtt_refused" if refused else "mqtt_delivered")
        with self._condition:
            self._sent = max(0, self._sent - 1)
            self._condition.notify_all()

    def _trouble(self, what: str) -> None:
        self._reports.trouble("mqtt-sink", f"the broker {self._endpoint.shown} {what}")

"""The MQTT source: a message is a reading, acknowledged when it has its outcome.

With QoS 1 the broker sends no more than a few messages that are not acknowledged (receive
maximum), so a pipeline that is slow holds the broker and not its own memory. The session
outlives a cut link and a restart: what was not acknowledged comes again.
"""

from __future__ import annotations

import functools
import itertools
import queue
import threading
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as mqtt

from edge_components.contract.pipeline import MqttSource
from edge_components.pipeline.broker import KEEPALIVE_S, address, connect_properties, make_client
from edge_components.pipeline.endpoints import Endpoint
from edge_components.pipeline.reading import Outcome, Reading

_RECEIVE_MAXIMUM = 32
_MOST_WAITING = 1024  # QoS 0 knows no receive maximum
_OVERHEAD = 2048
_LOOK_S = 0.2
_CONNECTED_WITHIN_S = 10.0


class MqttFeed:
    """Subscribes, and brings what comes."""

    threaded = True
    retry_s = 0.5
    max_retry_s = 30.0

    def __init__(self, source: MqttSource, endpoint: Endpoint, device_id: str) -> None:
        self._source = source
        self._endpoint = endpoint
        self._client_id = source.client_id or (f"edgectl-{device_id}" if device_id else "")
        self._numbers = itertools.count(1)
        self._session = 0
        self._in_hand: set[int] = set()
        self._lock = threading.Lock()
        self._client: mqtt.Client | None = None
        self._events: queue.Queue[tuple[str, Any]] | None = None

    def run(self, put: Callable[[Reading], bool], stop: threading.Event) -> None:
        """Bring messages until told to stop.

        Raises:
            OSError: The broker cannot be reached, refuses, or is lost.
            PipelineError: A secret cannot be read.
        """
        events: queue.Queue[tuple[str, Any]] = queue.Queue(_MOST_WAITING)
        client = make_client(self._endpoint, self._client_id, manual_ack=True)
        client.on_connect = lambda *args: events.put(("connected", args[2:4]))
        client.on_subscribe = lambda *args: events.put(("subscribed", args[3]))
        client.on_message = lambda _c, _u, message: _offer(events, message)
        host, port = address(self._endpoint)
        properties = connect_properties(
            session_s=self._source.session_s,
            receive_maximum=_RECEIVE_MAXIMUM,
            max_bytes=self._source.max_bytes + _OVERHEAD,
        )
        client.connect(
            host,
            port,
            keepalive=KEEPALIVE_S,
            clean_start=not self._client_id,
            properties=properties,
        )
        client.loop_start()
        try:
            self._greet(client, events)
            self._client, self._events = client, events
            self._bring(client, events, put, stop)
        finally:
            self._client = self._events = None
            client.disconnect()
            client.loop_stop()

    def _greet(self, client: mqtt.Client, events: queue.Queue[tuple[str, Any]]) -> None:
        flags, code = _next(events, "connected")
        if code.is_failure:
            raise ConnectionError(f"the broker refuses: {code}")
        if not flags.session_present:
            with self._lock:  # what was not acknowledged is forgotten, and its numbers with it
                self._session += 1
                self._in_hand.clear()
        client.subscribe(self._source.topic, qos=self._source.qos)
        for code in _next(events, "subscribed"):
            if code.is_failure:
                raise ConnectionError(f"the broker refuses '{self._source.topic}': {code}")

    def _bring(
        self,
        client: mqtt.Client,
        events: queue.Queue[tuple[str, Any]],
        put: Callable[[Reading], bool],
        stop: threading.Event,
    ) -> None:
        while not stop.is_set():
            try:
                kind, found = events.get(timeout=_LOOK_S)
            except queue.Empty:
                if not client.is_connected():
                    raise ConnectionError("the connection to the broker is lost") from None
                continue
            if kind == "message" and not self._take(found, put) and stop.is_set():
                return

    def _take(self, message: mqtt.MQTTMessage, put: Callable[[Reading], bool]) -> bool:
        number = message.mid if message.qos else 0
        with self._lock:
            if number and number in self._in_hand:
                return True  # it comes again, because the link was cut while it is worked on
            if number:
                self._in_hand.add(number)
            session = self._session
        name = f"{message.topic}-{next(self._numbers)}"
        done = functools.partial(self._done, session, message)
        return put(Reading(name, bytes(message.payload), key=message.topic, done=done))

    def _done(self, session: int, message: mqtt.MQTTMessage, outcome: Outcome, _why: str) -> None:
        with self._lock:
            if not message.qos or session != self._session:
                return
            self._in_hand.discard(message.mid)
            client, events = self._client, self._events
        if client is None or events is None:
            return  # not acknowledged, so the session brings it again
        if outcome is Outcome.LEFT:
            events.put(("message", message))
        else:
            client.ack(message.mid, message.qos)


def _next(events: queue.Queue[tuple[str, Any]], wanted: str) -> Any:
    """Return what is awaited; messages that are quicker wait behind it."""
    early = []
    try:
        while True:
            kind, found = events.get(timeout=_CONNECTED_WITHIN_S)
            if kind == wanted:
                return found
            early.append((kind, found))
    except queue.Empty:
        raise ConnectionError("the broker does not answer") from None
    finally:
        for one in early:
            events.put(one)


def _offer(events: queue.Queue[tuple[str, Any]], message: mqtt.MQTTMessage) -> None:
    if message.qos:
        events.put(("message", message))
        return
    try:
        events.put_nowait(("message", message))
    except queue.Full:
        return  # at most once is what QoS 0 promises

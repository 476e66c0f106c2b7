"""The core device's connection to AWS IoT Core: MQTT 5 with its certificate, kept up for ever.

Requests to the jobs and shadow services are a publish and the answer on ``…/accepted`` or
``…/rejected`` with the same ``clientToken``.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from edgectl_aws_greengrass.emulator.nucleus.failures import UnavailableError
from edgectl_aws_greengrass.emulator.nucleus.settings import NucleusSettings

log = logging.getLogger(__name__)

Handler = Callable[[str, bytes], None]
_Answer = tuple[bool, dict[str, Any]]

ANSWER_TIMEOUT_S = 30.0
SPOOL_MAX_BYTES = 2_621_440
_LOOK_S = 0.2
_KEEP_ALIVE_S = 60
_MAX_WAIT_S = 5


class RejectedError(Exception):
    """A service refuses a request.

    Attributes:
        code: Its word (``VersionMismatch``, …) or, of the shadow service, its number.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class Link:
    """The connection.

    Args:
        settings: Where to connect, and as whom.
        connected: Called on each connection, from a thread of its own, after subscribing again.
        stopping: Ends whatever waits for an answer.
    """

    def __init__(
        self,
        settings: NucleusSettings,
        connected: Callable[[], None],
        stopping: threading.Event,
    ) -> None:
        self._settings = settings
        self._connected = connected
        self._stopping = stopping
        self._handlers: dict[str, Handler] = {}
        self._waiting: dict[str, Future[_Answer]] = {}
        self._lock = threading.Lock()
        self._subscribed: dict[int, threading.Event] = {}
        self._up = threading.Event()
        self._calls = threading.Lock()
        self._spooled_bytes = 0
        self._early: set[int] = set()
        self._client = client = mqtt.Client(
            CallbackAPIVersion.VERSION2, settings.thing, protocol=mqtt.MQTTv5
        )
        client.tls_set(str(settings.root_ca), str(settings.certificate), str(settings.private_key))
        client.reconnect_delay_set(1, _MAX_WAIT_S)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_subscribe = self._on_subscribe

    @property
    def is_up(self) -> bool:
        """Whether there is a connection now."""
        return self._up.is_set()

    def start(self) -> None:
        """Begin to connect; it goes on in the background."""
        self._client.connect_async(
            self._settings.data_host, self._settings.mqtt_port, _KEEP_ALIVE_S
        )
        self._client.loop_start()

    def stop(self) -> None:
        """Leave."""
        self._client.disconnect()
        self._client.loop_stop()

    def on(self, topic: str, handler: Handler) -> None:
        """Have messages of a topic handled, now and after each reconnection.

        The handler runs on the connection's thread: it must be quick and may not ``call``.
        """
        with self._lock:
            self._handlers[topic] = handler
        if self.is_up:
            self._subscribe([topic])

    def publish(self, topic: str, payload: bytes, qos: int = 1) -> bool:
        """Publish; without a connection it waits in memory. Return False when there is no room."""
        with self._lock:
            if not self.is_up:
                if self._spooled_bytes + len(payload) > SPOOL_MAX_BYTES:
                    return False
                self._spooled_bytes += len(payload)
        # paho calls back with its own locks held, so none of ours is while it is called.
        self._client.publish(topic, payload, qos=qos)
        return True

    def call(
        self, topic: str, request: dict[str, Any], timeout_s: float = ANSWER_TIMEOUT_S
    ) -> dict[str, Any]:
        """Ask a service and return its answer.

        Raises:
            RejectedError: It refuses.
            UnavailableError: There is no connection, or no answer in time.
        """
        if not self.is_up:
            raise UnavailableError(f"no connection for '{topic}'")
        token = uuid.uuid4().hex
        future: Future[_Answer] = Future()
        with self._lock:
            self._waiting[token] = future
        try:
            with self._calls, self._answers(topic):
                body = json.dumps({**request, "clientToken": token}, separators=(",", ":"))
                self._client.publish(topic, body.encode(), qos=1)
                accepted, answer = self._wait(future, time.monotonic() + timeout_s)
        except FutureTimeout as exc:
            raise UnavailableError(f"no answer on '{topic}'") from exc
        finally:
            with self._lock:
                self._waiting.pop(token, None)
        if not accepted:
            raise RejectedError(str(answer.get("code")), str(answer.get("message")))
        return answer

    @contextlib.contextmanager
    def _answers(self, topic: str) -> Iterator[None]:
        names = [f"{topic}/accepted", f"{topic}/rejected"]
        self._subscribe(names)
        try:
            yield
        finally:
            kept = [name for name in names if name not in self._handlers]
            if kept and self.is_up:
                self._client.unsubscribe(kept)

    def _subscribe(self, names: list[str]) -> None:
        done = threading.Event()
        result, number = self._client.subscribe([(name, 1) for name in names])
        if result != mqtt.MQTT_ERR_SUCCESS or number is None:
            return
        with self._lock:
            if number in self._early:
                self._early.discard(number)
                return
            self._subscribed[number] = done
        until = time.monotonic() + ANSWER_TIMEOUT_S
        while self.is_up and not self._stopping.is_set() and time.monotonic() < until:
            if done.wait(_LOOK_S):
                return

    def _wait(self, future: Future[_Answer], until: float) -> _Answer:
        """Wait for an answer, as long as there can be one.

        Raises:
            FutureTimeout: There is none.
        """
        while True:
            try:
                return future.result(_LOOK_S)
            except FutureTimeout:
                if not self.is_up or self._stopping.is_set() or time.monotonic() >= until:
                    raise

    def _on_connect(self, _c: Any, _u: Any, _f: Any, code: Any, _p: Any) -> None:
        if code.is_failure:
            log.warning("AWS IoT Core refuses the connection: %s", code)
            return
        with self._lock:
            self._spooled_bytes = 0
            self._early.clear()
        self._up.set()
        threading.Thread(target=self._again, name="mqtt-again", daemon=True).start()

    def _again(self) -> None:
        with self._lock:
            names = list(self._handlers)
        for start in range(0, len(names), 8):
            self._subscribe(names[start : start + 8])
        self._connected()

    def _on_disconnect(self, *_: Any) -> None:
        self._up.clear()

    def _on_subscribe(self, _c: Any, _u: Any, number: int, codes: Any, _p: Any) -> None:
        with self._lock:
            done = self._subscribed.pop(number, None)
            if done is None:
                self._early.add(number)
        for code in codes:
            if code.is_failure:
                log.warning("AWS IoT Core refuses a subscription: %s", code)
        if done is not None:
            done.set()

    def _on_message(self, _c: Any, _u: Any, message: mqtt.MQTTMessage) -> None:
        payload = bytes(message.payload)
        if self._take_answer(message.topic, payload):
            return
        with self._lock:
            handler = self._handlers.get(message.topic)
        if handler is not None:
            try:
                handler(message.topic, payload)
            except Exception:
                log.exception("a message on '%s' is not understood", message.topic)

    def _take_answer(self, topic: str, payload: bytes) -> bool:
        verdict = topic.rsplit("/", 1)[-1]
        if verdict not in {"accepted", "rejected"}:
            return False
        try:
            answer = json.loads(payload)
            token = answer.get("clientToken")
        except (ValueError, AttributeError):
            return False
        with self._lock:
            future = self._waiting.pop(token, None) if token else None
        if future is None:
            return False
        future.set_result((verdict == "accepted", answer))
        return True

"""The core device's connection to AWS IoT Core: MQTT 5 with its certificate, kept up for ever.

Requests to the jobs and shadow services are a publish and the answer on ``…/accepted`` or
``…/rejected`` with the same ``clientToken``.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
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

ANSWER_TIMEOUT_S = 30.0
SPOOL_MAX_BYTES = 2_621_440
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
    """

    def __init__(self, settings: NucleusSettings, connected: Callable[[], None]) -> None:
        self._settings = settings
        self._connected = connected
        self._handlers: dict[str, Handler] = {}
        self._waiting: dict[str, Future[tuple[bool, dict[str, Any]]]] = {}
        self._lock = threading.Lock()
        self._subscribed: dict[int, threading.Event] = {}
        self._up = threading.Event()
        self._calls = threading.Lock()
        self._spooled: dict[int, int] = {}
        self._client = client = mqtt.Client(
            CallbackAPIVersion.VERSION2, settings.thing, protocol=mqtt.MQTTv5
        )
        client.tls_set(str(settings.root_ca), str(settings.certificate), str(settings.private_key))
        client.reconnect_delay_set(1, _MAX_WAIT_S)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish

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
            if not self.is_up and sum(self._spooled.values()) + len(payload) > SPOOL_MAX_BYTES:
                return False
            number = self._client.publish(topic, payload, qos=qos).mid
            if qos:
                self._spooled[number] = len(payload)
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
        future: Future[tuple[bool, dict[str, Any]]] = Future()
        with self._lock:
            self._waiting[token] = future
        try:
            with self._calls, self._answers(topic):
                body = json.dumps({**request, "clientToken": token}, separators=(",", ":"))
                self._client.publish(topic, body.encode(), qos=1)
                accepted, answer = future.result(timeout_s)
        except FutureTimeout as exc:
            raise UnavailableError(f"no answer on '{topic}' in {timeout_s:g} s") from exc
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
        with self._lock:
            result, number = self._client.subscribe([(name, 1) for name in names])
            if number is not None:
                self._subscribed[number] = done
        if result == mqtt.MQTT_ERR_SUCCESS:
            done.wait(ANSWER_TIMEOUT_S)

    def _on_connect(self, _c: Any, _u: Any, _f: Any, code: Any, _p: Any) -> None:
        if code.is_failure:
            log.warning("AWS IoT Core refuses the connection: %s", code)
            return
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
        for code in codes:
            if code.is_failure:
                log.warning("AWS IoT Core refuses a subscription: %s", code)
        if done is not None:
            done.set()

    def _on_publish(self, _c: Any, _u: Any, number: int, _code: Any, _p: Any) -> None:
        with self._lock:
            self._spooled.pop(number, None)

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

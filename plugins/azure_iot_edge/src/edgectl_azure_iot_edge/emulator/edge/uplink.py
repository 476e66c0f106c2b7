"""A module's connection to the hub: MQTT 3.1.1 over TLS with a shared access signature, kept up.

Topics and names: iot-mqtt-connect-to-iot-hub. One link is one identity, as the vendor's runtime has
it; a link that is cut connects again with growing pauses for as long as it lives.
"""

from __future__ import annotations

import contextlib
import json
import logging
import random
import ssl
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any
from urllib.parse import parse_qs

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from edgectl_azure_iot_edge.emulator.edge.faults import FaultFile
from edgectl_azure_iot_edge.emulator.edge.identities import Identity, UnreachableError
from edgectl_azure_iot_edge.emulator.edge.settings import DeviceSettings
from edgectl_azure_iot_edge.emulator.edge.tokens import make_token

log = logging.getLogger(__name__)

Twin = dict[str, Any]
Method = Callable[[str, bytes], tuple[int, bytes]]
Desired = Callable[[Mapping[str, Any], int], None]

API_VERSION = "2018-06-30"
ANSWER_TIMEOUT_S = 20.0
_KEEP_ALIVE_S = 60
_LOOK_S = 0.2
_FIRST_PAUSE_S = 0.3
_MAX_PAUSE_S = 10.0
_FILTERS = ("$iothub/twin/res/#", "$iothub/twin/PATCH/properties/desired/#")
_METHODS = "$iothub/methods/POST/#"


class HubLink:
    """A connection as one module.

    Args:
        identity: Whose.
        connected: Called on each connection, from a thread of its own, when subscribed.
        desired: Called with each patch of desired properties and its version.
        method: Answers a direct method with a status and JSON.
    """

    def __init__(
        self,
        settings: DeviceSettings,
        identity: Identity,
        faults: FaultFile,
        *,
        connected: Callable[[], None] = lambda: None,
        desired: Desired = lambda patch, version: None,
        method: Method | None = None,
    ) -> None:
        self._settings = settings
        self._identity = identity
        self._faults = faults
        self._connected = connected
        self._desired = desired
        self._method = method
        self._path = f"{settings.device_id}/{identity.module_id}"
        self._stopping = threading.Event()
        self._gone = threading.Event()
        self._up = threading.Event()
        self._lock = threading.Lock()
        self._answers: dict[str, Future[tuple[int, bytes, int]]] = {}
        self._acks: dict[int, Future[None]] = {}
        self._early: set[int] = set()
        self._number = 0
        # Patches of a twin keep their order; a method that takes its time holds up nothing else.
        self._ordered = ThreadPoolExecutor(1, thread_name_prefix="link-twin")
        self._workers = ThreadPoolExecutor(4, thread_name_prefix="link-method")
        self._client = self._new_client()
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)

    @property
    def is_up(self) -> bool:
        """Whether there is a connection now."""
        return self._up.is_set()

    def start(self) -> None:
        """Begin to connect; it goes on in the background."""
        self._thread.start()

    def stop(self) -> None:
        """Leave."""
        self._stopping.set()
        self._gone.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(5.0)
        for workers in (self._ordered, self._workers):
            workers.shutdown(wait=False, cancel_futures=True)

    def wait_up(self, timeout_s: float) -> bool:
        """Wait for a connection; say whether there is one."""
        return self._up.wait(timeout_s)

    def twin(self) -> Twin:
        """Return ``{"desired": …, "reported": …}``.

        Raises:
            UnreachableError: There is no connection, or no answer in time.
        """
        status, payload, _ = self._ask("$iothub/twin/GET/", b"")
        if status != 200:
            raise UnreachableError(f"the twin is not given: {status} {payload!r}")
        found: Twin = json.loads(payload)
        return found

    def report(self, patch: Mapping[str, Any]) -> int:
        """Merge a patch into the reported properties; return their new version.

        Raises:
            UnreachableError: It does not reach the hub, or the hub refuses it.
        """
        payload = json.dumps(patch, separators=(",", ":")).encode()
        status, answer, version = self._ask("$iothub/twin/PATCH/properties/reported/", payload)
        if status >= 300:
            raise UnreachableError(f"reported properties are refused: {status} {answer!r}")
        return version

    def send(self, properties: str, payload: bytes) -> Future[None]:
        """Send a message; the future is done when the hub has it.

        Args:
            properties: As they stand in the topic: ``name=value&…``.
            payload: The message's body.

        Raises:
            UnreachableError: There is no connection.
        """
        if not self.is_up:
            raise UnreachableError("there is no connection")
        device, module = self._settings.device_id, self._identity.module_id
        topic = f"devices/{device}/modules/{module}/messages/events/{properties}"
        done: Future[None] = Future()
        number = self._client.publish(topic, payload, qos=1).mid
        with self._lock:
            if number in self._early:
                self._early.discard(number)
                done.set_result(None)
            else:
                self._acks[number] = done
        return done

    def _ask(self, topic: str, payload: bytes) -> tuple[int, bytes, int]:
        if not self.is_up:
            raise UnreachableError("there is no connection")
        answer: Future[tuple[int, bytes, int]] = Future()
        with self._lock:
            self._number += 1
            rid = str(self._number)
            self._answers[rid] = answer
        self._client.publish(f"{topic}?$rid={rid}", payload, qos=0)
        try:
            return answer.result(ANSWER_TIMEOUT_S)
        except (FutureTimeout, ConnectionError) as exc:
            raise UnreachableError(f"no answer to '{topic}'") from exc
        finally:
            with self._lock:
                self._answers.pop(rid, None)

    def _new_client(self) -> mqtt.Client:
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            self._path,
            clean_session=True,
            protocol=mqtt.MQTTv311,
            reconnect_on_failure=False,
        )
        trust = self._settings.trust
        client.tls_set_context(ssl.create_default_context(cafile=str(trust) if trust else None))
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        return client

    def _run(self) -> None:
        pause = _FIRST_PAUSE_S
        while not self._stopping.is_set():
            if not self._faults.now.network_cut and self._session():
                pause = _FIRST_PAUSE_S
            self._stopping.wait(pause * random.uniform(0.7, 1.3))  # noqa: S311  # spreads devices
            pause = min(pause * 2, _MAX_PAUSE_S)

    def _session(self) -> bool:
        """Connect and stay; return whether there was a connection."""
        self._gone.clear()
        if self._stopping.is_set():
            return False
        settings, module = self._settings, self._identity.module_id
        address = f"{settings.hub_host}/devices/{settings.device_id}/modules/{module}"
        self._client = client = self._new_client()
        client.username_pw_set(
            f"{settings.hub_host}/{self._path}/?api-version={API_VERSION}",
            make_token(address, self._identity.key, self._faults.clock()),
        )
        was_up = False
        try:
            client.connect(settings.host, settings.mqtt_port, _KEEP_ALIVE_S)
            client.loop_start()
            while not self._gone.wait(_LOOK_S):
                was_up = was_up or self.is_up
                if self._faults.now.network_cut:
                    break
        except OSError as exc:
            log.info("the hub cannot be reached as %s: %s", module, exc)
        finally:
            was_up = was_up or self.is_up
            self._leave(client)
        return was_up

    def _leave(self, client: mqtt.Client) -> None:
        self._up.clear()
        sock = client.socket()
        if sock is not None and self._faults.now.network_cut:
            with contextlib.suppress(OSError):
                sock.close()  # as a cable that is pulled: without a word
        else:
            client.disconnect()
        client.loop_stop()
        with self._lock:
            answers, acks = tuple(self._answers.values()), tuple(self._acks.values())
            self._acks.clear()
            self._early.clear()
        for answer in answers:
            _fail(answer)
        for ack in acks:
            _fail(ack)

    def _on_connect(self, client: mqtt.Client, _u: Any, _f: Any, code: Any, _p: Any) -> None:
        if code.is_failure:
            log.warning("the hub refuses %s: %s", self._path, code)
            self._gone.set()
            return
        filters = [*_FILTERS, *([_METHODS] if self._method is not None else [])]
        client.subscribe([(name, 0) for name in filters])

    def _on_subscribe(self, _c: Any, _u: Any, _n: int, codes: Any, _p: Any) -> None:
        if any(code.is_failure for code in codes):
            log.warning("the hub refuses %s a subscription", self._path)
        self._up.set()
        self._later(self._ordered, self._connected)

    def _on_disconnect(self, *_: Any) -> None:
        self._up.clear()
        self._gone.set()

    def _on_publish(self, _c: Any, _u: Any, number: int, *_: Any) -> None:
        with self._lock:
            done = self._acks.pop(number, None)
            if done is None:
                self._early.add(number)
        if done is not None and not done.done():
            done.set_result(None)

    def _on_message(self, _c: Any, _u: Any, message: mqtt.MQTTMessage) -> None:
        path, _, query = message.topic.partition("?")
        fields = {name: values[0] for name, values in parse_qs(query).items()}
        levels = path.strip("/").split("/")
        payload = bytes(message.payload)
        if path.startswith("$iothub/twin/res/"):
            with self._lock:
                answer = self._answers.get(fields.get("$rid", ""))
            if answer is not None and not answer.done():
                answer.set_result((int(levels[3]), payload, int(fields.get("$version", 0))))
        elif path.startswith("$iothub/twin/PATCH/properties/desired"):
            patch = json.loads(payload)
            version = int(fields.get("$version", 0))
            self._later(self._ordered, lambda: self._desired(patch, version))
        elif path.startswith("$iothub/methods/POST/"):
            rid = fields.get("$rid", "")
            self._later(self._workers, lambda: self._answer(levels[3], payload, rid))

    def _answer(self, name: str, payload: bytes, rid: str) -> None:
        if self._method is None:
            return
        try:
            status, body = self._method(name, payload)
        except Exception:
            log.exception("method '%s' of %s failed", name, self._path)
            status, body = 500, b'{"message": "the method failed"}'
        self._client.publish(f"$iothub/methods/res/{status}/?$rid={rid}", body, qos=0)

    def _later(self, workers: ThreadPoolExecutor, work: Callable[[], None]) -> None:
        def run() -> None:
            try:
                work()
            except Exception:
                log.exception("what the hub sent to %s cannot be followed", self._path)

        with contextlib.suppress(RuntimeError):  # the link is stopping
            workers.submit(run)


def _fail(future: Future[Any]) -> None:
    if not future.done():
        future.set_exception(ConnectionError("the connection is lost"))

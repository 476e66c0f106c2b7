"""A device or module on the hub's MQTT port, as a real client speaks."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as mqtt

from edgectl_azure_iot_edge.emulator import sas
from edgectl_azure_iot_edge.emulator.account import RunningAccount
from edgectl_azure_iot_edge.emulator.hub.room import HubRoom

WAIT_S = 15.0
TOPICS = (
    "$iothub/twin/res/#",
    "$iothub/twin/PATCH/properties/desired/#",
    "$iothub/methods/POST/#",
)


class Module:
    """A connection; with ``again`` it is made anew when it is lost.

    Attributes:
        desired: Changes of desired properties as they come.
        methods: What answers direct methods, by name.
        code: CONNACK's return code, once it came.
    """

    def __init__(
        self,
        account: RunningAccount,
        client_id: str,
        *,
        token: str,
        username: str | None = None,
        clean: bool = True,
        keep_alive_s: int = 60,
        again: bool = False,
    ) -> None:
        self.desired: queue.Queue[dict[str, Any]] = queue.Queue()
        self.methods: dict[str, Callable[[Any], tuple[int, Any]]] = {}
        self.code: int | None = None
        self.gone = threading.Event()
        self._answered = threading.Event()
        self._subscribed = threading.Event()
        self._answers: dict[str, queue.Queue[tuple[int, bytes, str]]] = {}
        self.granted: list[Any] = []
        self._number = 0
        self.client_id = client_id
        self.client = client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id,
            protocol=mqtt.MQTTv311,
            clean_session=clean,
        )
        client.tls_set(str(account.ca_file))
        name = username or f"localhost/{client_id}/?api-version=2018-06-30"
        client.username_pw_set(name, token)
        client.on_connect = self._on_connect
        client.reconnect_delay_set(1, 1)
        client.on_disconnect = self._on_disconnect
        self._again = again
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        self._port = account.site.find(HubRoom).devices.port
        self._keep_alive_s = keep_alive_s

    def connect(self) -> int:
        """Connect once; return the return code."""
        self.client.connect("localhost", self._port, self._keep_alive_s)
        self.client.loop_start()
        assert self._answered.wait(WAIT_S)
        assert self.code is not None
        return self.code

    def subscribe(self, *topics: str) -> list[Any]:
        self._subscribed.clear()
        self.client.subscribe([(topic, 1) for topic in topics or TOPICS])
        assert self._subscribed.wait(WAIT_S)
        return self.granted

    def ready(self) -> Module:
        assert self.connect() == 0
        self.subscribe()
        return self

    def twin(self) -> dict[str, Any]:
        status, body, _ = self.ask("$iothub/twin/GET/", b"")
        assert status == 200, body
        found: dict[str, Any] = json.loads(body)
        return found

    def report(self, patch: object) -> tuple[int, str]:
        """Patch reported properties; return status and the answer's topic."""
        status, _, topic = self.ask(
            "$iothub/twin/PATCH/properties/reported/", json.dumps(patch).encode()
        )
        return status, topic

    def ask(self, topic: str, payload: bytes) -> tuple[int, bytes, str]:
        self._number += 1
        request = str(self._number)
        waiting = self._answers.setdefault(request, queue.Queue())
        self.client.publish(f"{topic}?$rid={request}", payload, qos=1)
        return waiting.get(timeout=WAIT_S)

    def send(self, payload: bytes, bag: str = "", qos: int = 1) -> None:
        device, _, module = self.client_id.partition("/")
        place = f"devices/{device}/modules/{module}" if module else f"devices/{device}"
        self.client.publish(f"{place}/messages/events/{bag}", payload, qos=qos)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def _on_connect(self, _c: Any, _u: Any, _f: Any, code: Any, _p: Any) -> None:
        returned = {"Success": 0, "Unsupported protocol version": 1}
        known = {"Not authorized": 5, "Server unavailable": 3, "Client identifier not valid": 2}
        self.code = {**returned, **known}[str(code)]
        self._answered.set()

    def _on_disconnect(self, *_: Any) -> None:
        self.gone.set()
        if not self._again:
            self.client.disconnect()

    def _on_subscribe(self, _c: Any, _u: Any, _m: Any, codes: Any, _p: Any) -> None:
        self.granted = [code.value for code in codes]
        self._subscribed.set()

    def _on_message(self, _c: Any, _u: Any, message: mqtt.MQTTMessage) -> None:
        parts = message.topic.split("/")
        if parts[1:3] == ["twin", "res"]:
            request = parts[4].split("$rid=")[1].split("&")[0]
            self._answers[request].put((int(parts[3]), message.payload, message.topic))
        elif parts[1:3] == ["twin", "PATCH"]:
            self.desired.put(json.loads(message.payload))
        elif parts[1] == "methods" and parts[3] in self.methods:
            status, payload = self.methods[parts[3]](json.loads(message.payload or b"null"))
            topic = f"$iothub/methods/res/{status}/{parts[4]}"
            self.client.publish(topic, json.dumps(payload))


def token(resource: str, key: str, life_s: float = 600.0, policy: str = "") -> str:
    """Return a shared access signature for ``localhost/…``."""
    return sas.make(f"localhost/{resource}", key, int(time.time() + life_s), policy)


def until(look: Callable[[], Any], wanted: Callable[[Any], bool] = bool) -> Any:
    """Look again and again until it is as wanted; return what was seen last."""
    deadline = time.monotonic() + WAIT_S
    while not wanted(found := look()):
        assert time.monotonic() < deadline, found
        time.sleep(0.01)
    return found

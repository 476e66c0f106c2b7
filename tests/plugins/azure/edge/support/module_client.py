"""A module as the vendor's SDKs make one: signs over the workload API, speaks MQTT with edgeHub."""

from __future__ import annotations

import base64
import http.client
import json
import queue
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

WAIT_S = 20.0


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("workload", timeout=WAIT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(WAIT_S)
        self.sock.connect(str(self._path))


def workload(path: Path, method: str, target: str, body: Any = None) -> tuple[int, Any]:
    """Ask the workload API over its socket."""
    connection = _Unix(path)
    connection.request(method, f"{target}?api-version=2018-06-28", json.dumps(body))
    answer = connection.getresponse()
    document = json.loads(answer.read())
    connection.close()
    return answer.status, document


class ModuleClient:
    """One connection; ``received`` has topic and payload of what came.

    Args:
        env: The module's ``IOTEDGE_…``.
    """

    def __init__(self, env: dict[str, str]) -> None:
        self.env = env
        self.device, self.module = env["IOTEDGE_DEVICEID"], env["IOTEDGE_MODULEID"]
        self.socket = Path(env["IOTEDGE_WORKLOADURI"].removeprefix("unix://"))
        self.received: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self.connected = threading.Event()
        self.refused: list[str] = []
        self._client = client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            f"{self.device}/{self.module}",
            protocol=mqtt.MQTTv311,
            reconnect_on_failure=False,
        )
        context = ssl.create_default_context(
            cadata=workload(self.socket, "GET", "/trust-bundle")[1]["certificate"]
        )
        client.tls_set_context(context)
        hub = env["IOTEDGE_IOTHUBHOSTNAME"]
        client.username_pw_set(
            f"{hub}/{self.device}/{self.module}/?api-version=2018-06-30", self.token()
        )
        client.on_connect = self._on_connect
        client.on_message = lambda _c, _u, m: self.received.put((m.topic, bytes(m.payload)))

    def token(self) -> str:
        resource = quote(
            f"{self.env['IOTEDGE_IOTHUBHOSTNAME']}/devices/{self.device}/modules/{self.module}",
            safe="",
        )
        expiry = int(time.time() + 3600)
        data = base64.b64encode(f"{resource}\n{expiry}".encode()).decode()
        generation = self.env["IOTEDGE_MODULEGENERATIONID"]
        _, signed = workload(
            self.socket,
            "POST",
            f"/modules/{self.module}/genid/{generation}/sign",
            {"keyId": "primary", "algo": "HMACSHA256", "data": data},
        )
        signature = quote(signed["digest"], safe="")
        return f"SharedAccessSignature sr={resource}&sig={signature}&se={expiry}"

    def open(self, password: str | None = None) -> None:
        if password is not None:
            self._client.username_pw_set(self._client.username, password)
        host, _, port = self.env["IOTEDGE_GATEWAYHOSTNAME"].partition(":")
        self._client.connect(host, int(port or 8883))
        self._client.loop_start()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def send(self, output: str, payload: Any, **properties: str) -> None:
        """Send a message and wait until edgeHub has it."""
        fields = {"$.on": output, "$.ct": "application/json", "$.ce": "utf-8", **properties}
        bag = "&".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in fields.items())
        topic = f"devices/{self.device}/modules/{self.module}/messages/events/{bag}"
        info = self._client.publish(topic, json.dumps(payload), qos=1)
        info.wait_for_publish(WAIT_S)
        assert info.is_published()

    def publish(self, topic: str, payload: bytes = b"") -> None:
        self._client.publish(topic, payload, qos=0)

    def take(self, beginning: str) -> tuple[str, bytes]:
        """Return the next message on a topic that begins so; others are dropped."""
        until = time.monotonic() + WAIT_S
        while True:
            topic, payload = self.received.get(timeout=max(until - time.monotonic(), 0.01))
            if topic.startswith(beginning):
                return topic, payload

    def _on_connect(self, client: mqtt.Client, _u: Any, _f: Any, code: Any, _p: Any) -> None:
        if code.is_failure:
            self.refused.append(str(code))
            self.connected.set()
            return
        inputs = f"devices/{self.device}/modules/{self.module}/#"
        filters = ["$iothub/twin/res/#", "$iothub/twin/PATCH/properties/desired/#"]
        client.subscribe([(name, 1) for name in (*filters, "$iothub/methods/POST/#", inputs)])
        client.on_subscribe = lambda *_: self.connected.set()

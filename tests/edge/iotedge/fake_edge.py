"""What stands around a module on an IoT Edge device: the daemon's workload API, and an edgeHub.

The edgeHub speaks MQTT 3.1.1 over TLS as the real one does to a module: it checks client id, user
name and the token's signature, resource and end, cuts a connection off when its token has ended,
and serves the twin, direct methods and device-to-cloud messages. Its twin belongs to the test.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import socketserver
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, unquote_plus, urlsplit

from edgectl.emulation.certificates import Authority
from edgectl.emulation.mqtt import (
    V311,
    Connect,
    Disconnect,
    Listener,
    Message,
    PacketError,
    Ping,
    PubAck,
    Publish,
    Reason,
    Session,
    Subscribe,
    Transport,
    building,
    parsing,
    topics,
)

HUB, DEVICE, MODULE, GENERATION = "hub.example", "gate-7", "edgectl-plates", "637"
NOT_AUTHORIZED = 5
MAX_PACKET = 256 << 10  # what IoT Hub takes of a message, with its topic


class Workload:
    """The daemon: signs for the module with a key that only it and the hub know."""

    def __init__(self, folder: Path, ca: Path) -> None:
        self.key = os.urandom(32)
        self.signed = 0
        self.refuses = False
        self.ca = ca
        self._folder = folder
        handler = type("Handler", (_WorkloadHandler,), {"workload": self})
        here = Path.cwd()
        self.path = folder / "workload.sock"
        os.chdir(folder)  # the path may be longer than the kernel takes
        try:
            self._server = _UnixServer(self.path.name, handler)
        finally:
            os.chdir(here)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def sign(self, data: bytes) -> str:
        return base64.b64encode(hmac.new(self.key, data, hashlib.sha256).digest()).decode()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """A module that is killed in the middle of a call is no news."""


class _WorkloadHandler(BaseHTTPRequestHandler):
    workload: Workload
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def address_string(self) -> str:
        return "module"

    def do_GET(self) -> None:
        assert urlsplit(self.path).path == "/trust-bundle"
        self._send(200, {"certificate": self.workload.ca.read_text()})

    def do_POST(self) -> None:
        order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path = urlsplit(self.path)
        assert parse_qs(path.query) == {"api-version": ["2021-12-07"]}
        if self.workload.refuses or path.path != f"/modules/{MODULE}/genid/{GENERATION}/sign":
            return self._send(404, {"message": "module not found"})
        assert order["keyId"] == "primary"
        assert order["algo"] == "HMACSHA256"
        self.workload.signed += 1
        return self._send(200, {"digest": self.workload.sign(base64.b64decode(order["data"]))})

    def _send(self, status: int, body: dict[str, str]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class EdgeHub:
    """An edgeHub for one module.

    Attributes:
        desired: Desired properties, without the version.
        reported: Reported properties.
        reports: Each ``reported.edgectl`` that came.
        events: Output, properties and body of each device-to-cloud message.
        refusals: Why connections were refused.
        connects: How many were taken.
    """

    def __init__(self, folder: Path, *, host: str = "localhost") -> None:
        authority = Authority(folder / "ca")
        self.ca = authority.ca_file
        self.workload = Workload(folder, self.ca)
        self._tls: ssl.SSLContext = authority.server_context((host, "127.0.0.1"), demand=False)
        self.version = 1
        self.desired: dict[str, Any] = {}
        self.reported: dict[str, Any] = {}
        self.reports: list[dict[str, Any]] = []
        self.events: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: dict[str, tuple[int, Any]] = {}
        self.refusals: list[str] = []
        self.connects = 0
        self.twin_reads = 0
        self.twin_status = 200
        self.takes_events = True
        self.repeats = 1
        self._changed = threading.Condition()
        self._session: Session | None = None
        self._transport: Transport | None = None
        self._listener: Listener | None = None
        self.port = 0

    def start(self) -> None:
        self._listener = Listener(self._serve, self._tls, port=self.port, max_packet=MAX_PACKET)
        self._listener.start()
        self.port = self._listener.port

    def stop(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            self.cut()
            listener.stop()

    def close(self) -> None:
        self.stop()
        self.workload.close()

    def cut(self) -> None:
        """Cut the module's connection."""
        transport, listener = self._transport, self._listener
        if transport is not None and listener is not None:
            listener.loop.call_soon_threadsafe(transport.end, Reason.UNSPECIFIED, "cut")

    def environment(self) -> dict[str, str]:
        """Return what edgeAgent gives the module."""
        return {
            "IOTEDGE_IOTHUBHOSTNAME": HUB,
            "IOTEDGE_GATEWAYHOSTNAME": f"localhost:{self.port}",
            "IOTEDGE_DEVICEID": DEVICE,
            "IOTEDGE_MODULEID": MODULE,
            "IOTEDGE_MODULEGENERATIONID": GENERATION,
            "IOTEDGE_WORKLOADURI": f"unix://{self.workload.path}",
            "IOTEDGE_APIVERSION": "2021-12-07",
            "IOTEDGE_AUTHSCHEME": "sasToken",
        }

    def wish(self, section: dict[str, Any] | None, *, tell: bool = True) -> None:
        """Change ``desired.edgectl``; the module is told unless it is not connected."""
        with self._changed:
            self.version += 1
            self.desired = {} if section is None else {"edgectl": section}
            change = {"edgectl": section, "$version": self.version}
        if tell:
            topic = f"$iothub/twin/PATCH/properties/desired/?$version={self.version}"
            for _ in range(self.repeats):
                self._send(topic, change)

    def call(self, method: str, payload: object = None, timeout_s: float = 10.0) -> tuple[int, Any]:
        """Call a direct method, as the hub would."""
        rid = f"m{time.monotonic_ns()}"
        self.until(self._is_listening, timeout_s, "the module does not listen for methods")
        self._send(f"$iothub/methods/POST/{method}/?$rid={rid}", payload)
        self.until(lambda: rid in self.answers, timeout_s, f"no answer to '{method}'")
        return self.answers.pop(rid)

    def _is_listening(self) -> bool:
        session = self._session
        return session is not None and any("methods" in name for name in session.subscriptions)

    def until(self, holds: Any, timeout_s: float = 15.0, why: str = "") -> None:
        """Wait until something holds."""
        with self._changed:
            if not self._changed.wait_for(holds, timeout_s):
                last = self.reports[-1:] or self.refusals[-3:]
                raise AssertionError(f"{why or 'it did not come to that'}; last: {last}")

    def last(self) -> dict[str, Any]:
        return self.reports[-1] if self.reports else {}

    def until_report(self, timeout_s: float = 15.0, **wanted: object) -> dict[str, Any]:
        """Wait for a report with those values; return it."""

        def holds() -> bool:
            last = self.last()
            return bool(last) and all(last.get(key) == value for key, value in wanted.items())

        self.until(holds, timeout_s, f"no report {wanted}")
        return self.last()

    def _send(self, topic: str, body: object) -> None:
        payload = b"null" if body is None else json.dumps(body).encode()
        listener, session = self._listener, self._session
        assert listener is not None
        if session is None:
            return

        def deliver() -> None:
            for name, granted in session.subscriptions.items():
                if topics.matches(name, topic):
                    session.deliver(Message(topic=topic, payload=payload), granted)
                    return

        listener.loop.call_soon_threadsafe(deliver)

    async def _serve(self, transport: Transport) -> None:
        try:
            await self._conversation(transport)
        except (PacketError, TimeoutError, OSError, EOFError):
            pass
        finally:
            if self._transport is transport:
                self._transport = self._session = None

    async def _conversation(self, transport: Transport) -> None:
        kind, flags, body = await transport.packet(10.0)
        connect = parsing.parse(kind, flags, body, V311)
        assert isinstance(connect, Connect)
        assert connect.version == V311
        transport.version = V311
        until = self._authenticate(connect)
        refused = until is None
        transport.write(
            building.connack(V311, NOT_AUTHORIZED if refused else 0, present=False, properties={})
        )
        if until is None:
            await transport.drain()
            return
        if self._transport is not None:
            self._transport.end(Reason.SESSION_TAKEN_OVER, "another connection")
        session = Session(connect.client_id)
        session.attach(V311, 100, transport.write)
        self._session, self._transport = session, transport
        with self._changed:
            self.connects += 1
            self._changed.notify_all()
        while (left := until - time.time()) > 0:
            kind, flags, body = await transport.packet(left)
            packet = parsing.parse(kind, flags, body, V311)
            if isinstance(packet, Disconnect):
                return
            self._handle(packet, session, transport)
        with self._changed:
            self.refusals.append("expired")

    def _authenticate(self, connect: Connect) -> float | None:
        why, until = self._fault(connect)
        if why:
            with self._changed:
                self.refusals.append(why)
                self._changed.notify_all()
            return None
        return until

    def _fault(self, connect: Connect) -> tuple[str, float]:
        if connect.client_id != f"{DEVICE}/{MODULE}":
            return f"client id {connect.client_id}", 0
        name, _, query = (connect.username or "").partition("/?")
        if name != f"{HUB}/{DEVICE}/{MODULE}" or "api-version=2018-06-30" not in query:
            return f"user name {connect.username}", 0
        text = (connect.password or b"").decode()
        kind, _, rest = text.partition(" ")
        fields = dict(part.split("=", 1) for part in rest.split("&"))
        if kind != "SharedAccessSignature" or set(fields) != {"sr", "sig", "se"}:
            return "no token", 0
        if unquote_plus(fields["sr"]) != f"{HUB}/devices/{DEVICE}/modules/{MODULE}":
            return f"resource {fields['sr']}", 0
        expected = self.workload.sign(f"{fields['sr']}\n{fields['se']}".encode())
        if unquote(fields["sig"]) != expected:
            return "signature", 0
        until = float(fields["se"])
        return ("expired" if until <= time.time() else "", until)

    def _handle(self, packet: object, session: Session, transport: Transport) -> None:
        match packet:
            case Subscribe():
                for name, qos in packet.filters:
                    session.subscriptions[name] = qos
                with self._changed:
                    self._changed.notify_all()
                codes = [qos for _, qos in packet.filters]
                transport.write(building.suback(V311, packet.packet_id, codes))
            case Publish():
                self._published(packet, transport)
            case PubAck():
                session.acknowledged(packet.packet_id)
            case Ping():
                transport.write(building.pingresp())

    def _published(self, packet: Publish, transport: Transport) -> None:
        message = packet.message
        path, _, query = message.topic.partition("?")
        rid = parse_qs(query).get("$rid", [""])[0]
        with self._changed:
            if path == "$iothub/twin/GET/":
                self._twin(rid)
            elif path == "$iothub/twin/PATCH/properties/reported/":
                self._patched(rid, json.loads(message.payload))
            elif path.startswith("$iothub/methods/res/"):
                status = int(path.removeprefix("$iothub/methods/res/").rstrip("/"))
                self.answers[rid] = status, json.loads(message.payload)
            elif not self.takes_events:
                return
            else:
                prefix = f"devices/{DEVICE}/modules/{MODULE}/messages/events/"
                assert message.topic.startswith(prefix), message.topic
                bag = {
                    unquote(k): unquote(v)
                    for k, v in (
                        pair.split("=", 1) for pair in message.topic.removeprefix(prefix).split("&")
                    )
                }
                self.events.append((bag.pop("$.on"), bag, message.payload))
            self._changed.notify_all()
        if message.qos:
            transport.write(building.puback(V311, packet.packet_id))

    def _twin(self, rid: str) -> None:
        self.twin_reads += 1
        if self.twin_status != 200:
            self._send(f"$iothub/twin/res/{self.twin_status}/?$rid={rid}", {})
            return
        document = {
            "desired": {**self.desired, "$version": self.version},
            "reported": {**self.reported, "$version": len(self.reports) + 1},
        }
        self._send(f"$iothub/twin/res/200/?$rid={rid}", document)

    def _patched(self, rid: str, change: dict[str, Any]) -> None:
        assert len(json.dumps(change)) < 4096
        self.reported |= change
        self.reports.append(change["edgectl"])
        number = len(self.reports) + 1
        self._send(f"$iothub/twin/res/204/?$rid={rid}&$version={number}", None)

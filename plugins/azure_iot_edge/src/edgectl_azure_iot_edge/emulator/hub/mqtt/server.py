"""The port for devices: who may connect, and the ways between connections and the hub.

Connections are for an identity each: ``device`` or ``device/module``. edgeHub connects modules on
their behalf; a real one multiplexes them over AMQP, ours has one MQTT connection for each.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from edgectl.emulation.mqtt import (
    Connect,
    Kind,
    Listener,
    Message,
    PacketError,
    Reason,
    Session,
    Transport,
    building,
    packets,
    parsing,
)
from edgectl_azure_iot_edge.emulator.events import MAX_MESSAGE_BYTES
from edgectl_azure_iot_edge.emulator.hub.access import check_connection
from edgectl_azure_iot_edge.emulator.hub.errors import HubError
from edgectl_azure_iot_edge.emulator.hub.hub import Hub
from edgectl_azure_iot_edge.emulator.hub.mqtt import topics
from edgectl_azure_iot_edge.emulator.hub.mqtt.client import Client
from edgectl_azure_iot_edge.emulator.hub.rates import CONNECT
from edgectl_azure_iot_edge.emulator.hub.settings import HubSettings
from edgectl_azure_iot_edge.emulator.hub.twin import Json
from edgectl_azure_iot_edge.emulator.rooms import FaultError
from edgectl_azure_iot_edge.emulator.site import Site

log = logging.getLogger(__name__)

_Given = ParamSpec("_Given")
_Answer = TypeVar("_Answer")

_CONNECT_TIMEOUT_S = 30.0
_ROOM_BYTES = 16 << 10
_PAUSE_S = 0.02
_UNSUPPORTED, _BAD_CLIENT_ID, _UNAVAILABLE, _NOT_AUTHORIZED = 1, 2, 3, 5


class RefusedError(Exception):
    """A CONNECT is refused; ``code`` is the return code of MQTT 3.1.1."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


class DeviceServer:
    """Serves devices and modules.

    Args:
        hub: What they connect to.
        site: Names, certificates, faults, events.
        settings: The port.
    """

    def __init__(self, hub: Hub, site: Site, settings: HubSettings) -> None:
        self.hub = hub
        self.site = site
        self._clients: dict[str, Client] = {}
        self._sessions: dict[str, Session] = {}
        tls = site.authority.server_context(site.names, demand=False)
        self._listener = Listener(
            self._serve,
            tls,
            host=site.host,
            port=site.port("mqtt", settings.mqtt_port),
            farewell=self._farewell,
            max_packet=MAX_MESSAGE_BYTES + _ROOM_BYTES,
        )

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._listener.port

    def start(self) -> None:
        """Begin to listen.

        Raises:
            OSError: The port cannot be had.
        """
        self._listener.start()
        self.site.keep_port("mqtt", self.port)
        self.hub.registry.listen(self._desired_changed)
        self.hub.registry.on_gone(self._gone)
        self.hub.methods.send = self._call_method

    def stop(self) -> None:
        """Close all connections and end."""
        self.hub.methods.send = lambda *_: False
        self._listener.stop()

    def disconnect(self, device_id: str, module_id: str | None) -> int:
        """Cut connections: of a module, or with None of a device and all its modules.

        Returns:
            How many there were.
        """
        return self._on_loop(lambda: self._cut(device_id, module_id), 0)

    def _cut(self, device_id: str, module_id: str | None) -> int:
        found = [
            client
            for client in list(self._clients.values())
            if client.device_id == device_id and module_id in {None, client.module_id}
        ]
        for client in found:
            client.transport.end(Reason.SERVER_SHUTTING_DOWN, "cut by the hub")
        return len(found)

    def _gone(self, device_id: str, module_id: str | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: there is nobody to cut
            self._listener.loop.call_soon_threadsafe(self._cut, device_id, module_id)

    async def ask(
        self, work: Callable[_Given, _Answer], *given: _Given.args, **named: _Given.kwargs
    ) -> _Answer:
        """Run something that may block in a worker thread."""
        return await self._listener.ask(work, *given, **named)

    def may_do(self, rate: str) -> bool:
        """Take a call out of its bucket; say whether there was one."""
        return not self.hub.settings.throttle or self.hub.rates.wait_s(rate) <= 0.0

    async def pause(self) -> None:
        """Let others go on for a moment."""
        await asyncio.sleep(_PAUSE_S)

    def append(
        self,
        device_id: str,
        module_id: str | None,
        asked: topics.Telemetry,
        message: Message,
        kind: str,
    ) -> None:
        """Put a message into the built-in endpoint, with what the hub says of its sender."""
        identity = self.hub.registry.entry(device_id, module_id).identity
        method = {
            "scope": "module" if module_id else "device",
            "type": "sas",
            "issuer": "iothub",
            "acceptingIpFilterRule": None,
        }
        annotations: dict[str, str | int] = {
            **asked.annotations,
            "iothub-connection-auth-method": json.dumps(method, separators=(",", ":")),
            "iothub-connection-auth-generation-id": identity.generation_id,
            "iothub-message-source": kind,
        }
        if module_id is not None:
            annotations["iothub-connection-module-id"] = module_id
        properties = dict(asked.properties)
        if message.retain:
            properties["x-opt-retain"] = "true"
        self.site.events.append(
            device_id,
            message.payload,
            annotations=annotations,
            properties=properties,
            system=asked.system,
        )
        self.hub.registry.active(device_id, module_id)

    async def _serve(self, transport: Transport) -> None:
        client: Client | None = None
        try:
            client = await self._accept(transport)
            if client is not None:
                await client.run()
        except PacketError as exc:
            log.info("'%s' is cut off: %s", client.client_id if client else "a client", exc)
            transport.end(exc.reason, str(exc))
        except (FaultError, HubError) as exc:
            log.info("'%s' is cut off: %s", client.client_id if client else "a client", exc)
            transport.end(Reason.UNSPECIFIED, str(exc))
        except (OSError, EOFError):  # the connection is gone: nobody is left to tell
            pass
        finally:
            if client is not None:
                await self._finish(client)

    async def _accept(self, transport: Transport) -> Client | None:
        kind, flags, body = await transport.packet(_CONNECT_TIMEOUT_S)
        if kind != Kind.CONNECT:
            raise PacketError(Reason.PROTOCOL_ERROR, "the first packet is no CONNECT")
        connect = parsing.parse(kind, flags, body, packets.V311)
        if not isinstance(connect, Connect):
            return None
        transport.version = packets.V311
        try:
            return await self._open(transport, connect)
        except RefusedError as exc:
            log.info("'%s' may not connect: %s", connect.client_id, exc)
            code, version = exc.code, packets.V311
            transport.write(building.connack(version, code, present=False, properties={}))
            return None

    async def _open(self, transport: Transport, connect: Connect) -> Client:
        if connect.version != packets.V311:
            raise RefusedError(_UNSUPPORTED, "MQTT 3.1.1 only")
        try:
            await self.ask(self.site.enter, "device", "Connect")
        except FaultError as exc:
            code = _UNAVAILABLE if (exc.fault.status or 0) >= 500 else _NOT_AUTHORIZED
            raise RefusedError(code, str(exc)) from exc
        while not self.may_do(CONNECT):
            await self.pause()
        device_id, module_id, expiry = await self.ask(self._authenticate, connect)
        self._take_over(connect.client_id)
        found = None if connect.clean_start else self._sessions.get(connect.client_id)
        session = found or Session(connect.client_id)
        if not connect.clean_start:
            self._sessions[connect.client_id] = session
        else:
            self._sessions.pop(connect.client_id, None)
        client = Client(
            self,
            transport,
            session,
            device_id=device_id,
            module_id=module_id,
            keep_alive_s=connect.keep_alive_s,
            expiry=expiry,
            will=connect.will,
        )
        self._clients[connect.client_id] = client
        await self.ask(self._note, client, connected=True)
        present = found is not None
        transport.write(building.connack(packets.V311, 0, present=present, properties={}))
        transport.is_open = True
        session.attach(packets.V311, 65_535, transport.write)
        return client

    def _authenticate(self, connect: Connect) -> tuple[str, str | None, float]:
        try:
            device_id, module_id = topics.ids(connect.client_id)
            host = topics.host_of(connect.username or "", connect.client_id)
        except topics.TopicError as exc:
            raise RefusedError(_NOT_AUTHORIZED, str(exc)) from exc
        if host.lower() not in {name.lower() for name in self.hub.hosts()}:
            raise RefusedError(_NOT_AUTHORIZED, f"'{host}' is another hub")
        registry = self.hub.registry
        try:
            with registry.lock:
                device = registry.device(device_id)
                identity = registry.entry(device_id, module_id).identity
                family = {None: device.identity} | {
                    name: module.identity for name, module in device.modules.items()
                }
            expiry = check_connection(
                (connect.password or b"").decode(errors="replace"),
                identity,
                family=family,
                policies=self.hub.policies,
                hosts=self.hub.hosts(),
                now=self.site.now(),
            )
        except HubError as exc:
            raise RefusedError(_NOT_AUTHORIZED, exc.message) from exc
        return device_id, module_id, expiry

    def _take_over(self, client_id: str) -> None:
        other = self._clients.pop(client_id, None)
        if other is not None:
            other.session.detach()
            other.transport.end(Reason.SESSION_TAKEN_OVER, "another client has the same identity")

    async def _finish(self, client: Client) -> None:
        if self._clients.get(client.client_id) is client:
            client.session.detach()
            del self._clients[client.client_id]
            await self.ask(self._note, client, connected=False)
        if client.will is not None:
            try:
                asked = topics.asked(client.will.topic, client.device_id, client.module_id)
                if isinstance(asked, topics.Telemetry):
                    client.take(asked, client.will)
            except (topics.TopicError, HubError) as exc:
                log.info("the will of '%s' is dropped: %s", client.client_id, exc)

    def _note(self, client: Client, *, connected: bool) -> None:
        registry = self.hub.registry
        registry.is_connected(client.device_id, client.module_id, connected=connected)

    def _desired_changed(self, device_id: str, module_id: str | None, patch: Json) -> None:
        client_id = f"{device_id}/{module_id}" if module_id else device_id
        if client_id not in self._clients:
            return
        topic = topics.desired_notice(patch["$version"])
        payload = json.dumps(patch, separators=(",", ":")).encode()

        def tell() -> None:
            client = self._clients.get(client_id)
            if client is not None:
                client.tell(topic, payload)

        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
            self._listener.loop.call_soon_threadsafe(tell)

    def _call_method(
        self, device_id: str, module_id: str | None, name: str, request_id: str, payload: bytes
    ) -> bool:
        client_id = f"{device_id}/{module_id}" if module_id else device_id
        topic = topics.method_call(name, request_id)

        def send() -> bool:
            client = self._clients.get(client_id)
            return client is not None and client.tell(topic, payload)

        return self._on_loop(send, False)

    def _on_loop(self, work: Callable[[], _Answer], otherwise: _Answer) -> _Answer:
        async def run() -> _Answer:
            return work()

        coroutine = run()
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self._listener.loop).result()
        except RuntimeError:  # the loop is closed
            coroutine.close()
            return otherwise

    def _farewell(self) -> None:
        for client in list(self._clients.values()):
            client.transport.end(Reason.SERVER_SHUTTING_DOWN, "the server is shutting down")

"""The device's edgeHub: modules connect to it as to the hub, messages take their routes.

It is the device's own "system module": its desired properties come from the ``$edgeHub`` twin, and
it goes on with the last ones when the hub cannot be reached.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from datetime import UTC, datetime
from typing import Any

from edgectl.emulation import mqtt
from edgectl_azure_iot_edge.emulator.edge import hubclient, topics
from edgectl_azure_iot_edge.emulator.edge.ground import Ground
from edgectl_azure_iot_edge.emulator.edge.hubclient import ModuleClient
from edgectl_azure_iot_edge.emulator.edge.identities import HUB_ID, UnreachableError
from edgectl_azure_iot_edge.emulator.edge.messages import MessageStore, Queued
from edgectl_azure_iot_edge.emulator.edge.proxies import Proxy
from edgectl_azure_iot_edge.emulator.edge.report import AGENT_VERSION
from edgectl_azure_iot_edge.emulator.edge.routes import (
    UPSTREAM,
    HubConfig,
    RouteError,
    message_source,
    parse_hub_config,
)
from edgectl_azure_iot_edge.emulator.edge.state import Kept
from edgectl_azure_iot_edge.emulator.edge.tokens import token_fault
from edgectl_azure_iot_edge.emulator.edge.uplink import Desired, HubLink, Method

log = logging.getLogger(__name__)

_LOOK_S = 0.5
_ACK_TIMEOUT_S = 30.0
_CLEAN_EVERY = 20
_CONFIG = "edgehub"


class EdgeHub:
    """edgeHub of one device.

    Attributes:
        address: Where modules find it.
    """

    def __init__(self, ground: Ground) -> None:
        settings = ground.settings
        self.address = ground.address
        self._settings = settings
        self._identities = ground.identities
        self._faults = ground.faults
        self._authority = ground.authority
        self._kept = kept = ground.kept
        names = (ground.address[0], settings.hostname, "localhost", "edgeHub")
        self._names = tuple(dict.fromkeys(names))
        self._store = MessageStore(settings.folder / "edgehub" / "messages.sqlite")
        self._config = _known_config(kept)
        self._proxies: dict[str, Proxy] = {}
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._arrived = {UPSTREAM: threading.Event(), "": threading.Event()}
        self._listener: mqtt.Listener | None = None
        self._own: HubLink | None = None
        self._pumps: list[threading.Thread] = []
        self._seen: dict[str, dict[str, str]] = {}

    @property
    def is_running(self) -> bool:
        """Whether modules can connect."""
        return self._listener is not None

    @property
    def waiting(self) -> dict[str, int]:
        """How many messages wait for each endpoint."""
        return self._store.lengths()

    def start(self) -> None:
        """Begin to listen and to bring messages.

        Raises:
            OSError: The address cannot be had.
        """
        self._stopping.clear()
        host, port = self.address
        listener = mqtt.Listener(
            self._serve, self._authority.server_context(self._names), host=host, port=port
        )
        listener.start()
        self._listener = listener
        self.address = (host, listener.port)
        self._pumps = [
            threading.Thread(target=self._pump, args=(to_hub,), name="pump", daemon=True)
            for to_hub in (True, False)
        ]
        for pump in self._pumps:
            pump.start()
        self.renew()

    def stop(self) -> None:
        """Say goodbye to modules; messages stay."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        self._stopping.set()
        for event in self._arrived.values():
            event.set()
        listener.stop()
        with self._lock:
            proxies = tuple(self._proxies.values())
            self._proxies.clear()
            own, self._own = self._own, None
        for proxy in proxies:
            proxy.stop()
        if own is not None:
            own.stop()
        for pump in self._pumps:
            pump.join(5.0)

    def close(self) -> None:
        """Stop for good."""
        self.stop()
        self._store.close()

    def renew(self) -> None:
        """Connect as ``$edgeHub`` when there is an identity for it and no connection yet."""
        identity = self._identities.get(HUB_ID)
        with self._lock:
            if identity is None or self._own is not None or not self.is_running:
                return
            self._own = HubLink(
                self._settings,
                identity,
                self._faults,
                connected=self._configure,
                desired=lambda patch, version: self._configure(),
            )
            self._own.start()

    async def _serve(self, transport: mqtt.Transport) -> None:
        if self._listener is not None:
            await hubclient.serve(transport, self._listener, self)

    # what connections ask (hubclient.Desk)

    def admit(self, connect: mqtt.Connect) -> str:
        """Return the module's name, "" for a stranger."""
        device, _, module = connect.client_id.partition("/")
        wanted = f"{self._settings.hub_host}/{device}/{module}/"
        identity = self._identities.get(module)
        given = (connect.username or "").lower()
        if device != self._settings.device_id or identity is None or not identity.key:
            log.warning("'%s' is no module of this device", connect.client_id)
            return ""
        if not given.startswith(wanted.lower()):
            log.warning("'%s' connects with user name '%s'", connect.client_id, connect.username)
            return ""
        address = f"{self._settings.hub_host}/devices/{device}/modules/{module}"
        token = (connect.password or b"").decode(errors="replace")
        fault = token_fault(token, address, identity.key, self._faults.clock())
        if fault:
            log.warning("the token of '%s' is refused: %s", connect.client_id, fault)
            return ""
        return module

    def arrived(self, module: str, client: ModuleClient) -> None:
        """A module is there; a connection before it is cut."""
        proxy = self._proxy(module)
        if proxy is None:
            client.cut()
            return
        before, proxy.client = proxy.client, client
        if before is not None:
            before.cut()
        self._mark(module, "Connected")
        for event in self._arrived.values():
            event.set()

    def gone(self, module: str, client: ModuleClient) -> None:
        """A module has gone."""
        with self._lock:
            proxy = self._proxies.get(module)
            if proxy is None or proxy.client is not client:
                return
            proxy.client = None
        self._mark(module, "Disconnected")
        self._drop_idle()

    def may_subscribe(self, module: str, name: str) -> bool:
        """Say whether a module may have what a filter brings."""
        return topics.allowed_filter(name, self._settings.device_id, module)

    def take(self, module: str, client: ModuleClient, topic: str, payload: bytes) -> bool:
        """Take what a module publishes; False cuts it off."""
        meaning = topics.read_topic(topic, self._settings.device_id, module)
        proxy = self._proxies.get(module)
        if meaning is None or proxy is None:
            return False
        if isinstance(meaning, topics.Event):
            self._route(module, meaning.properties, payload)
        elif isinstance(meaning, topics.TwinGet):
            status, twin = proxy.twin()
            client.push(f"{topics.TWIN_RESULT}{status}/?$rid={meaning.rid}", twin)
        elif isinstance(meaning, topics.TwinPatch):
            status, version = proxy.report(payload)
            answer = f"{topics.TWIN_RESULT}{status}/?$rid={meaning.rid}&$version={version}"
            client.push(answer, b"")
        else:
            proxy.result(meaning.rid, meaning.status, payload)
        return True

    def _route(self, module: str, properties: str, payload: bytes) -> None:
        device = self._settings.device_id
        output, message = topics.routed(properties, payload, device, module)
        deliveries = self._config.deliveries(message_source(module, output), message)
        self._store.add(deliveries, module, properties, payload, self._faults.clock())
        for delivery in deliveries:
            self._arrived[UPSTREAM if delivery.endpoint.is_upstream else ""].set()

    def _pump(self, to_hub: bool) -> None:  # a thread's argument
        event = self._arrived[UPSTREAM if to_hub else ""]
        rounds = 0
        while not self._stopping.is_set():
            event.wait(_LOOK_S)
            event.clear()
            rounds += 1
            try:
                if to_hub:
                    while self._bring_up() and not self._stopping.is_set():
                        pass
                    self._drop_idle()
                    if rounds % _CLEAN_EVERY == 0:
                        self._store.clean(self._faults.clock())
                else:
                    for endpoint in self._store.lengths():
                        if endpoint != UPSTREAM:
                            self._hand_over(endpoint)
            except Exception:
                log.exception("messages cannot be brought now")

    def _bring_up(self) -> bool:
        """Send the next messages to the hub; return whether there may be more."""
        batch = self._store.next(UPSTREAM, self._faults.clock())
        sent: list[tuple[Queued, Future[None]]] = []
        for queued in batch:
            proxy = self._proxy(queued.sender)
            if proxy is None:  # the module was taken off the device: nobody may speak for it
                self._store.done([queued.number])
                continue
            try:
                sent.append((queued, proxy.link.send(queued.properties, queued.payload)))
            except UnreachableError:
                break
        arrived = [queued.number for queued, future in sent if _arrives(future)]
        self._store.done(arrived)
        return bool(batch) and len(arrived) == len(batch)

    def _hand_over(self, endpoint: str) -> None:
        """Give a module what waits for one of its inputs."""
        module, _, name = endpoint.partition("/")
        device = self._settings.device_id
        while not self._stopping.is_set():
            proxy = self._proxies.get(module)
            client = proxy.client if proxy is not None else None
            batch = self._store.next(endpoint, self._faults.clock())
            if client is None or not batch:
                return
            for queued in batch:
                properties = topics.from_module(queued.properties, device, queued.sender)
                topic = topics.input_topic(device, module, name, properties)
                if not client.wants(topic):
                    return
                if not _arrives(client.push(topic, queued.payload, acknowledged=True)):
                    return
                self._store.done([queued.number])

    def _proxy(self, module: str) -> Proxy | None:
        with self._lock:
            found = self._proxies.get(module)
            if found is None and self._identities.get(module) is not None and self.is_running:
                found = Proxy(module, self._kept, self._connect)
                self._proxies[module] = found
            return found

    def _connect(self, module: str, connected: Any, desired: Desired, method: Method) -> HubLink:
        identity = self._identities.get(module)
        if identity is None:
            raise UnreachableError(f"'{module}' has no identity")
        return HubLink(
            self._settings,
            identity,
            self._faults,
            connected=connected,
            desired=desired,
            method=method,
        )

    def _drop_idle(self) -> None:
        """Close the links of modules that have gone and of which nothing waits."""
        with self._lock:
            idle = [proxy for proxy in self._proxies.values() if proxy.client is None]
            if not idle:
                return
            waiting = self._store.senders()
            idle = [proxy for proxy in idle if proxy.module not in waiting]
            for proxy in idle:
                del self._proxies[proxy.module]
        for proxy in idle:
            proxy.stop()

    def _configure(self) -> None:
        own = self._own
        if own is None:
            return
        try:
            desired = own.twin()["desired"]
        except UnreachableError as exc:
            log.info("edgeHub goes on with the routes that it has: %s", exc)
            return
        version = int(desired.get("$version", 0))
        code, description = 200, ""
        try:
            self._config = parse_hub_config(desired)
            self._kept.write(_CONFIG, desired)
        except RouteError as exc:
            log.warning("the routes are not taken: %s", exc)
            code, description = 400, str(exc)
        self._report(
            {
                "schemaVersion": "1.2",
                "version": {"version": AGENT_VERSION, "build": "", "commit": ""},
                "lastDesiredVersion": version,
                "lastDesiredStatus": {"code": code, "description": description},
                "clients": self._clients(),
            }
        )

    def _mark(self, module: str, status: str) -> None:
        moment = datetime.fromtimestamp(self._faults.clock(), UTC).isoformat()
        name = f"{self._settings.device_id}/{module}"
        entry = {**self._seen.get(name, {}), "status": status}
        entry[f"last{status}TimeUtc"] = moment
        self._seen[name] = entry
        self._report({"clients": {name: entry}})

    def _clients(self) -> dict[str, Any]:
        return dict(self._seen)

    def _report(self, patch: Mapping[str, Any]) -> None:
        own = self._own
        if own is None or not own.is_up:
            return
        try:
            own.report(patch)
        except UnreachableError as exc:
            log.info("edgeHub's report waits: %s", exc)


def _arrives(future: Future[None]) -> bool:
    try:
        future.result(_ACK_TIMEOUT_S)
    except (FutureTimeout, ConnectionError):
        return False
    return True


def _known_config(kept: Kept) -> HubConfig:
    try:
        return parse_hub_config(kept.read(_CONFIG, dict[str, Any], {}))
    except RouteError:
        return HubConfig()

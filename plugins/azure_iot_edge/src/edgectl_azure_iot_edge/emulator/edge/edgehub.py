"""The device's edgeHub: modules connect to it as to the hub, messages take their routes.

It is the device's own "system module": its desired properties come from the ``$edgeHub`` twin, and
it goes on with the last ones when the hub cannot be reached.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from edgectl.emulation import mqtt
from edgectl_azure_iot_edge.emulator.edge import hubclient, topics
from edgectl_azure_iot_edge.emulator.edge.couriers import Couriers
from edgectl_azure_iot_edge.emulator.edge.ground import Ground
from edgectl_azure_iot_edge.emulator.edge.hubclient import ModuleClient
from edgectl_azure_iot_edge.emulator.edge.identities import HUB_ID, UnreachableError
from edgectl_azure_iot_edge.emulator.edge.messages import MessageStore
from edgectl_azure_iot_edge.emulator.edge.proxies import Proxy
from edgectl_azure_iot_edge.emulator.edge.report import AGENT_VERSION
from edgectl_azure_iot_edge.emulator.edge.routes import (
    HubConfig,
    RouteError,
    message_source,
    parse_hub_config,
)
from edgectl_azure_iot_edge.emulator.edge.state import Kept
from edgectl_azure_iot_edge.emulator.edge.tokens import token_fault
from edgectl_azure_iot_edge.emulator.edge.uplink import Desired, HubLink, Method

log = logging.getLogger(__name__)

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
        self._couriers = Couriers(
            device=settings.device_id,
            store=self._store,
            faults=self._faults,
            proxy=self._proxy,
            client=self._client,
            tidy=self._drop_idle,
        )
        self._listener: mqtt.Listener | None = None
        self._own: HubLink | None = None
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
        host, port = self.address
        listener = mqtt.Listener(
            self._serve, self._authority.server_context(self._names), host=host, port=port
        )
        listener.start()
        self._listener = listener
        self.address = (host, listener.port)
        self._couriers.start()
        self.renew()

    def stop(self) -> None:
        """Say goodbye to modules; messages stay."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        self._couriers.stop()
        listener.stop()
        with self._lock:
            proxies = tuple(self._proxies.values())
            self._proxies.clear()
            own, self._own = self._own, None
        for proxy in proxies:
            proxy.stop()
        if own is not None:
            own.stop()
        self._couriers.join()

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
        self._couriers.wake()

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
        self._couriers.wake()

    def _proxy(self, module: str) -> Proxy | None:
        with self._lock:
            found = self._proxies.get(module)
            if found is None and self._identities.get(module) is not None and self.is_running:
                found = Proxy(module, self._kept, self._connect)
                self._proxies[module] = found
            return found

    def _client(self, module: str) -> ModuleClient | None:
        proxy = self._proxies.get(module)
        return None if proxy is None else proxy.client

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


def _known_config(kept: Kept) -> HubConfig:
    try:
        return parse_hub_config(kept.read(_CONFIG, dict[str, Any], {}))
    except RouteError:
        return HubConfig()

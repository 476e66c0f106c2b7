"""Puts the module together from the device's configuration and its surroundings, and runs it."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

import msgspec

from edge_components.agent.config import identity_of, load_config
from edge_components.agent.control import ControlClient
from edge_components.agent.download import DownloadPolicy
from edge_components.agent.layout import RUNTIME, Launch, Layout, layout_of
from edge_components.agent.supervisor import Supervisor, SupervisorTiming
from edge_components.apply.folder import Delivery, FolderSource
from edge_components.apply.order import ServingRuntime
from edge_components.apply.verdict import claimed_release
from edge_components.contract.device import ENGINES, PEM_MARK, DeviceConfig
from edge_components.contract.digest import sha256_digest
from edge_components.contract.hardware import HardwareProfile
from edge_components.contract.release import RELEASE_FILE
from edge_components.contract.signature import key_hint
from edge_components.contract.twin import DesiredRelease
from edge_components.iotedge.environment import ModuleIdentity, parse_environment
from edge_components.iotedge.hub import EdgeHub, HubTiming
from edge_components.iotedge.local import SOCKET_FILE, SOCKET_VARIABLE, LocalServer
from edge_components.iotedge.memory import Wish
from edge_components.iotedge.methods import Journal, Methods
from edge_components.iotedge.module import Module, ModuleTiming
from edge_components.iotedge.orders import Orders, OrderTiming
from edge_components.iotedge.serving import SupervisedRuntime
from edge_components.iotedge.topics import events
from edge_components.iotedge.workload import TOKEN_LIFE_S, WorkloadClient
from edge_components.oci.cache import Cache
from edge_components.oci.http import Access, RegistryHttp
from edge_components.oci.reference import parse_repository
from edge_components.oci.source import OciSource, Wanted
from edge_components.store.disk import Disk
from edge_components.store.store import Store
from edge_components.update.executor import Timing, Updater
from edge_components.update.golden import GoldenCheck
from edge_components.update.ports import Source, Trust
from edge_components.update.record import Record
from edge_components.update.trust import ChildTrust

_LOG = logging.getLogger(__name__)
DOCUMENTS = "documents"
_DOCUMENTS_BYTES = 32 << 20


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Files that the module's container is given.

    Attributes:
        config: The device's configuration.
        registry_auth: Who it is to the registry, as docker's ``config.json`` says.
        registry_ca: Authorities of the registry (PEM), or None for the system's.
        baked: A folder of the image that holds a release and its package, or None.
    """

    config: Path
    registry_auth: Path | None = None
    registry_ca: Path | None = None
    baked: Path | None = None


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """Every duration of the module, and the runtime's command; the defaults are for service.

    The runtime has 4 s to end: docker gives a container 10 s for everything.
    """

    runtime: tuple[str, ...] = RUNTIME
    module: ModuleTiming = ModuleTiming()
    orders: OrderTiming = OrderTiming()
    hub: HubTiming = HubTiming()
    supervisor: SupervisorTiming = SupervisorTiming(stop_s=4.0)
    soak: Timing = Timing()
    download: DownloadPolicy = DownloadPolicy()
    token_s: float = TOKEN_LIFE_S
    control_s: float = 5.0
    check_s: float = 600.0
    load_s: float = 30.0
    send_s: float = 10.0


def run(
    place: Place,
    environ: Mapping[str, str],
    journal: Journal,
    *,
    tuning: Tuning | None = None,
    disk: Disk | None = None,
    trust: Trust | None = None,
    clock: Callable[[], float] = time.time,
) -> int:
    """Run the module until SIGTERM or SIGINT.

    Args:
        place: The files it is given.
        environ: Its environment, with edgeAgent's variables.
        journal: The log that the method ``logs`` tells.
        tuning: Durations other than those for service.
        disk: Durable file operations, if they are to be observed.
        trust: Who is believed; by default the configured publishers, verified in a child.
        clock: Seconds since 1970, by which tokens end.

    Raises:
        ContractError: The configuration or the environment cannot be used.
        StoreError: The store cannot be used.
    """
    tuning, disk = tuning or Tuning(), disk or Disk()
    me = parse_environment(environ)
    config, profile = load_config(place.config)
    layout = layout_of(config)
    layout.runtime.mkdir(parents=True, exist_ok=True, mode=0o700)
    store = Store.open(layout.store, config.store, disk=disk)
    with ExitStack() as stack:
        stack.callback(store.close)
        # The runtime inherits it, so that its telemetry finds its way.
        os.environ[SOCKET_VARIABLE] = str(layout.state_dir / SOCKET_FILE)
        supervisor = _supervisor(config, place, store, tuning)
        parts = ModuleParts(
            config,
            profile,
            place=place,
            store=store,
            supervisor=supervisor,
            tuning=tuning,
            trust=trust or ChildTrust(config.trust.publishers),
        )
        module = Module(
            store,
            supervisor,
            identity_of(config),
            layout.state_dir,
            disk=disk,
            timing=tuning.module,
        )
        hub = _hub(me, module, tuning, clock)
        orders = Orders(parts, module.changed, tuning.orders)
        module.attach(hub, orders, Methods(module.status, module.go_back, journal))
        supervisor.listen(module.changed)
        local = _local(layout, me, hub, tuning)
        stack.callback(local.stop)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: module.stop())
        _LOG.info("module '%s' of '%s' runs '%s'", me.module, me.device, config.device.application)
        module.run(baked_wish(place.baked))
    return 0


def _hub(me: ModuleIdentity, module: Module, tuning: Tuning, clock: Callable[[], float]) -> EdgeHub:
    return EdgeHub(
        me,
        WorkloadClient(me, clock=clock, life_s=tuning.token_s),
        connected=module.connected,
        received=module.received,
        timing=tuning.hub,
        clock=clock,
    )


def _local(layout: Layout, me: ModuleIdentity, hub: EdgeHub, tuning: Tuning) -> LocalServer:
    def publish(output: str, body: bytes) -> None:
        hub.publish(events(me, output), body, timeout_s=tuning.send_s)

    server = LocalServer(layout.state_dir / SOCKET_FILE, publish)
    server.start()
    return server


def _supervisor(config: DeviceConfig, place: Place, store: Store, tuning: Tuning) -> Supervisor:
    layout = layout_of(config)
    launch = Launch(
        program=tuning.runtime, config=config, config_path=place.config.absolute(), layout=layout
    )

    def version_dir(number: int) -> Path:
        return store.versions.path(number)

    return Supervisor(
        lambda version: launch.command(version, version_dir(version.number)),
        folder=layout.state_dir,
        control=ControlClient(layout.control_socket, timeout_s=tuning.control_s),
        version_dir=version_dir,
        timing=tuning.supervisor,
    )


class ModuleParts:
    """What an order of this device is carried out with."""

    def __init__(
        self,
        config: DeviceConfig,
        profile: HardwareProfile,
        *,
        place: Place,
        store: Store,
        supervisor: Supervisor,
        tuning: Tuning,
        trust: Trust,
    ) -> None:
        self.store = store
        self.trust = trust
        self.runtime: ServingRuntime = SupervisedRuntime(supervisor, load_s=tuning.load_s)
        self._config = config
        self._profile = profile
        self._place = place
        self._tuning = tuning
        self._documents = Cache(layout_of(config).state_dir / DOCUMENTS)

    def updater(self, changed: Callable[[Record], None]) -> Updater:
        """Return an updater that tells of each stored record."""
        config, tuning = self._config, self._tuning
        return Updater(
            self.store,
            trust=self.trust,
            checker=GoldenCheck(
                tuning.runtime,
                config.device.hardware,
                timeout_s=tuning.check_s,
                engines=layout_of(config).store / ENGINES,
            ),
            runtime=self.runtime,
            profile=self._profile,
            application=config.device.application,
            keep=config.store.keep,
            changed=changed,
            timing=tuning.soak,
        )

    def source(self, wanted: DesiredRelease, stack: ExitStack) -> Source:
        """Return where a release comes from: the image, if it is baked in, else the registry.

        Raises:
            ContractError: It names nothing that can be read.
        """
        baked = self._place.baked
        if baked is not None and _is_baked(baked, wanted):
            return FolderSource(Delivery(folder=baked))
        place = self._place
        access = Access(auth_file=place.registry_auth, ca_file=place.registry_ca)
        http = RegistryHttp(parse_repository(wanted.repository), access)
        stack.callback(http.close)
        self._documents.trim(_DOCUMENTS_BYTES, {wanted.artifact})
        order = Wanted(digest=wanted.artifact, number=wanted.release, hints=self._hints())
        return OciSource(http, order, self._documents, self._tuning.download)

    def _hints(self) -> frozenset[str]:
        """Return the names of the publishers' keys, to choose among several signatures."""
        found = set()
        for key in self._config.trust.publishers:
            with suppress(OSError):
                text = key.encode() if key.lstrip().startswith(PEM_MARK) else Path(key).read_bytes()
                found.add(key_hint(text))
        return frozenset(found)


def baked_wish(baked: Path | None) -> Wish:
    """Return what is wanted where an image brings a release and the twin never named one."""
    if baked is None:
        return Wish()
    try:
        envelope = (baked / RELEASE_FILE).read_bytes()
    except OSError as exc:
        _LOG.warning("the image brings no release: %s", exc)
        return Wish()
    release = claimed_release(envelope)
    if release is None:
        return Wish()
    desired = DesiredRelease(
        release=release.number,
        package=release.package,
        repository="",
        artifact=sha256_digest(envelope),
    )
    return Wish(desired=desired)


def _is_baked(baked: Path, wanted: DesiredRelease) -> bool:
    own = baked_wish(baked).desired
    return own is not None and (own.release, own.package) == (wanted.release, wanted.package)

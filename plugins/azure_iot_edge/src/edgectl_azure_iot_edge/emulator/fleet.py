"""The emulated subscription with edge devices around it: started, enrolled, watched, stopped.

The account runs in this process, each device in one of its own. Devices are added with
``edgectl devices add``, as a user adds them; what a laptop has otherwise than a device (its own
file system and address) is then changed in the files that it wrote.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import shutil
import sys
import time
from pathlib import Path

import msgspec

from edgectl.api import Project, ProviderError, Record, parse_device_config
from edgectl.emulation import DEFAULT_HARDWARE, Processes, add_device, settle_device
from edgectl_azure_iot_edge.config import RuntimeConfig
from edgectl_azure_iot_edge.createoptions import STATE_DIR
from edgectl_azure_iot_edge.devicefiles import (
    DEVICE_FILE,
    EDGE_FILE,
    PUBLISHER_FILE,
    REGISTRY_FILE,
)
from edgectl_azure_iot_edge.emulator.account import ROOMS, MakeRoom, RunningAccount
from edgectl_azure_iot_edge.emulator.edge.crowd.enroll import add_crowd
from edgectl_azure_iot_edge.emulator.edge.ground import kept_of, reserve_address
from edgectl_azure_iot_edge.emulator.edge.settings import MQTT_PORT
from edgectl_azure_iot_edge.emulator.hub.rates import TWIN_WRITE, rates
from edgectl_azure_iot_edge.emulator.hub.room import HubRoom
from edgectl_azure_iot_edge.emulator.hub.settings import HubSettings
from edgectl_azure_iot_edge.emulator.place import place_of, setting
from edgectl_azure_iot_edge.emulator.registry import RegistryRoom
from edgectl_azure_iot_edge.emulator.seed import seed
from edgectl_azure_iot_edge.selector import read_selector

EDGE_MODULE = "edgectl_azure_iot_edge.emulator.edge"
CROWD_WRITES = 0.4
"""What a crowd takes of the hub's rate of twin writes, which operators share."""
CROWD_MODULE = "edgectl_azure_iot_edge.emulator.edge.crowd"
CROWD_READY = '"connected"'
CROWD_TIMEOUT_S = 60.0
CROWD_DEVICE_S = 0.2
_DEVICE_FILES = (DEVICE_FILE, PUBLISHER_FILE, REGISTRY_FILE)
_SECRETS = ("IOTHUB_CONNECTION_STRING", "AZURE_CLIENT_SECRET", "EDGECTL_AZURE_EVENTHUB")


class VirtualDevice(Record, frozen=True, kw_only=True):
    """An edge device to start: its name, its target and its hardware profile.

    Attributes:
        arguments: Further arguments of ``python -m …emulator.edge``, for example
            ``("--pull-wait", "2")``.
    """

    name: str
    target: str
    hardware: str
    arguments: tuple[str, ...] = ()


class Crowd(Record, frozen=True, kw_only=True):
    """Devices that only pretend to run modules, all in one process.

    Attributes:
        failing: How many of them fail every release.
    """

    size: int
    target: str
    failing: int = 0


class RunningDevice(Record, frozen=True, kw_only=True):
    """A device that runs.

    Attributes:
        url: Where its runtime answers once a release is on it.
        folder: Where the virtual device keeps everything; ``faults.json`` goes there.
        root: The device's own file system.
        state_dir: What the module keeps.
    """

    name: str
    target: str
    hardware: str
    url: str
    folder: str
    root: str
    state_dir: str


class FleetInfo(Record, frozen=True, kw_only=True):
    """What a user of the emulator needs.

    Attributes:
        env: The variables to set for ``edgectl``, Azure's SDKs and CLI.
        url: The subscription's web server; it is steered below ``/emulator/``.
        registry: ``host:port`` of the container registry.
        ca_file: What everybody has to trust.
    """

    env: dict[str, str]
    url: str
    registry: str
    mqtt_port: int
    ca_file: str
    devices: tuple[RunningDevice, ...]


class FleetOptions(Record, frozen=True, kw_only=True):
    """How a fleet is started.

    Attributes:
        host: Address that devices reach the account at; bound by every port of it.
        names: Names that devices call this machine by; the first stands in addresses.
        port: Of the web server; 0 takes a free one, as for the others.
        hub: What the hub is bought as.
        engine: What runs modules: ``process``, ``podman``, ``docker`` (also with options of
            theirs) or ``auto``.
        device_arguments: For all devices, as for one in ``VirtualDevice``.
        seeded: Whether a base deployment and another team's layer are there.
    """

    host: str = "127.0.0.1"
    names: tuple[str, ...] = ()
    port: int = 0
    registry_port: int = 0
    hub: HubSettings = HubSettings()
    engine: str = "process"
    device_arguments: tuple[str, ...] = ()
    seeded: bool = True


class Fleet:
    """An account and its edge devices below one folder.

    Args:
        folder: Takes certificates, the devices' folders and everybody's log.
        project: Whose ``providers.azure`` and targets are set up.
        options: Ports and the like.
        rooms: Other rooms than usual, for tests.
    """

    def __init__(
        self,
        folder: Path,
        project: Project,
        options: FleetOptions | None = None,
        rooms: tuple[MakeRoom, ...] | None = None,
    ) -> None:
        self._folder = folder.absolute()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._held = contextlib.ExitStack()
        self._hold_folder()
        self._project = project
        self._options = options = options or FleetOptions()
        self._account = RunningAccount(
            self._folder / "account",
            names=options.names,
            host=options.host,
            port=options.port,
            rooms=_rooms(options) if rooms is None else rooms,
            place=place_of(project),
        )
        self._processes = Processes(self._folder / "logs")
        self._env = dict(os.environ)

    def start(
        self, devices: tuple[VirtualDevice, ...], crowds: tuple[Crowd, ...] = ()
    ) -> FleetInfo:
        """Open the account, add the devices and start them.

        Raises:
            ProviderError: A program does not come up; its last lines are in the message.
        """
        self._account.start()
        hub = self._account.site.find(HubRoom)
        registry = self._account.site.find(RegistryRoom)
        if self._options.seeded:
            seed(hub.hub, registry)
        settings = self._account.settings()
        self._env.update(settings)
        running = tuple(self._start_device(device, hub) for device in devices)
        for number, crowd in enumerate(crowds, 1):
            self._start_crowd(number, crowd, hub)
        return FleetInfo(
            env=settings,
            url=self._account.url,
            registry=registry.host,
            mqtt_port=hub.devices.port,
            ca_file=str(self._account.ca_file),
            devices=running,
        )

    def check(self) -> None:
        """Check that everything still runs.

        Raises:
            ProviderError: A program ended by itself.
        """
        name = self._processes.ended()
        if name is not None:
            raise ProviderError(f"'{name}' ended: {self._processes.log_tail(name)}")

    def stop(self) -> None:
        """Stop the devices, then the account."""
        self._processes.stop()
        self._account.stop()
        self._held.close()

    def _hold_folder(self) -> None:
        """Keep the folder to this emulator: a second one would give its devices other keys."""
        lock = self._held.enter_context((self._folder / "lock").open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            self._held.close()
            raise ProviderError(
                f"an emulator runs in '{self._folder}' already",
                hint="stop it, or give this one another --dir",
            ) from exc

    def _start_device(self, device: VirtualDevice, hub: HubRoom) -> RunningDevice:
        folder = self._folder / "devices" / device.name
        add_device(
            device.name,
            device.target,
            device.hardware,
            folder=folder,
            project=self._project.path,
            env=self._env,
        )
        runtime = _runtime(self._project)
        edge, root = folder / "edge", folder / "root"
        place = reserve_address(device.name, kept_of(edge), self._held)
        url = _install(folder, root, runtime, place)
        command = [sys.executable, "-m", EDGE_MODULE]
        command += ["--config", str(folder / EDGE_FILE), "--folder", str(edge)]
        command += ["--root", str(root), "--mqtt-port", str(hub.devices.port)]
        command += ["--engine", self._options.engine]
        command += [*self._options.device_arguments, *device.arguments]
        env = {name: value for name, value in self._env.items() if name not in _SECRETS}
        self._processes.start(device.name, command, env)
        application = parse_device_config((folder / DEVICE_FILE).read_text()).device.application
        return RunningDevice(
            name=device.name,
            target=device.target,
            hardware=device.hardware,
            url=url,
            folder=str(edge),
            root=str(root),
            state_dir=str(_below(root, runtime.state_dir) / application),
        )

    def _start_crowd(self, number: int, crowd: Crowd, hub: HubRoom) -> None:
        target = self._project.target(crowd.target)
        name = f"crowd{number}"
        folder = self._folder / name
        add_crowd(
            hub.hub,
            folder,
            names=[f"{target.name}-{name}-{n}" for n in range(1, crowd.size + 1)],
            tags=read_selector(target).tags,
            hardware=target.hardware or DEFAULT_HARDWARE,
        )
        host = self._account.url.removeprefix("https://")
        command = [sys.executable, "-m", CROWD_MODULE, "--folder", str(folder)]
        command += ["--hub", host, "--mqtt-port", str(hub.devices.port)]
        command += ["--failing", str(crowd.failing), "--ca", str(self._account.ca_file)]
        writes_per_s = rates(hub.settings_of_hub)[TWIN_WRITE] * CROWD_WRITES
        command += ["--writes-per-second", str(writes_per_s)]
        self._processes.start(name, command, self._env)
        deadline = time.monotonic() + CROWD_TIMEOUT_S + crowd.size * CROWD_DEVICE_S
        while CROWD_READY not in self._processes.log_tail(name):
            self.check()
            if time.monotonic() > deadline:
                raise ProviderError(f"'{name}' is not up: {self._processes.log_tail(name)}")
            time.sleep(0.2)


def check_targets(
    project: Project, devices: tuple[VirtualDevice, ...], crowds: tuple[Crowd, ...]
) -> None:
    """Check that what is to be started has a place in the project.

    Raises:
        ProjectError: The project has no such target.
        ProviderError: A target has no tags for a crowd to carry.
    """
    for device in devices:
        project.target(device.target)
    for crowd in crowds:
        target = project.target(crowd.target)
        if not read_selector(target).tags:
            raise ProviderError(
                f"target '{crowd.target}' has no tags for a crowd to carry",
                hint="give it a selector such as {tags: {site: dc}}",
            )


def _rooms(options: FleetOptions) -> tuple[MakeRoom, ...]:
    """Return the usual rooms, with the hub and the registry as they are wanted here."""
    registry = functools.partial(RegistryRoom, port=options.registry_port)
    found: list[MakeRoom] = [room for room in ROOMS if room not in {HubRoom, RegistryRoom}]
    return (*found, registry, functools.partial(HubRoom, settings=options.hub))


def _install(folder: Path, root: Path, places: RuntimeConfig, reserved: tuple[str, int]) -> str:
    """Put a device's files where its owner would; return where its runtime will answer.

    On Linux each virtual device has an address of its own and keeps the real ports; elsewhere its
    runtime gets a free port.
    """
    place = _below(root, places.config_dir)
    place.mkdir(parents=True, exist_ok=True)
    _below(root, places.state_dir).mkdir(parents=True, exist_ok=True)
    for copied in _DEVICE_FILES:
        shutil.copyfile(folder / copied, place / copied)
    file = place / DEVICE_FILE
    before = parse_device_config(file.read_text())
    settle_device(file, Path(STATE_DIR) / before.device.application)
    settled = parse_device_config(file.read_text())
    address, mqtt_port = reserved
    own = mqtt_port == MQTT_PORT
    runtime = msgspec.structs.replace(
        settled.runtime, host=address, port=before.runtime.port if own else settled.runtime.port
    )
    if not own:
        runtime = msgspec.structs.replace(runtime, grpc_port=None)
    file.write_text(msgspec.structs.replace(settled, runtime=runtime).to_toml())
    return f"http://{address}:{runtime.port}"


def _runtime(project: Project) -> RuntimeConfig:
    """Return where the module's files are, without what needs variables that are not set yet."""
    found = {key: setting(project, "runtime", key) for key in ("config_dir", "state_dir")}
    places = {key: place for key, place in found.items() if place is not None}
    try:
        return msgspec.convert(places, RuntimeConfig)
    except msgspec.ValidationError as exc:
        raise project.error("providers.azure.runtime", str(exc)) from exc


def _below(root: Path, path: str) -> Path:
    return root / path.lstrip("/")

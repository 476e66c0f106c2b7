"""The emulated hub in this process, a registry, and edge devices that take what they are given.

The hub's and the registry's HTTP sides are real: azure-core signs, sends and is refused as
anywhere. The devices read their twins from the hub directly, where a virtual edge device would use
MQTT; so a test says what a device does, and does it at once.
"""

from __future__ import annotations

import functools
import secrets
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from edgectl import api
from edgectl.api import ModuleReport, Provider, State
from edgectl.emulation.registry import RegistryServer
from edgectl.package.keys import SigningKey
from edgectl.package.sign import sign_package, sign_release
from edgectl.testing.conformance.base import build_tiny_package
from edgectl_azure_iot_edge._sdk.images import installed_version
from edgectl_azure_iot_edge.emulator.account import RunningAccount
from edgectl_azure_iot_edge.emulator.arm.room import ArmRoom
from edgectl_azure_iot_edge.emulator.blob.room import BlobRoom
from edgectl_azure_iot_edge.emulator.eventhub.room import EventHubRoom
from edgectl_azure_iot_edge.emulator.hub.hub import Hub
from edgectl_azure_iot_edge.emulator.hub.room import HubRoom
from edgectl_azure_iot_edge.emulator.hub.settings import HubSettings
from edgectl_azure_iot_edge.emulator.login import LoginRoom
from edgectl_azure_iot_edge.emulator.ml.room import MlRoom

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the SDK is not ready for the next marshmallow
    import azure.ai.ml  # noqa: F401 - so that no test is the first to import it

POLL_S = 0.01
OTHERS = (LoginRoom, BlobRoom, MlRoom, ArmRoom, EventHubRoom)
TELLING = threading.Lock()  # records arrive in the order in which they came about
BASE = "site-base"
SYSTEM = {"type": "docker", "settings": {"image": "mcr.example/agent:1.5", "createOptions": "{}"}}


def base_content() -> dict[str, Any]:
    """Return a base deployment, as another team has it."""
    return {
        "modulesContent": {
            "$edgeAgent": {
                "properties.desired": {
                    "schemaVersion": "1.1",
                    "runtime": {"type": "docker", "settings": {}},
                    "systemModules": {
                        "edgeAgent": SYSTEM,
                        "edgeHub": {**SYSTEM, "status": "running", "restartPolicy": "always"},
                    },
                    "modules": {
                        "camera": {
                            "type": "docker",
                            "status": "running",
                            "restartPolicy": "always",
                            "settings": {"image": "camera:2"},
                        }
                    },
                }
            },
            "$edgeHub": {
                "properties.desired": {
                    "schemaVersion": "1.1",
                    "routes": {},
                    "storeAndForwardConfiguration": {"timeToLiveSecs": 7200},
                }
            },
        }
    }


class Site:
    """A running hub and a registry."""

    def __init__(self, folder: Path, settings: HubSettings) -> None:
        room = functools.partial(HubRoom, settings=settings)
        self.account = RunningAccount(folder / "account", rooms=(*OTHERS, room))
        self.account.start()
        self.registry = RegistryServer(folder / "registry")
        self.registry.start()
        self.room: HubRoom = self.account.site.find(HubRoom)
        self.hub: Hub = self.room.hub
        self.env = self.account.settings()
        self._seed_image()

    @property
    def registry_host(self) -> str:
        return f"127.0.0.1:{self.registry.port}"

    def _seed_image(self) -> None:
        target = f"{self.registry_host}/edgectl/edge-runtime:{installed_version()}"
        api.append_layer("scratch", {"etc/edge": b"a runtime"}, target)

    def configure(self, name: str, **fields: Any) -> None:
        """Put a configuration into the hub, past its API."""
        body = {"id": name, "labels": {}, "priority": 1, "targetCondition": "", **fields}
        self.hub.configurations.put(name, body, None)
        self.hub.background.wake()

    def calls(self) -> dict[str, int]:
        return dict(self.account.site.calls.counts().total)

    def made(self, work: Callable[[], object]) -> dict[str, int]:
        """Return which calls work makes."""
        before = self.calls()
        work()
        return {n: c - before.get(n, 0) for n, c in self.calls().items() if c != before.get(n, 0)}

    def writes(self, work: Callable[[], object]) -> dict[str, int]:
        """Return which calls work makes that change something."""
        reads = ("Get", "List", "Query", "Test")
        return {
            name: count
            for name, count in self.made(work).items()
            if name.startswith("hub.") and not name.removeprefix("hub.").startswith(reads)
        }

    def close(self) -> None:
        self.account.stop()
        self.registry.stop()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One hub for all tests; each makes names of its own in it."""
    settings = HubSettings(throttle=False, background_s=0.01, metrics_s=3600.0, units=200)
    made = Site(tmp_path_factory.mktemp("azure"), settings)
    yield made
    made.close()


@pytest.fixture
def unique() -> str:
    """A word that no other test uses."""
    return secrets.token_hex(4)


@pytest.fixture
def open_plugin(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Provider]:
    """Open the provider by name, as the command line does, with other settings than the usual."""
    for name, value in site.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("edgectl_azure_iot_edge._sdk.account._ACCOUNTS", {})
    monkeypatch.setattr("edgectl_azure_iot_edge._sdk.account._PACES", {})

    def opened(**config: Any) -> Provider:
        context = api.ProviderContext(
            project_dir=tmp_path, state_dir=tmp_path / ".edgectl", progress=lambda _: None
        )
        settings = {
            "subscription_id": site.account.site.subscription,
            "resource_group": site.account.site.resource_group,
            "iot_hub": site.account.site.hub,
            "workspace": "edgectl-ml",
            "training": {"compute": "cpu-cluster", "image": "example.test/python:3.11"},
            "registry": site.registry_host,
            "tier": "S3",
            "units": 200,
            **config,
        }
        return api.open_provider("azure", settings, context)

    return opened


@pytest.fixture
def provider(open_plugin: Callable[..., Provider]) -> Provider:
    """The provider as it is usually opened."""
    return open_plugin()


class FakeEdge:
    """An edge device that takes every deployment, and does with it what the test says.

    Attributes:
        fails: Releases that it cannot take: number → the reason.
        quiet: Whether it takes nothing for now.
        code: What edgeAgent says of its last deployment.
        status: What edgeAgent says of our modules.
    """

    def __init__(self, site: Site, device: str) -> None:
        self._site = site
        self.device = device
        self.fails: dict[int, str] = {}
        self.quiet = False
        self.code = 200
        self.description = ""
        self.status = "running"
        self.exit_code = 0
        self.restarted = 0
        self._seen: tuple[Any, ...] = ()
        self._done: dict[str, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.failure: Exception | None = None

    def start(self) -> None:
        registry = self._site.hub.registry
        registry.is_connected(self.device, "$edgeAgent", connected=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=30)
        if self.failure is not None:
            raise self.failure

    def _run(self) -> None:
        while not self._stop.wait(POLL_S):
            try:
                if not self.quiet:
                    self.step()
            except Exception as exc:  # noqa: BLE001 - told at the end of the test
                self.failure = exc
                return

    def step(self) -> None:
        """Take what is wanted now, if it is new."""
        hub = self._site.hub
        with hub.registry.lock:
            found = hub.registry.devices.get(self.device)
            if found is None:
                return
            agent = found.modules["$edgeAgent"].twin.desired
            wanted = dict(agent.values.get("modules") or {})
            version = agent.version
            orders = {
                name: dict(module.twin.desired.values.get("edgectl") or {})
                for name, module in found.modules.items()
            }
        look = (version, self.code, self.status, self.description, self.exit_code, str(orders))
        if look == self._seen:
            return
        self._report_agent(wanted, version)
        for name, order in orders.items():
            if order and name in wanted and self.status == "running":
                self.take(name, order)
        self._seen = look

    def _report_agent(self, wanted: dict[str, Any], version: int) -> None:
        modules = {
            name: {
                "runtimeStatus": self.status if name.startswith("edgectl-") else "running",
                "exitCode": self.exit_code if name.startswith("edgectl-") else 0,
                "restartCount": self.restarted,
                "statusDescription": self.description,
            }
            for name in wanted
        }
        with self._site.hub.registry.lock:
            entry = self._site.hub.registry.entry(self.device, "$edgeAgent")
            gone = set(entry.twin.reported.values.get("modules") or {}) - modules.keys()
        self._site.hub.registry.report(
            self.device,
            "$edgeAgent",
            {
                "lastDesiredVersion": version,
                "lastDesiredStatus": {"code": self.code, "description": self.description},
                "modules": {**modules, **dict.fromkeys(gone)},
            },
        )

    def take(self, module: str, order: dict[str, Any]) -> None:
        number, current = int(order["release"]), self._done.get(module, 0)
        if number < current:
            return  # releases only rise
        phase, reason = State.HEALTHY, ""
        if number in self.fails:
            phase, reason = State.FAILED, self.fails[number]
        else:
            self._done[module] = number
            self._tell(module, number)
        self.report(
            module,
            desired=number,
            current=self._done.get(module, 0),
            phase=phase,
            reason=reason,
            package=order["package"],
            active=order["package"] if phase is State.HEALTHY else "",
            variant="fp32",
        )

    def _tell(self, module: str, release: int) -> None:
        """Send two records, as the runtime does through edgeHub."""
        application = module.removeprefix("edgectl-")
        with TELLING:
            records = [
                api.TelemetryRecord(
                    id=f"{self.device}-{application}-{release}-{n}",
                    kind=kind,
                    time_unix_ns=time.time_ns(),
                    device=self.device,
                    application=application,
                )
                for n, kind in enumerate((api.Kind.EVENT, api.Kind.PREDICTION))
            ]
            self._site.account.site.events.append(
                self.device,
                api.to_otlp(records),
                annotations={"iothub-connection-module-id": module},
                system={"content-type": "application/json"},
            )

    def report(self, module: str, **fields: Any) -> None:
        """Write what the module says of itself into its twin."""
        told = ModuleReport(at=int(time.time()), **fields).to_twin()
        self._site.hub.registry.report(self.device, module, {"edgectl": told})


class Fleet:
    """A target of the test's own, with devices that take deployments."""

    def __init__(self, site: Site, unique: str) -> None:
        self.site = site
        self.unique = unique
        self.edges: dict[str, FakeEdge] = {}
        self.target = api.Target(
            name=f"lots-{unique}",
            provider="azure",
            selector={"tags": {"site": unique}},
            hardware="x86-64-cpu",
        )
        self.base = f"{BASE}-{unique}"
        site.configure(
            self.base,
            content=base_content(),
            targetCondition=f"tags.site = '{unique}'",
            priority=10,
        )

    def add(self, *names: str, start: bool = True) -> list[FakeEdge]:
        """Make devices of the target, which work at once or when they are told."""
        made = []
        for name in names:
            device = self.device(name)
            registry = self.site.hub.registry
            registry.put_device(
                device, {"deviceId": device, "capabilities": {"iotEdge": True}}, None
            )
            registry.patch_twin(device, None, {"tags": {"site": self.unique}}, None)
            edge = FakeEdge(self.site, device)
            self.edges[device] = edge
            made.append(edge)
            if start:
                edge.start()
        self.site.hub.background.assign()
        return made

    def device(self, name: str) -> str:
        return f"{name}-{self.unique}"

    def close(self) -> None:
        for edge in self.edges.values():
            edge.close()
        configurations = self.site.hub.configurations
        for name in list(configurations.all):
            if self.unique in name:
                configurations.delete(name, "*")


@pytest.fixture
def fleet(site: Site, unique: str) -> Iterator[Fleet]:
    """A target of the test's own."""
    made = Fleet(site, unique)
    yield made
    made.close()


class Shop:
    """Makes packages and releases, and brings them to the registry."""

    def __init__(self, folder: Path, provider: Provider, fleet: Fleet, unique: str) -> None:
        self._folder = folder
        self._key = SigningKey(ec.generate_private_key(ec.SECP256R1()))
        self.provider = provider
        self.fleet = fleet
        self.application = f"app-{unique}"
        self.module = f"edgectl-{self.application}"
        self.packages: dict[str, api.Package] = {}

    def package(self, version: str = "1.0.0") -> api.Package:
        if version not in self.packages:
            self.packages[version] = build_tiny_package(
                self.application, version, self._folder, self._key
            )
        return self.packages[version]

    def release(self, number: int, version: str = "1.0.0") -> api.Release:
        package = self.package(version)
        document = api.ReleaseDocument(
            application=self.application, number=number, version=version, package=package.digest
        )
        signature = sign_package(package.layout, package.digest, self._key)
        return sign_release(document, signature, self._key)

    def give(self, number: int, *names: str, version: str = "1.0.0") -> api.DeployResult:
        """Package a release and give it to devices by their short names."""
        package, release = self.package(version), self.release(number, version)
        target = self.fleet.target
        self.provider.package(api.PackageRequest(target=target, package=package, release=release))
        devices = tuple(self.fleet.device(name) for name in names)
        return self.provider.deploy(
            api.DeployRequest(target=target, package=package, release=release, devices=devices)
        )

    def preview(self, number: int = 1, version: str = "1.0.0") -> tuple[str, ...]:
        """Return the notes of a plan."""
        request = api.PreviewRequest(
            target=self.fleet.target, package=self.package(version), release=number
        )
        return self.provider.preview(request).notes

    def states(self, release: int | None = None) -> dict[str, api.DeviceStatus]:
        """Return where each device stands, by short name."""
        request = api.ObserveRequest(
            target=self.fleet.target, application=self.application, release=release
        )
        found = {status.device: status for status in self.provider.observe(request)}
        return {name.removesuffix(f"-{self.fleet.unique}"): s for name, s in found.items()}

    def until(
        self, holds: Callable[[dict[str, api.DeviceStatus]], bool], release: int | None = None
    ) -> dict[str, api.DeviceStatus]:
        """Look until the states are as wanted."""
        deadline = time.monotonic() + 20.0
        while True:
            states = self.states(release)
            if holds(states):
                return states
            assert time.monotonic() < deadline, states
            time.sleep(POLL_S)

    def settle(self, release: int) -> dict[str, api.DeviceStatus]:
        """Wait until every device that has the release is settled."""
        return self.until(
            lambda states: bool(states) and all(s.state.is_settled for s in states.values()),
            release,
        )


@pytest.fixture
def shop(tmp_path: Path, provider: Provider, fleet: Fleet, unique: str) -> Shop:
    """Packages and releases of an application of the test's own."""
    return Shop(tmp_path, provider, fleet, unique)

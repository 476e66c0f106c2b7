"""An emulated hub whose every request and answer is held to the service's OpenAPI, and clients."""

from __future__ import annotations

import functools
import os
import secrets
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent / "support"))

from azure.iot.hub import IoTHubConfigurationManager, IoTHubJobManager, IoTHubRegistryManager
from azure_module import Module, token
from azure_spec import Checked, Spec

from edgectl_azure_iot_edge.emulator.account import RunningAccount
from edgectl_azure_iot_edge.emulator.arm.room import ArmRoom
from edgectl_azure_iot_edge.emulator.hub.hub import Hub
from edgectl_azure_iot_edge.emulator.hub.room import HubRoom
from edgectl_azure_iot_edge.emulator.hub.settings import HubSettings
from edgectl_azure_iot_edge.emulator.login import LoginRoom

QUICK = HubSettings(throttle=False, background_s=0.0, metrics_s=0.05)
MakeAccount = Callable[..., RunningAccount]
MakeDevice = Callable[..., Any]
Connect = Callable[..., Module]


@pytest.fixture(scope="session")
def start_account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeAccount]:
    """Start accounts with other hubs than the usual."""
    spec = Spec.read()
    running: list[tuple[RunningAccount, Checked | None]] = []

    def start(settings: HubSettings = QUICK) -> RunningAccount:
        folder = tmp_path_factory.mktemp("hub")
        rooms = (LoginRoom, ArmRoom, functools.partial(HubRoom, settings=settings))
        account = RunningAccount(folder, rooms=rooms)
        checked = Checked(account.server.application, spec) if spec else None
        if checked is not None:
            account.server.application = checked
        account.start()
        os.environ["REQUESTS_CA_BUNDLE"] = str(account.ca_file)
        running.append((account, checked))
        return account

    yield start
    os.environ.pop("REQUESTS_CA_BUNDLE", None)
    for account, _ in running:
        account.stop()
    assert [fault for _, checked in running if checked for fault in checked.faults] == []


@pytest.fixture(scope="session")
def shared(start_account: MakeAccount) -> RunningAccount:
    """One hub for most tests; each makes devices of its own in it."""
    return start_account()


@pytest.fixture
def account(shared: RunningAccount, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningAccount]:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(shared.ca_file))
    yield shared
    shared.site.faults.clear()
    shared.site.ahead_s = 0.0


@pytest.fixture
def hub(account: RunningAccount) -> Iterator[Hub]:
    """The hub's inside; what a test deploys is gone after it."""
    found = account.site.find(HubRoom).hub
    yield found
    with found.registry.lock:
        found.configurations.all.clear()


@pytest.fixture
def connection(account: RunningAccount) -> str:
    return account.site.find(HubRoom).connection_string("iothubowner")


@pytest.fixture
def registry(connection: str) -> IoTHubRegistryManager:
    return IoTHubRegistryManager.from_connection_string(connection)


@pytest.fixture
def deployments(connection: str, hub: Hub) -> IoTHubConfigurationManager:
    assert hub is not None
    return IoTHubConfigurationManager.from_connection_string(connection)


@pytest.fixture
def jobs(connection: str) -> IoTHubJobManager:
    return IoTHubJobManager.from_connection_string(connection)


@pytest.fixture
def name() -> str:
    """A device id that no other test uses."""
    return f"d-{secrets.token_hex(4)}"


@pytest.fixture
def new_device(registry: IoTHubRegistryManager, name: str) -> MakeDevice:
    """Register a device; the first has the test's name."""
    made: list[Any] = []

    def make(*, edge: bool = False, status: str = "enabled") -> Any:
        device_id = f"{name}-{len(made)}" if made else name
        made.append(registry.create_device_with_sas(device_id, None, None, status, iot_edge=edge))
        return made[-1]

    return make


@pytest.fixture
def connect(account: RunningAccount) -> Iterator[Connect]:
    """Connect a registered device or one of its modules with its own key."""
    made: list[Module] = []
    hub = account.site.find(HubRoom).hub

    def make(client_id: str, *, ready: bool = True, **more: Any) -> Module:
        device, _, module = client_id.partition("/")
        key = hub.registry.entry(device, module or None).identity.keys[0] or ""
        place = f"devices/{device}/modules/{module}" if module else f"devices/{device}"
        found = Module(account, client_id, token=more.pop("token", token(place, key)), **more)
        made.append(found)
        return found.ready() if ready else found

    yield make
    for module in made:
        module.close()

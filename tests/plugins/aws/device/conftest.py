"""An account in memory and its broker, with certificates for devices."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent / "support"))

from aws_cloud import FakeCloud
from aws_mqtt import Device
from aws_pki import Authority
from aws_site import Site

from edgectl_aws_greengrass.emulator.broker.server import Broker, BrokerSettings

WAIT_S = 20.0


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def cloud() -> FakeCloud:
    return FakeCloud()


@pytest.fixture
def broker(cloud: FakeCloud, authority: Authority) -> Iterator[Broker]:
    found = Broker(cloud, authority.server_context(), settings=BrokerSettings(min_keep_alive_s=1.0))
    found.start()
    yield found
    found.stop()


@pytest.fixture
def device(
    cloud: FakeCloud, broker: Broker, authority: Authority
) -> Iterator[Callable[..., Device]]:
    """Make a client with a certificate that the account knows; connect it unless told not to."""
    made: list[Device] = []

    def make(thing: str = "core-1", *, connect: bool = True, **more: Any) -> Device:
        files = authority.issue(f"{thing}-{len(made)}")
        cloud.things.add(files[0].read_bytes(), thing)
        found = Device(broker.port, authority.ca, files, more.pop("client_id", thing), **more)
        made.append(found)
        if connect:
            code, _, _ = found.connect()
            assert not code.is_failure
        return found

    yield make
    for each in made:
        each.close()


@pytest.fixture
def until() -> Callable[[Callable[[], Any]], Any]:
    """Wait until something is true and return it."""

    def wait(check: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            if found := check():
                return found
            time.sleep(0.02)
        raise AssertionError("it did not happen in time")

    return wait


@pytest.fixture
def site(authority: Authority, tmp_path: Path, until: Any) -> Iterator[Site]:
    """Serve an account to core devices."""
    found = Site(authority, tmp_path, until)
    yield found
    found.close()

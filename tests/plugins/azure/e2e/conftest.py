"""The emulated subscription as a process and real edge devices, driven by the command line."""

from __future__ import annotations

import contextlib
import json
import ssl
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgectl_azure_iot_edge._sdk.sas import parse_connection_string, sign

sys.path.insert(0, str(Path(__file__).parents[3] / "site_support"))
from tiny_site import TinySite, wait_until

PROJECT = """\
apiVersion: edgectl/v1
name: tiny
version: "{version}"
train:
  provider: {site.trainer}
  command: [python, train.py]
  outputs: {{model: out/model.onnx}}
model: {{path: out/model.onnx}}
{site.pipeline}device: {{soak: 0.5s}}
targets:
  all: {{provider: azure, hardware: x86-64-cpu, selector: {{tags: {{site: tiny}}}}}}
rollout: {{waves: {site.waves}, soak: 0s, unreachable_grace: 60s,
  failure_threshold: {site.threshold}}}
providers:
  azure:
    subscription_id: ${{AZURE_SUBSCRIPTION_ID:-none}}
    resource_group: edgectl
    iot_hub: edgectl-hub
    workspace: edgectl-ml
    training: {{compute: cpu-cluster, image: "example.test/python:3.11"}}
    registry: ${{EDGECTL_AZURE_REGISTRY:-none}}
    units: {site.units}
{site.more}"""


class Site(TinySite):
    """A project, its emulated subscription and its edge devices."""

    project = PROJECT
    foreign = ("AZURE_", "IOTHUB_", "ARM_", "REQUESTS_CA", "SSL_CERT")
    command_s = 1200
    up_s = 300
    units = 100
    pipeline = ""
    more = ""

    def given(self) -> dict[str, int]:
        """Return the release that each device was given."""
        rows = self.rows().items()
        return {device: row["release"] for device, row in rows if row["release"]}

    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.env["REQUESTS_CA_BUNDLE"])

    def hub(self, method: str, path: str) -> Any:
        """Call the hub's service API as its owner."""
        connection = parse_connection_string(self.env["IOTHUB_CONNECTION_STRING"])
        token = sign(connection, int(time.time()) + 600)
        url = f"https://{connection.host}{path}?api-version=2021-04-12"
        request = urllib.request.Request(url, method=method, headers={"Authorization": token})
        with urllib.request.urlopen(request, timeout=30, context=self.trust()) as answer:
            return json.load(answer)

    @contextlib.contextmanager
    def account(self, devices: int, *more: str) -> Iterator[None]:
        """Start the subscription and ``devices`` edge devices."""
        with self.emulated("azure", "--devices", str(devices), *more) as found:
            self.control = f"{found['url']}/emulator"
            yield


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A hub with four devices that pretend to run modules, and a release to give them."""
    site = Site(tmp_path_factory.mktemp("crowd"))
    with site.account(0, "--crowd", "4", "all"):
        site.build("1", 1.0)
        yield site


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Wait for something to become true."""
    return wait_until

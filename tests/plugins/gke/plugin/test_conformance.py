"""The conformance kit against two API servers and a registry, with nodes that act at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lightkube.resources.core_v1 import Node

from edgectl import api
from edgectl.api import Provider
from edgectl.package.keys import SigningKey
from edgectl.testing.conformance import ProviderConformance
from edgectl.testing.conformance.base import Settle, observe


class TestGke(ProviderConformance):
    """Everything that a provider has to keep."""

    settle_timeout_s = 30.0

    @pytest.fixture
    def provider(self, open_plugin: Callable[..., Provider]) -> Provider:
        """Opened by name, as the command line opens it."""
        return open_plugin()

    @pytest.fixture
    def second_provider(self, open_plugin: Callable[..., Provider]) -> Provider:
        """Another operator's."""
        return open_plugin(timeout_s=19.0)

    @pytest.fixture
    def target(self, target: api.Target) -> api.Target:
        """Three nodes that take what they are given."""
        return target

    @pytest.fixture
    def key(self, key: SigningKey) -> SigningKey:
        """The key whose public half the settings name."""
        return key

    @pytest.fixture
    def empty_target(self, unique: str) -> api.Target:
        """Nodes with a label that no node has."""
        return api.Target(
            name="none", provider="gke", selector={"nodes": {"fleet": f"none-{unique}"}}
        )

    @pytest.fixture
    def secrets(self, site: Any) -> tuple[str, ...]:
        """The operator's tokens."""
        return tuple(server.token for server in site.servers.values())

    @pytest.fixture
    def enroll_request(
        self, site: Any, target: api.Target, application: str, key: SigningKey, unique: str
    ) -> Iterator[api.EnrollRequest]:
        """A node that is in a cluster and not in the target yet: nodes are not made here."""
        site.add_node("lot-1", f"c-{unique}", {})
        yield api.EnrollRequest(
            target=target,
            application=application,
            name=f"lot-1/c-{unique}",
            hardware="x86-64-cpu",
            publisher_key=key.public_pem,
            labels={"rack": "7"},
        )
        site.clients["lot-1"].delete(Node, f"c-{unique}")

    @pytest.fixture
    def train_request(self) -> api.TrainRequest:
        """Nobody runs a Job's pod here; the tests with nodes that run hold training to the kit."""
        pytest.skip("a Job needs nodes that run it: tests/plugins/gke/e2e/test_training.py")

    @pytest.fixture
    def told(self, target: api.Target, application: str, tmp_path: Path) -> None:
        """What a collector wrote of devices of the target, and of another application."""
        folder = tmp_path / "telemetry"
        folder.mkdir()
        nodes = [f"lot-1/a-{target.name[4:]}", f"lot-1/b-{target.name[4:]}", "lot-9/stranger"]
        records = [
            api.TelemetryRecord(
                id=f"{number}",
                kind=kind,
                device=nodes[number % len(nodes)],
                application=application if number < 9 else "other",
                time_unix_ns=1_800_000_000_000_000_000 + number * 1_000_000_000,
            )
            for number, kind in enumerate([api.Kind.PREDICTION, api.Kind.HEALTH] * 6)
        ]
        for part, name in ((records[::2], "a.json"), (records[1::2], "b.json")):
            (folder / name).write_bytes(api.to_otlp(part) + b"\n")

    @pytest.fixture
    def settle(self, provider: Provider, target: api.Target, site: Any) -> Settle:
        """Let controllers and kubelets act, and look, until all is settled."""

        def wait(release: api.Release) -> dict[str, api.DeviceStatus]:
            deadline = time.monotonic() + self.settle_timeout_s
            while True:
                site.act(release.application)
                states = observe(provider, target, release)
                if all(status.state.is_settled for status in states.values()):
                    return states
                assert time.monotonic() < deadline, states

        return wait

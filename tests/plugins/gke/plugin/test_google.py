"""Clusters that Google knows: found, reached and told apart, against the emulated APIs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgectl import api
from edgectl.api import AuthError, NotFoundError, PlanError, Provider, State, ThrottledError
from edgectl_gke_edge._sdk import google
from edgectl_gke_edge._sdk.account import Account, close_accounts
from edgectl_gke_edge._sdk.credentials import GoogleToken
from edgectl_gke_edge.config import Endpoints, GkeConfig
from edgectl_gke_edge.emulator.google.server import GoogleServer, reach_of

PROJECT = "parking"
MEMBERSHIP = f"projects/{PROJECT}/locations/global/memberships/k3s"


@pytest.fixture
def server(site: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GoogleServer]:
    """A project with a GKE cluster, one of Distributed Cloud and an attached one."""
    found = GoogleServer(tmp_path / "google", project=PROJECT, takes_s=0.0)
    first, second = reach_of(site.servers["lot-1"]), reach_of(site.servers["lot-2"])
    found.account.add_gke("office", "us-central1", first, labels={"site": "office"}, nodes=1)
    found.account.add_edge("depot", "europe-west1", second, labels={"site": "lot"})
    found.account.add_membership(MEMBERSHIP, second, labels={"kind": "k3s"})
    with found:
        key = found.add_service_account(kubernetes_groups=("system:masters",))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
        monkeypatch.setattr(google, "_TOKEN", GoogleToken())
        yield found
        close_accounts()


@pytest.fixture
def account(server: GoogleServer, tmp_path: Path) -> Callable[..., Account]:
    def made(**more: Any) -> Account:
        endpoints = Endpoints(
            container=server.grpc_address,
            edgecontainer=server.grpc_address,
            gkehub=server.grpc_address,
            connectgateway=server.http_address,
        )
        config = GkeConfig(
            registry="localhost:1/edge", project=PROJECT, endpoints=endpoints, **more
        )
        return Account(config, tmp_path)

    return made


def test_clusters_are_found_by_kind_with_place_and_labels(
    account: Callable[..., Account],
) -> None:
    found = account(sources=("gke", "edge", "fleet")).clusters()
    told = {c.name: (c.kind, c.location, c.labels.get("site", "")) for c in found}
    assert told["office"] == ("gke", "us-central1", "office")
    assert told["depot"] == ("edge", "europe-west1", "lot")
    assert told["k3s"][0] == "fleet"


@pytest.mark.slow
def test_a_location_narrows_what_is_found(account: Callable[..., Account]) -> None:
    found = account(locations=("europe-west1",)).clusters()
    assert [cluster.name for cluster in found] == ["depot"]


@pytest.mark.parametrize("name", ["office", "depot", "k3s"])
def test_every_kind_of_cluster_is_reached(account: Callable[..., Account], name: str) -> None:
    opened = account(sources=("gke", "edge", "fleet"))
    cluster = opened.cluster(name)
    assert cluster is not None
    kube = opened.kube(cluster)
    try:
        assert kube.version() >= (1, 30)
    finally:
        opened.close()


@pytest.mark.slow
def test_a_cluster_that_google_calls_disconnected_is_not_tried(
    server: GoogleServer, account: Callable[..., Account]
) -> None:
    for one in server.account.edge.values():
        one.connection_state.state = type(one.connection_state.state).DISCONNECTED
    opened = account()
    cluster = opened.cluster("depot")
    assert cluster is not None
    assert cluster.lost == "Google says DISCONNECTED"
    with pytest.raises(api.UnreachableError, match="DISCONNECTED"):
        opened.kube(cluster)


@pytest.mark.slow
def test_two_clusters_of_one_name_cannot_be_told_apart(
    server: GoogleServer, site: Any, account: Callable[..., Account]
) -> None:
    reach = reach_of(site.servers["lot-1"])
    server.account.add_gke("office", "europe-west1", reach, labels={}, nodes=1)
    with pytest.raises(PlanError, match="two clusters are named 'office'"):
        account().clusters()


@pytest.mark.slow
def test_another_project_is_refused_by_its_name(server: GoogleServer, tmp_path: Path) -> None:
    endpoints = Endpoints(container=server.grpc_address, edgecontainer=server.grpc_address)
    config = GkeConfig(registry="localhost:1/edge", project="not-ours", endpoints=endpoints)
    with pytest.raises((AuthError, NotFoundError), match="not-ours"):
        Account(config, tmp_path).clusters()


@pytest.mark.slow
def test_throttling_that_does_not_end_is_told(
    server: GoogleServer, account: Callable[..., Account]
) -> None:
    server.account.throttled = 1000
    with pytest.raises(ThrottledError) as caught:
        account().clusters()
    assert caught.value.vendor_code == "RESOURCE_EXHAUSTED"


def test_without_credentials_a_user_is_told_how_to_log_in(
    account: Callable[..., Account], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with pytest.raises(AuthError) as caught:
        account().clusters()
    assert "application-default login" in caught.value.hint
    assert caught.value.vendor_code == "NoCredentials"


def test_nodes_of_a_cluster_of_google_s_are_devices(
    open_plugin: Callable[..., Provider], server: GoogleServer, target: api.Target
) -> None:
    provider = open_plugin(
        kubeconfig=None,
        project=PROJECT,
        endpoints={
            "container": server.grpc_address,
            "edgecontainer": server.grpc_address,
            "gkehub": server.grpc_address,
            "connectgateway": server.http_address,
        },
    )
    found = [d.id for d in provider.inventory(api.InventoryRequest(target=target))]
    assert [device.partition("/")[0] for device in found] == ["depot", "office", "office"]
    states = provider.observe(api.ObserveRequest(target=target, application="nobody"))
    assert [s for s in states if s.state is not State.UNREACHABLE] == []

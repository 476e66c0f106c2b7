"""Google's APIs of one project in front of a cluster, and Google's own clients for them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.cloud import container_v1, edgecontainer_v1, gkehub_v1

sys.path.insert(0, str(Path(__file__).parent / "support"))

from google_calls import WithToken

from edgectl_gke_edge.emulator.google.identity import Principal
from edgectl_gke_edge.emulator.google.server import GoogleServer, reach_of
from edgectl_gke_edge.emulator.kube.server import KubeServer

PROJECT = "parking"
PLACE = f"projects/{PROJECT}/locations/us-central1"


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeServer]:
    with KubeServer(tmp_path_factory.mktemp("cluster"), name="lot-1") as server:
        yield server


@pytest.fixture
def server(tmp_path: Path, cluster: KubeServer) -> Iterator[GoogleServer]:
    """A project with one GKE cluster, two of Distributed Cloud and an attached one."""
    found = GoogleServer(tmp_path, project=PROJECT, takes_s=0.0)
    reach = reach_of(cluster)
    found.account.add_gke("office", "us-central1", reach, labels={"team": "edge"}, nodes=3)
    machines = ("m-1", "m-2")
    found.account.add_edge("lot-1", "us-central1", reach, labels={"city": "dc"}, machines=machines)
    found.account.add_edge("lot-2", "europe-west1", reach, labels={"city": "md"})
    found.account.add_membership(
        f"projects/{PROJECT}/locations/global/memberships/k3s", reach, labels={"kind": "k3s"}
    )
    with found:
        yield found


@pytest.fixture
def token(server: GoogleServer) -> str:
    """The operator's token, without the way over a key file, which has tests of its own."""
    principal = Principal(f"operator@{PROJECT}.iam.gserviceaccount.com")
    return server.account.identity.issue(principal)


Connect = Callable[..., Any]


@pytest.fixture
def connect(server: GoogleServer, token: str) -> Iterator[Connect]:
    """Make one of Google's clients, with the operator's token or another."""
    channels: list[Any] = []

    def make(kind: Any, as_token: str | None = None) -> Any:
        plain = grpc.insecure_channel(server.grpc_address)
        channels.append(plain)
        channel = grpc.intercept_channel(plain, WithToken(as_token or token))
        return kind(transport=kind.get_transport_class("grpc")(channel=channel))

    yield make
    for channel in channels:
        channel.close()


@pytest.fixture
def gke(connect: Connect) -> Any:
    return connect(container_v1.ClusterManagerClient)


@pytest.fixture
def edge(connect: Connect) -> Any:
    return connect(edgecontainer_v1.EdgeContainerClient)


@pytest.fixture
def hub(connect: Connect) -> Any:
    return connect(gkehub_v1.GkeHubClient)

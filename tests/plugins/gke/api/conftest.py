"""API servers to test: our own, and real ones of the versions that are set."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml
from lightkube import Client, KubeConfig
from lightkube.core.exceptions import ApiError
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Namespace

sys.path.insert(0, str(Path(__file__).parent / "support"))

from edgectl_gke_edge.emulator.kube.kubeconfig import certified_kubeconfig_text
from edgectl_gke_edge.emulator.kube.real import APISERVERS, ETCD, RealServer, find_programs
from edgectl_gke_edge.emulator.kube.server import KubeServer

Server = KubeServer | RealServer
REAL, ETCD_PROGRAM = find_programs()
NOT_SET = f"{APISERVERS} and {ETCD} are not set: no real kube-apiserver"


@pytest.fixture(scope="session")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeServer]:
    with KubeServer(tmp_path_factory.mktemp("own"), name="own") as found:
        yield found


@pytest.fixture(scope="session")
def start_real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RealServer]]:
    """Start a real server, with controllers or bare, once for all tests."""
    started: dict[tuple[int, bool], RealServer] = {}
    with ExitStack() as stack:

        def start(number: int, *, bare: bool = False) -> RealServer:
            if ETCD_PROGRAM is None or number >= len(REAL):
                pytest.skip(NOT_SET)
            if (number, bare) not in started:
                folder = tmp_path_factory.mktemp("real")
                more = {"controllers": ()} if bare else {}
                server = RealServer(folder, REAL[number], ETCD_PROGRAM, **more)
                started[number, bare] = stack.enter_context(server)
            return started[number, bare]

        yield start


@pytest.fixture(params=["own", *(p.name for p in REAL)])
def server(
    request: pytest.FixtureRequest, own: KubeServer, start_real: Callable[..., RealServer]
) -> Server:
    """Each server in turn; which real ones were there, the run's summary says."""
    if request.param == "own":
        return own
    return start_real([p.name for p in REAL].index(request.param))


def client_for(text: str) -> Client:
    return Client(config=KubeConfig.from_dict(yaml.safe_load(text)), field_manager="tests")


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    found = client_for(server.kubeconfig())
    yield found
    found.close()


@pytest.fixture
def namespace(client: Client) -> str:
    """A new namespace."""
    made = client.create(Namespace(metadata=ObjectMeta(generateName="test-")))
    assert made.metadata is not None
    assert made.metadata.name is not None
    return made.metadata.name


@pytest.fixture
def own_client(own: KubeServer) -> Iterator[Client]:
    found = client_for(own.kubeconfig())
    yield found
    found.close()


@pytest.fixture
def own_namespace(own_client: Client) -> str:
    made = own_client.create(Namespace(metadata=ObjectMeta(generateName="test-")))
    assert made.metadata is not None
    assert made.metadata.name is not None
    return made.metadata.name


@pytest.fixture
def connect() -> Iterator[Callable[[str], Client]]:
    """Open clients from kubeconfig texts; they are closed in the end."""
    opened: list[Client] = []

    def make(text: str) -> Client:
        opened.append(client_for(text))
        return opened[-1]

    yield make
    for found in opened:
        found.close()


@pytest.fixture
def certified(server: Server, connect: Callable[[str], Client]) -> Callable[..., Client]:
    """Open a client with a client certificate of a user."""

    def make(user: str, *groups: str) -> Client:
        pair = server.client_certificate(user, groups)
        return connect(certified_kubeconfig_text(server.name, server.url, server.ca, pair))

    return make


def refused(error: pytest.ExceptionInfo[ApiError]) -> tuple[int | None, str | None]:
    """Return code and reason of a refusal."""
    return error.value.status.code, error.value.status.reason

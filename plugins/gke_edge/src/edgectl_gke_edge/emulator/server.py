"""Google's APIs in front of the emulator's clusters: which it knows, and how it leads to them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Protocol

from edgectl_gke_edge.emulator.google.account import Reach
from edgectl_gke_edge.emulator.google.server import GoogleServer

PROJECT = "edgectl-emulator"
Source = Literal["gke", "edge"]


class Place(Protocol):
    """A cluster that Google knows."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def location(self) -> str:
        """Its region."""

    @property
    def source(self) -> Source:
        """Whether it is an ordinary GKE cluster or one of Distributed Cloud."""

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""

    @property
    def nodes(self) -> tuple[str, ...]:
        """Its nodes' names."""


def reach_of(server: Any, gate_port: int) -> Reach:
    """Return how Google leads to an API server: through the gate, so that it can be cut off.

    Args:
        server: The emulator's own API server or a real one; a real one takes certificates only.
        gate_port: The gate's port.
    """
    add_user = getattr(server, "add_user", None)

    def admit(token: str, user: str, groups: tuple[str, ...]) -> object:
        return None if add_user is None else add_user(user, groups, token)

    def sign(user: str, groups: tuple[str, ...]) -> tuple[str, str]:
        pair = server.client_certificate(user, groups)
        return pair.certificate, pair.key

    return Reach(address=f"127.0.0.1:{gate_port}", ca=server.ca, admit=admit, sign=sign)


def open_google(folder: Path, places: Iterable[tuple[Place, Reach]]) -> GoogleServer:
    """Start Google's APIs of one project with these clusters.

    Raises:
        RuntimeError: They do not come up.
    """
    folder.mkdir(parents=True, exist_ok=True)
    google = GoogleServer(folder, project=PROJECT, takes_s=1.0)
    for place, reach in places:
        if place.source == "edge":
            google.account.add_edge(
                place.name, place.location, reach, labels=place.labels, machines=place.nodes
            )
        else:
            google.account.add_gke(
                place.name, place.location, reach, labels=place.labels, nodes=len(place.nodes)
            )
    return google.start()


def google_settings(google: GoogleServer) -> dict[str, str]:
    """Return the variables by which a project and Google's own libraries find it."""
    return {
        "GKE_PROJECT": PROJECT,
        "EDGECTL_GKE_ENDPOINT": google.grpc_address,
        "EDGECTL_GKE_HTTP_ENDPOINT": google.http_address,
        "GOOGLE_APPLICATION_CREDENTIALS": str(google.add_service_account()),
    }

"""The project: its clusters, node pools, machines and memberships, and its faults."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from google.cloud import container_v1, edgecontainer_v1, gkehub_v1

from edgectl_gke_edge.emulator.google.errors import (
    not_found,
    rate_exceeded,
    service_disabled,
)
from edgectl_gke_edge.emulator.google.identity import Identity
from edgectl_gke_edge.emulator.google.names import check_location, other_project, read
from edgectl_gke_edge.emulator.google.operations import Operations

EDGE_VERSION = "1.11.0"
GKE_VERSION = "1.33.5-gke.1080000"
MAX_CLUSTERS = 50


@dataclass(frozen=True)
class Reach:
    """A cluster's API server, which Google's APIs lead to.

    Attributes:
        address: ``host:port`` of the API server, as operators reach it.
        ca: Its CA certificate, PEM.
        admit: Lets a bearer token in: token, user, groups.
        dismiss: Lets a token no longer in.
        sign: Signs a client certificate for a user and groups; returns certificate and key, PEM.
    """

    address: str
    ca: str
    admit: Callable[[str, str, tuple[str, ...]], object] | None = None
    dismiss: Callable[[str], object] | None = None
    sign: Callable[[str, tuple[str, ...]], tuple[str, str]] | None = None


@dataclass
class Account:
    """A Google Cloud project.

    Attributes:
        reaches: Membership or cluster name → its API server.
        disabled: APIs that are switched off, for example ``container.googleapis.com``: a fault.
        throttled: How many calls are refused for their rate: a fault.
    """

    project: str = "edgectl-emulator"
    number: str = "123456789012"
    operations: Operations = field(default_factory=Operations)
    provision: Callable[[str], Reach | None] | None = None

    def __post_init__(self) -> None:
        self.identity = Identity(self.project)
        self.gke: dict[str, container_v1.Cluster] = {}
        self.edge: dict[str, edgecontainer_v1.Cluster] = {}
        self.edge_pools: dict[str, edgecontainer_v1.NodePool] = {}
        self.machines: dict[str, edgecontainer_v1.Machine] = {}
        self.memberships: dict[str, gkehub_v1.Membership] = {}
        self.reaches: dict[str, Reach] = {}
        self.disabled: set[str] = set()
        self.throttled = 0

    # Names

    def is_ours(self, project: str) -> bool:
        """Say whether a project, by id or number, is this one."""
        return project in {self.project, self.number}

    def place(
        self, parent: str, permission: str, *, any_location: bool = False, field: str = "parent"
    ) -> tuple[str, str]:
        """Read ``projects/P/locations/L``; return the name with the project's id, and the location.

        Raises:
            GoogleError: INVALID_ARGUMENT, or PERMISSION_DENIED for another project.
        """
        project, location = read(parent, "projects/*/locations/*", field)
        if not self.is_ours(project):
            raise other_project(project, permission)
        check_location(location, field, any_allowed=any_location)
        return f"projects/{self.project}/locations/{location}", location

    def full(self, name: str, pattern: str, permission: str, field: str = "name") -> str:
        """Read a resource's name; return it with the project's id.

        Raises:
            GoogleError: INVALID_ARGUMENT, or PERMISSION_DENIED for another project.
        """
        parts = read(name, pattern, field)
        if not self.is_ours(parts[0]):
            raise other_project(parts[0], permission)
        return name.replace(f"projects/{parts[0]}/", f"projects/{self.project}/", 1)

    # Faults

    def strike(self, service: str) -> None:
        """Let a call fail when it is its turn.

        Raises:
            GoogleError: PERMISSION_DENIED (SERVICE_DISABLED) or RESOURCE_EXHAUSTED.
        """
        if service in self.disabled:
            raise service_disabled(service, self.project)
        if self.throttled:
            self.throttled -= 1
            raise rate_exceeded(service, self.number)

    # Clusters that are there from the beginning

    def add_gke(
        self, name: str, location: str, reach: Reach, *, labels: dict[str, str], nodes: int = 0
    ) -> None:
        """Add an ordinary GKE cluster, registered with the fleet."""
        full = f"projects/{self.project}/locations/{location}/clusters/{name}"
        membership = f"projects/{self.project}/locations/{location}/memberships/{name}"
        self.gke[full] = gke_cluster(name, location, reach, labels=labels, nodes=nodes)
        self.gke[full].fleet = container_v1.Fleet(
            project=self.project,
            membership=f"//gkehub.googleapis.com/{self._by_number(membership)}",
            pre_registered=True,
        )
        self.reaches[full] = reach
        link = f"//container.googleapis.com/{full}"
        self.add_membership(membership, reach, labels=labels, resource_link=link)

    def add_edge(
        self,
        name: str,
        location: str,
        reach: Reach,
        *,
        labels: dict[str, str],
        machines: tuple[str, ...] = (),
    ) -> None:
        """Add a Distributed Cloud cluster with its machines; it is in the fleet by itself."""
        place = f"projects/{self.project}/locations/{location}"
        full = f"{place}/clusters/{name}"
        cluster = edgecontainer_v1.Cluster(name=full, labels=labels)
        cluster.fleet = edgecontainer_v1.Fleet(project=f"projects/{self.project}")
        self.edge[full] = self.finish_edge(cluster, reach)
        zone = f"{location}-edge-{name}"
        pool = f"{full}/nodePools/pool-1"
        self.edge_pools[pool] = edgecontainer_v1.NodePool(
            name=pool, node_location=zone, node_count=len(machines), create_time=datetime.now(UTC)
        )
        for machine in machines:
            self.machines[f"{place}/machines/{machine}"] = edgecontainer_v1.Machine(
                name=f"{place}/machines/{machine}",
                hosted_node=f"{pool}/nodes/{machine}",
                zone=zone,
                version=EDGE_VERSION,
                create_time=datetime.now(UTC),
            )

    def finish_edge(
        self, cluster: edgecontainer_v1.Cluster, reach: Reach | None
    ) -> edgecontainer_v1.Cluster:
        """Give a new Distributed Cloud cluster what it has once it runs."""
        name = cluster.name.rpartition("/")[2]
        membership = f"projects/{self.project}/locations/global/memberships/{name}"
        state = edgecontainer_v1.Cluster.ConnectionState
        now = datetime.now(UTC)
        cluster.create_time = cluster.create_time or now
        cluster.update_time = now
        cluster.fleet.membership = self._by_number(membership)
        cluster.control_plane_version = cluster.node_version = EDGE_VERSION
        status: Any = edgecontainer_v1.Cluster.Status
        cluster.status = status.RUNNING
        cluster.connection_state = state(state=state.State.CONNECTED, update_time=now)
        if reach is not None:
            host, _, port = reach.address.rpartition(":")
            cluster.endpoint, cluster.port = host, int(port)
            cluster.cluster_ca_certificate = reach.ca
            self.reaches[cluster.name] = reach
        link = f"//edgecontainer.googleapis.com/{cluster.name}"
        self.add_membership(membership, reach, labels=dict(cluster.labels), resource_link=link)
        return cluster

    def add_membership(
        self,
        name: str,
        reach: Reach | None,
        *,
        labels: dict[str, str],
        resource_link: str = "",
    ) -> None:
        """Add a member to the fleet; without a link it is any other Kubernetes cluster."""
        now = datetime.now(UTC)
        membership = gkehub_v1.Membership(
            name=name,
            labels=labels,
            create_time=now,
            update_time=now,
            last_connection_time=now,
            unique_id=secrets.token_hex(16),
            state=gkehub_v1.MembershipState(code=gkehub_v1.MembershipState.Code.READY),
        )
        if resource_link:
            membership.endpoint.gke_cluster.resource_link = resource_link
        self.memberships[name] = membership
        if reach is not None:
            self.reaches[name] = reach
            if reach.admit is not None:
                self.identity.on_token(reach.admit, reach.dismiss)

    def disconnect(self, name: str, *, connected: bool = False) -> None:
        """Have Google lose (or find again) the connection to a Distributed Cloud cluster."""
        state = edgecontainer_v1.Cluster.ConnectionState
        for full, cluster in self.edge.items():
            if full.endswith(f"/clusters/{name}"):
                word = state.State.CONNECTED if connected else state.State.DISCONNECTED
                cluster.connection_state = state(state=word, update_time=datetime.now(UTC))

    def membership_of(self, name: str) -> tuple[gkehub_v1.Membership, Reach | None]:
        """Return a membership, by project id or number, and its API server.

        Raises:
            GoogleError: NOT_FOUND.
        """
        full = self.full(name, "projects/*/locations/*/memberships/*", "gkehub.memberships.get")
        if full not in self.memberships:
            raise not_found(name)
        return self.memberships[full], self.reaches.get(full)

    def _by_number(self, name: str) -> str:
        return name.replace(f"projects/{self.project}/", f"projects/{self.number}/", 1)

    def is_disconnected(self, membership: str) -> bool:
        """Say whether Google has lost the cluster of a membership."""
        state = edgecontainer_v1.Cluster.ConnectionState.State.DISCONNECTED
        name = membership.rpartition("/")[2]
        return any(
            full.endswith(f"/clusters/{name}") and cluster.connection_state.state == state
            for full, cluster in self.edge.items()
        )


def gke_cluster(
    name: str, location: str, reach: Reach | None, *, labels: dict[str, str], nodes: int
) -> container_v1.Cluster:
    """Return a GKE cluster that runs."""
    cluster: Any = container_v1.Cluster(
        name=name,
        location=location,
        zone=location,
        locations=[location],
        resource_labels=labels,
        status=container_v1.Cluster.Status.RUNNING,
        current_master_version=GKE_VERSION,
        initial_cluster_version=GKE_VERSION,
        current_node_version=GKE_VERSION,
        current_node_count=nodes,
        create_time=datetime.now(UTC).isoformat(),
        id=secrets.token_hex(32),
    )
    cluster.node_pools = [
        container_v1.NodePool(
            name="default-pool",
            initial_node_count=nodes,
            version=GKE_VERSION,
            status=container_v1.NodePool.Status.RUNNING,
        )
    ]
    if reach is not None:
        encoded = base64.b64encode(reach.ca.encode()).decode()
        cluster.endpoint = reach.address
        cluster.master_auth = container_v1.MasterAuth(cluster_ca_certificate=encoded)
    found: container_v1.Cluster = cluster
    return found

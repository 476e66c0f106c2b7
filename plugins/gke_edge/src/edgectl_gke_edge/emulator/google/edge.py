"""The Distributed Cloud Edge Container API (google.cloud.edgecontainer.v1).

It manages clusters and gives access to them; what runs in them is Kubernetes' matter. Rules:
networking and fleet are required and cannot be changed, there is exactly one administrator, node
pools take machines of one zone.
"""

from __future__ import annotations

import copy
import ipaddress
from datetime import UTC, datetime, timedelta
from typing import Any

from google.cloud import edgecontainer_v1

from edgectl_gke_edge.emulator.google.account import EDGE_VERSION, MAX_CLUSTERS, Account
from edgectl_gke_edge.emulator.google.errors import (
    already_exists,
    failed_precondition,
    invalid,
    not_found,
    quota_exceeded,
)
from edgectl_gke_edge.emulator.google.identity import MASTERS, Principal
from edgectl_gke_edge.emulator.google.names import check_id, label_filter
from edgectl_gke_edge.emulator.google.operations import Operation, to_longrunning
from edgectl_gke_edge.emulator.google.paging import page
from edgectl_gke_edge.emulator.google.rpc import Method

_SERVICE = "/google.cloud.edgecontainer.v1.EdgeContainer/"
_PLACE = "projects/*/locations/*"
_CLUSTER = f"{_PLACE}/clusters/*"
_STATUS: Any = edgecontainer_v1.Cluster.Status
_TOKEN_S = 3600
_OFFLINE = timedelta(days=7)
_MUTABLE = {"labels", "authorization", "maintenance_policy", "survivability_config"}
_MUTABLE |= {"default_max_pods_per_node", "release_channel", "control_plane_encryption"}


class EdgeContainer:
    """The methods of ``EdgeContainer``."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def methods(self) -> list[Method]:
        """List what is served."""
        e = edgecontainer_v1
        table: list[tuple[str, Any, Any, str, str]] = [
            ("ListClusters", e.ListClustersRequest, self._list, "clusters.list", "parent"),
            ("GetCluster", e.GetClusterRequest, self._get, "clusters.get", "name"),
            ("CreateCluster", e.CreateClusterRequest, self._create, "clusters.create", "parent"),
            ("UpdateCluster", e.UpdateClusterRequest, self._update, "clusters.update", ""),
            ("UpgradeCluster", e.UpgradeClusterRequest, self._upgrade, "clusters.upgrade", "name"),
            ("DeleteCluster", e.DeleteClusterRequest, self._delete, "clusters.delete", "name"),
            (
                "GenerateAccessToken",
                e.GenerateAccessTokenRequest,
                self._token,
                "clusters.generateAccessToken",
                "cluster",
            ),
            (
                "GenerateOfflineCredential",
                e.GenerateOfflineCredentialRequest,
                self._offline,
                "clusters.generateOfflineCredential",
                "cluster",
            ),
            ("ListNodePools", e.ListNodePoolsRequest, self._pools, "nodePools.list", "parent"),
            ("GetNodePool", e.GetNodePoolRequest, self._pool, "nodePools.get", "name"),
            ("CreateNodePool", e.CreateNodePoolRequest, self._add, "nodePools.create", "parent"),
            ("DeleteNodePool", e.DeleteNodePoolRequest, self._drop, "nodePools.delete", "name"),
            ("ListMachines", e.ListMachinesRequest, self._machines, "machines.list", "parent"),
            ("GetMachine", e.GetMachineRequest, self._machine, "machines.get", "name"),
            (
                "ListVpnConnections",
                e.ListVpnConnectionsRequest,
                self._vpn,
                "vpnConnections.list",
                "parent",
            ),
            ("GetServerConfig", e.GetServerConfigRequest, self._config, "serverconfig.get", "name"),
        ]
        return [
            Method(_SERVICE + name, request, handler, f"edgecontainer.{permission}", resource)
            for name, request, handler, permission, resource in table
        ]

    # Clusters

    def _list(self, request: Any) -> Any:
        items, token = self._page(self._account.edge, request, "clusters", any_location=True)
        return edgecontainer_v1.ListClustersResponse(clusters=items, next_page_token=token)

    def _page(
        self, found: dict[str, Any], request: Any, plural: str, *, any_location: bool = False
    ) -> tuple[list[Any], str]:
        permission = f"edgecontainer.{plural}.list"
        place, location = self._account.place(request.parent, permission, any_location=any_location)
        labels = label_filter(request.filter)
        chosen = [
            item
            for name, item in sorted(found.items())
            if (location == "-" or name.startswith(f"{place}/"))
            and labels.items() <= dict(item.labels).items()
        ]
        of = [request.parent, request.filter, request.order_by]
        return page(chosen, request.page_size, request.page_token, of=of)

    def _full(self, name: str, permission: str, field: str = "name") -> str:
        return self._account.full(name, _CLUSTER, f"edgecontainer.{permission}", field)

    def _found(self, name: str) -> edgecontainer_v1.Cluster:
        if name not in self._account.edge:
            raise not_found(name)
        return self._account.edge[name]

    def _get(self, request: Any) -> Any:
        return self._found(self._full(request.name, "clusters.get"))

    def _create(self, request: Any) -> Any:
        place, _ = self._account.place(request.parent, "edgecontainer.clusters.create")
        name = f"{place}/clusters/{check_id(request.cluster_id, 'cluster_id')}"
        repeated = self._account.operations.repeated(request.request_id, "create", name)
        if repeated:
            return to_longrunning(repeated)
        if name in self._account.edge:
            raise already_exists(name)
        if len(self._account.edge) >= MAX_CLUSTERS:
            raise quota_exceeded("clusters", MAX_CLUSTERS)
        _check_cluster(request.cluster)
        cluster = copy.deepcopy(request.cluster)
        cluster.name = name
        cluster.create_time = datetime.now(UTC)
        cluster.status = _STATUS.PROVISIONING
        self._account.edge[name] = cluster

        def finish() -> Any:
            provision = self._account.provision
            reach = provision(request.cluster_id) if provision else None
            return self._account.finish_edge(cluster, reach)

        return self._started(place, "create", name, finish, request.request_id)

    def _update(self, request: Any) -> Any:
        name = self._full(request.cluster.name, "clusters.update", "cluster.name")
        cluster = self._running(name)
        paths = list(request.update_mask.paths)
        if not paths:
            raise invalid("update_mask", "a value is required")
        for path in paths:
            if path.split(".")[0] not in _MUTABLE:
                raise invalid("update_mask", f"'{path}' cannot be changed")
        cluster.status = _STATUS.RECONCILING

        def finish() -> Any:
            for path in (p.split(".")[0] for p in paths):
                setattr(cluster, path, getattr(request.cluster, path))
            cluster.status = _STATUS.RUNNING
            cluster.update_time = datetime.now(UTC)
            return cluster

        place = name.rpartition("/clusters/")[0]
        return self._started(place, "update", name, finish, request.request_id)

    def _upgrade(self, request: Any) -> Any:
        name = self._full(request.name, "clusters.upgrade")
        cluster = self._running(name)
        if not request.target_version:
            raise invalid("target_version", "a value is required")
        cluster.status = _STATUS.RECONCILING
        cluster.target_version = request.target_version

        def finish() -> Any:
            cluster.control_plane_version = cluster.node_version = request.target_version
            cluster.status = _STATUS.RUNNING
            return cluster

        place = name.rpartition("/clusters/")[0]
        return self._started(place, "upgrade", name, finish, request.request_id)

    def _delete(self, request: Any) -> Any:
        name = self._full(request.name, "clusters.delete")
        repeated = self._account.operations.repeated(request.request_id, "delete", name)
        if repeated:
            return to_longrunning(repeated)
        cluster = self._found(name)
        if any(pool.startswith(f"{name}/") for pool in self._account.edge_pools):
            raise failed_precondition(f"Cluster '{name}' has node pools; delete them first.")
        cluster.status = _STATUS.DELETING

        def finish() -> None:
            self._account.edge.pop(name, None)

        place = name.rpartition("/clusters/")[0]
        return self._started(place, "delete", name, finish, request.request_id)

    def _running(self, name: str) -> edgecontainer_v1.Cluster:
        cluster = self._found(name)
        if cluster.status != _STATUS.RUNNING:
            raise failed_precondition(f"Cluster '{name}' is {cluster.status.name}.")
        return cluster

    def _started(
        self, place: str, verb: str, target: str, finish: Any, request_id: str = ""
    ) -> Any:
        operation = self._account.operations.start(
            place, verb, target, finish, metadata=_metadata, request_id=request_id
        )
        return to_longrunning(operation)

    # Access

    def _token(self, request: Any) -> Any:
        name = self._full(request.cluster, "clusters.generateAccessToken", "cluster")
        cluster = self._running(name)
        reach = self._account.reaches.get(cluster.name)
        principal = Principal(f"admin@{self._account.project}", (MASTERS,))
        token = self._account.identity.issue(principal, _TOKEN_S)
        if reach is not None and reach.admit is not None:
            reach.admit(token, principal.email, principal.kubernetes_groups)
        ends = datetime.now(UTC) + timedelta(seconds=_TOKEN_S)
        return edgecontainer_v1.GenerateAccessTokenResponse(access_token=token, expire_time=ends)

    def _offline(self, request: Any) -> Any:
        name = self._full(request.cluster, "clusters.generateOfflineCredential", "cluster")
        self._running(name)
        reach = self._account.reaches.get(name)
        if reach is None or reach.sign is None:
            raise failed_precondition(f"Cluster '{name}' has no local control plane.")
        user = f"offline-{name.rpartition('/')[2]}"
        certificate, key = reach.sign(user, (MASTERS,))
        return edgecontainer_v1.GenerateOfflineCredentialResponse(
            client_certificate=certificate,
            client_key=key,
            user_id=user,
            expire_time=datetime.now(UTC) + _OFFLINE,
        )

    # Node pools and machines

    def _pools(self, request: Any) -> Any:
        name = self._full(request.parent, "nodePools.list", "parent")
        self._found(name)
        found = self._account.edge_pools.items()
        pools = [pool for full, pool in sorted(found) if full.startswith(f"{name}/")]
        of = [request.parent, request.filter]
        items, token = page(pools, request.page_size, request.page_token, of=of)
        return edgecontainer_v1.ListNodePoolsResponse(node_pools=items, next_page_token=token)

    def _pool_name(self, name: str, permission: str) -> str:
        pattern = f"{_CLUSTER}/nodePools/*"
        full = self._account.full(name, pattern, f"edgecontainer.{permission}")
        if full not in self._account.edge_pools:
            raise not_found(full)
        return full

    def _pool(self, request: Any) -> Any:
        return self._account.edge_pools[self._pool_name(request.name, "nodePools.get")]

    def _add(self, request: Any) -> Any:
        cluster = self._full(request.parent, "nodePools.create", "parent")
        self._running(cluster)
        name = f"{cluster}/nodePools/{check_id(request.node_pool_id, 'node_pool_id')}"
        repeated = self._account.operations.repeated(request.request_id, "create", name)
        if repeated:
            return to_longrunning(repeated)
        if name in self._account.edge_pools:
            raise already_exists(name)
        wanted = request.node_pool
        if not wanted.node_location:
            raise invalid("node_pool.node_location", "a value is required")
        if wanted.node_count < 1:
            raise invalid("node_pool.node_count", "must be greater than 0")
        pool = copy.deepcopy(wanted)
        pool.name, pool.create_time = name, datetime.now(UTC)

        def finish() -> Any:
            free = [
                m
                for m in self._account.machines.values()
                if m.zone == pool.node_location and not m.hosted_node and not m.disabled
            ]
            if len(free) < pool.node_count:
                raise quota_exceeded(f"free machines in '{pool.node_location}'", len(free))
            for machine in free[: pool.node_count]:
                machine.hosted_node = f"{name}/nodes/{machine.name.rpartition('/')[2]}"
            self._account.edge_pools[name] = pool
            return pool

        place = cluster.rpartition("/clusters/")[0]
        return self._started(place, "create", name, finish, request.request_id)

    def _drop(self, request: Any) -> Any:
        name = self._pool_name(request.name, "nodePools.delete")

        def finish() -> None:
            self._account.edge_pools.pop(name, None)
            for machine in self._account.machines.values():
                if machine.hosted_node.startswith(f"{name}/"):
                    machine.hosted_node = ""

        place = name.partition("/clusters/")[0]
        return self._started(place, "delete", name, finish, request.request_id)

    def _machines(self, request: Any) -> Any:
        items, token = self._page(self._account.machines, request, "machines", any_location=True)
        return edgecontainer_v1.ListMachinesResponse(machines=items, next_page_token=token)

    def _machine(self, request: Any) -> Any:
        pattern = f"{_PLACE}/machines/*"
        name = self._account.full(request.name, pattern, "edgecontainer.machines.get")
        if name not in self._account.machines:
            raise not_found(name)
        return self._account.machines[name]

    def _vpn(self, request: Any) -> Any:
        self._account.place(request.parent, "edgecontainer.vpnConnections.list")
        return edgecontainer_v1.ListVpnConnectionsResponse()

    def _config(self, request: Any) -> Any:
        pattern = f"{_PLACE}/serverConfig"
        self._account.full(request.name, pattern, "edgecontainer.serverconfig.get")
        versions = [edgecontainer_v1.Version(name=EDGE_VERSION)]
        return edgecontainer_v1.ServerConfig(default_version=EDGE_VERSION, versions=versions)


def _check_cluster(cluster: Any) -> None:
    """Check what a new cluster must have.

    Raises:
        GoogleError: INVALID_ARGUMENT.
    """
    if not cluster.fleet.project:
        raise invalid("cluster.fleet.project", "a value is required")
    if not cluster.authorization.admin_users.username:
        raise invalid("cluster.authorization.admin_users.username", "a value is required")
    for field in ("cluster_ipv4_cidr_blocks", "services_ipv4_cidr_blocks"):
        blocks = list(getattr(cluster.networking, field))
        if len(blocks) != 1:
            raise invalid(f"cluster.networking.{field}", "exactly one block is required")
        try:
            ipaddress.IPv4Network(blocks[0])
        except ValueError as exc:
            raise invalid(f"cluster.networking.{field}", f"'{blocks[0]}': {exc}") from exc


def _metadata(operation: Operation) -> Any:
    metadata: Any = edgecontainer_v1.OperationMetadata(
        create_time=operation.began,
        target=operation.target,
        verb=operation.verb,
        requested_cancellation=operation.cancelled,
        api_version="v1",
    )
    if operation.ended is not None:
        metadata.end_time = operation.ended
    return metadata

"""The Kubernetes Engine API (google.container.v1): ordinary GKE clusters.

Its operations are a message of its own, polled by ``GetOperation``; both the old form of a request
(project, zone, cluster_id) and the new one (name, parent) are understood, as by the real API.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from google.cloud import container_v1
from google.protobuf import empty_pb2

from edgectl_gke_edge.emulator.google.account import (
    GKE_VERSION,
    MAX_CLUSTERS,
    Account,
    gke_cluster,
)
from edgectl_gke_edge.emulator.google.errors import (
    already_exists,
    failed_precondition,
    invalid,
    not_found,
    quota_exceeded,
)
from edgectl_gke_edge.emulator.google.names import check_id
from edgectl_gke_edge.emulator.google.operations import Operation
from edgectl_gke_edge.emulator.google.rpc import Method

_CLUSTER = "projects/*/locations/*/clusters/*"
_STATUS: Any = container_v1.Cluster.Status
_SERVICE = "/google.container.v1.ClusterManager/"


class Container:
    """The methods of ``ClusterManager``."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def methods(self) -> list[Method]:
        """List what is served."""
        c = container_v1
        table: list[tuple[str, Any, Any, str, str]] = [
            ("ListClusters", c.ListClustersRequest, self._list, "clusters.list", "parent"),
            ("GetCluster", c.GetClusterRequest, self._get, "clusters.get", "name"),
            ("CreateCluster", c.CreateClusterRequest, self._create, "clusters.create", "parent"),
            ("DeleteCluster", c.DeleteClusterRequest, self._delete, "clusters.delete", "name"),
            ("SetLabels", c.SetLabelsRequest, self._set_labels, "clusters.update", "name"),
            ("ListNodePools", c.ListNodePoolsRequest, self._pools, "clusters.get", "parent"),
            ("GetNodePool", c.GetNodePoolRequest, self._pool, "clusters.get", "name"),
            ("SetNodePoolSize", c.SetNodePoolSizeRequest, self._size, "clusters.update", "name"),
            (
                "ListOperations",
                c.ListOperationsRequest,
                self._operations,
                "operations.list",
                "parent",
            ),
            ("GetOperation", c.GetOperationRequest, self._operation, "operations.get", "name"),
            ("CancelOperation", c.CancelOperationRequest, self._cancel, "operations.get", "name"),
            ("GetServerConfig", c.GetServerConfigRequest, self._config, "clusters.list", "name"),
        ]
        return [
            Method(_SERVICE + name, request, handler, f"container.{permission}", resource)
            for name, request, handler, permission, resource in table
        ]

    # Clusters

    def _list(self, request: Any) -> Any:
        parent = request.parent or f"projects/{request.project_id}/locations/{request.zone or '-'}"
        place, location = self._account.place(parent, "container.clusters.list", any_location=True)
        found = [
            cluster
            for name, cluster in sorted(self._account.gke.items())
            if location == "-" or name.startswith(f"{place}/")
        ]
        return container_v1.ListClustersResponse(clusters=found)

    def _full(self, request: Any, permission: str) -> str:
        name = getattr(request, "name", "") or (
            f"projects/{request.project_id}/locations/{request.zone}/clusters/{request.cluster_id}"
        )
        return self._account.full(name, _CLUSTER, f"container.{permission}")

    def _found(self, name: str) -> container_v1.Cluster:
        if name not in self._account.gke:
            raise not_found(name, gke=True)
        return self._account.gke[name]

    def _get(self, request: Any) -> Any:
        return self._found(self._full(request, "clusters.get"))

    def _create(self, request: Any) -> Any:
        parent = request.parent or f"projects/{request.project_id}/locations/{request.zone}"
        place, location = self._account.place(parent, "container.clusters.create")
        wanted = request.cluster
        check_id(wanted.name, "cluster.name")
        name = f"{place}/clusters/{wanted.name}"
        if name in self._account.gke:
            raise already_exists(name, gke=True)
        if len(self._account.gke) >= MAX_CLUSTERS:
            raise quota_exceeded("clusters", MAX_CLUSTERS)
        nodes = wanted.initial_node_count or sum(p.initial_node_count for p in wanted.node_pools)
        if nodes < 1 and not wanted.autopilot.enabled:
            raise invalid("cluster.initial_node_count", "must be greater than 0")
        labels = dict(wanted.resource_labels)
        cluster = gke_cluster(wanted.name, location, None, labels=labels, nodes=nodes)
        cluster.status = _STATUS.PROVISIONING
        self._account.gke[name] = cluster

        def finish() -> None:
            provision = self._account.provision
            reach = provision(wanted.name) if provision else None
            if reach is not None:
                self._account.add_gke(wanted.name, location, reach, labels=labels, nodes=nodes)
            cluster.status = _STATUS.RUNNING

        return self._started(place, "CREATE_CLUSTER", name, finish)

    def _delete(self, request: Any) -> Any:
        name = self._full(request, "clusters.delete")
        cluster = self._found(name)
        if cluster.status == _STATUS.STOPPING:
            raise failed_precondition(f"Cluster {name} is being deleted.")
        cluster.status = _STATUS.STOPPING
        place = name.rpartition("/clusters/")[0]
        return self._started(
            place, "DELETE_CLUSTER", name, lambda: self._account.gke.pop(name, None)
        )

    def _set_labels(self, request: Any) -> Any:
        name = self._full(request, "clusters.update")
        cluster = self._found(name)
        labels = dict(request.resource_labels)

        def finish() -> None:
            cluster.resource_labels = labels

        return self._started(name.rpartition("/clusters/")[0], "SET_LABELS", name, finish)

    # Node pools

    def _pools(self, request: Any) -> Any:
        name = request.parent or self._full(request, "clusters.get")
        full = self._account.full(name, _CLUSTER, "container.clusters.get", "parent")
        return container_v1.ListNodePoolsResponse(node_pools=self._found(full).node_pools)

    def _pool(self, request: Any) -> Any:
        name, _, pool = request.name.rpartition("/nodePools/")
        full = self._account.full(name, _CLUSTER, "container.clusters.get")
        for found in self._found(full).node_pools:
            if found.name == pool:
                return found
        raise not_found(request.name, gke=True)

    def _size(self, request: Any) -> Any:
        name, _, pool = request.name.rpartition("/nodePools/")
        full = self._account.full(name, _CLUSTER, "container.clusters.update")
        cluster = self._found(full)
        found = next((p for p in cluster.node_pools if p.name == pool), None)
        if found is None:
            raise not_found(request.name, gke=True)
        count = request.node_count

        def finish() -> None:
            found.initial_node_count = count
            cluster.current_node_count = sum(p.initial_node_count for p in cluster.node_pools)

        return self._started(full.rpartition("/clusters/")[0], "SET_NODE_POOL_SIZE", full, finish)

    # Operations

    def _started(self, place: str, verb: str, target: str, finish: Any) -> Any:
        return _shown(self._account.operations.start(place, verb, target, finish))

    def _operations(self, request: Any) -> Any:
        parent = request.parent or f"projects/{request.project_id}/locations/{request.zone or '-'}"
        place, location = self._account.place(
            parent, "container.operations.list", any_location=True
        )
        below = place.removesuffix("/-") if location == "-" else place
        found = [o for o in self._account.operations.below(below) if o.metadata is None]
        return container_v1.ListOperationsResponse(operations=[_shown(o) for o in found])

    def _operation(self, request: Any) -> Any:
        name = request.name or (
            f"projects/{request.project_id}/locations/{request.zone}"
            f"/operations/{request.operation_id}"
        )
        pattern = "projects/*/locations/*/operations/*"
        full = self._account.full(name, pattern, "container.operations.get")
        return _shown(self._account.operations.get(full, gke=True))

    def _cancel(self, request: Any) -> Any:
        pattern = "projects/*/locations/*/operations/*"
        full = self._account.full(request.name, pattern, "container.operations.get")
        self._account.operations.cancel(full)
        return empty_pb2.Empty()

    def _config(self, request: Any) -> Any:
        place = request.name or f"projects/{request.project_id}/locations/{request.zone}"
        self._account.place(place, "container.clusters.list", field="name")
        return container_v1.ServerConfig(
            default_cluster_version=GKE_VERSION,
            valid_master_versions=[GKE_VERSION],
            valid_node_versions=[GKE_VERSION],
            default_image_type="COS_CONTAINERD",
            valid_image_types=["COS_CONTAINERD"],
        )


def _shown(operation: Operation) -> Any:
    kinds: Any = container_v1.Operation
    place, _, name = operation.name.rpartition("/operations/")
    shown: Any = kinds(
        name=name,
        location=place.rpartition("/")[2],
        operation_type=kinds.Type[operation.verb],
        status=kinds.Status.DONE if operation.done else kinds.Status.RUNNING,
        start_time=_time(operation.began),
        self_link=f"https://container.googleapis.com/v1/{operation.name}",
        target_link=f"https://container.googleapis.com/v1/{operation.target}",
    )
    if operation.ended is not None:
        shown.end_time = _time(operation.ended)
    if operation.error is not None:
        shown.status_message = operation.error.message
        shown.error = operation.error.to_status()
    return shown


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

"""The virtual nodes and the controllers of one cluster, in one process.

They share one copy of the cluster's objects. Killed at any time and started again they go on from
what the API server and the containers' folders say.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Protocol

import msgspec
from msgspec.structs import replace

from edgectl.emulation import Authority
from edgectl_gke_edge.emulator.nodes.api import Access, Api
from edgectl_gke_edge.emulator.nodes.controllers.daemonset import DaemonSets
from edgectl_gke_edge.emulator.nodes.controllers.deployment import Deployments
from edgectl_gke_edge.emulator.nodes.controllers.disruption import Budgets
from edgectl_gke_edge.emulator.nodes.controllers.endpoints import EndpointSlices
from edgectl_gke_edge.emulator.nodes.controllers.garbage import Garbage
from edgectl_gke_edge.emulator.nodes.controllers.job import Jobs
from edgectl_gke_edge.emulator.nodes.controllers.lifecycle import NodeLifecycle
from edgectl_gke_edge.emulator.nodes.controllers.namespaces import Namespaces
from edgectl_gke_edge.emulator.nodes.controllers.replicaset import ReplicaSets
from edgectl_gke_edge.emulator.nodes.crowd import Crowd
from edgectl_gke_edge.emulator.nodes.informer import Informer
from edgectl_gke_edge.emulator.nodes.kubelet.backoff import BackOff
from edgectl_gke_edge.emulator.nodes.kubelet.events import Events
from edgectl_gke_edge.emulator.nodes.kubelet.network import NodeNetwork
from edgectl_gke_edge.emulator.nodes.kubelet.node import Node
from edgectl_gke_edge.emulator.nodes.kubelet.registration import NodeSettings
from edgectl_gke_edge.emulator.nodes.kubelet.server import KubeletServer
from edgectl_gke_edge.emulator.nodes.orders import obey
from edgectl_gke_edge.emulator.nodes.podfacts import PRETENDS
from edgectl_gke_edge.emulator.nodes.proxy import ServiceProxy
from edgectl_gke_edge.emulator.nodes.scheduler import Scheduler

READY_FILE = "ready"
CROWD_LEASE_S = 300.0
_PER_MEMBER_S = 0.4
"""More of a crowd renew less often, so that all of them do so ten times a second."""
_NEEDED = ("pods", "services")
_SHARED = (
    *_NEEDED,
    "nodes",
    "daemonsets",
    "deployments",
    "replicasets",
    "jobs",
    "leases",
    "poddisruptionbudgets",
    "namespaces",
)


class Runs(Protocol):
    """What works until it is cancelled."""

    async def run(self) -> None:
        """Work."""


class ClusterSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What runs for one cluster.

    Attributes:
        access: Its API server, with the rights of an administrator.
        folder: Where nodes keep images, pods and disks.
        nodes: Its virtual nodes.
        network: The first two numbers of its addresses, for example ``127.31``.
        controllers: Whether the controllers run here too.
        backoff: How long a kubelet waits before it tries again.
        node_grace_s: After how long without a heartbeat a node is not ready.
        crowd: How many more nodes only pretend to run pods.
        crowd_labels: What those are labelled with.
    """

    access: Access
    folder: str
    nodes: tuple[NodeSettings, ...] = ()
    network: str = "127.31"
    controllers: bool = True
    backoff: BackOff = BackOff()
    node_grace_s: float = 40.0
    crowd: int = 0
    crowd_labels: dict[str, str] = {}


class Cluster:
    """Nodes and controllers of one cluster."""

    def __init__(self, settings: ClusterSettings) -> None:
        self._settings = settings
        self._apis: list[Api] = []
        self._informers: dict[str, Informer] = {}
        self.nodes: list[Node] = []

    async def run(self) -> None:
        """Run until cancelled."""
        api = self._api("edgectl-kubelet")
        manager = self._api("kube-controller-manager")
        all_of, folder = self._informers, Path(self._settings.folder)
        servers: list[KubeletServer] = []
        for kind in _SHARED if self._settings.controllers else _NEEDED:
            self._informers[kind] = Informer(api, kind)
        try:
            async with asyncio.TaskGroup() as group:
                controllers = self._controllers(manager) if self._settings.controllers else []
                servers += [await self._node(api, n) for n in range(len(self._settings.nodes))]
                for informer in self._informers.values():
                    group.create_task(informer.run())
                await self._informers["pods"].synced.wait()
                for node in self.nodes:
                    group.create_task(node.run())
                    proxy = ServiceProxy(node, all_of["services"], all_of["pods"])
                    group.create_task(proxy.run())
                for controller in controllers:
                    group.create_task(controller.run())
                group.create_task(obey(folder, self.nodes))
                if self._settings.crowd:
                    crowd = self._crowd(api)
                    group.create_task(crowd.run())
                    await crowd.registered.wait()
                for node in self.nodes:
                    await node.registered.wait()
                (folder / READY_FILE).touch()
        finally:
            for server in servers:
                server.stop()
            for one in self._apis:
                with contextlib.suppress(Exception):
                    await one.close()

    def _api(self, agent: str) -> Api:
        api = Api(self._settings.access, agent)
        self._apis.append(api)
        return api

    def _controllers(self, api: Api) -> list[Runs]:
        of = self._informers
        scheduling, managing = Events(api, "default-scheduler"), Events(api, "controller-manager")
        pods, nodes = of["pods"], of["nodes"]
        return [
            Scheduler(api, pods, nodes, scheduling),
            DaemonSets(api, of["daemonsets"], nodes, pods, managing),
            Deployments(api, of["deployments"], of["replicasets"]),
            ReplicaSets(api, of["replicasets"], pods, managing),
            Jobs(api, of["jobs"], pods, managing),
            EndpointSlices(api, of["services"], pods),
            NodeLifecycle(
                api,
                nodes,
                of["leases"],
                pods,
                grace_s=self._settings.node_grace_s,
                events=managing,
            ),
            Budgets(api, of["poddisruptionbudgets"], pods),
            Namespaces(api, of["namespaces"]),
            Garbage(api, of),
        ]

    def _crowd(self, api: Api) -> Crowd:
        settings = self._settings
        usual = settings.nodes[0] if settings.nodes else NodeSettings(name="")
        lease_s = max(CROWD_LEASE_S, _PER_MEMBER_S * settings.crowd)
        members = tuple(
            replace(
                usual,
                name=f"crowd-{number:04d}",
                labels={**settings.crowd_labels, PRETENDS: "yes"},
                lease_s=lease_s,
            )
            for number in range(1, settings.crowd + 1)
        )
        return Crowd(api, self._informers["pods"], members)

    async def _node(self, api: Api, number: int) -> KubeletServer:
        settings = self._settings
        wanted = settings.nodes[number]
        network = NodeNetwork(prefix=f"{settings.network}.{number + 1}")
        node = Node(
            api,
            self._informers["pods"],
            wanted,
            Path(settings.folder) / wanted.name,
            network=network,
            backoff=settings.backoff,
        )
        authority = Authority(Path(settings.folder) / "pki")
        server = KubeletServer(node, authority.server_context((node.ip,), demand=False))
        await server.start()
        self.nodes.append(node)
        return server

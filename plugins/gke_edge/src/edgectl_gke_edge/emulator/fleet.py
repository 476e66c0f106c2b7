"""The whole emulator: a registry, clusters with virtual nodes, Google's APIs in front of them.

Registry, API servers and Google's servers run in this process, the nodes of each cluster in one of
their own. Everything lies below one folder, and goes on from it when the emulator is started again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec
import yaml

from edgectl.api import ProviderError, Record
from edgectl.emulation import Processes
from edgectl.emulation.registry import RegistryServer
from edgectl_gke_edge.emulator.addresses import Block
from edgectl_gke_edge.emulator.collector import Collector
from edgectl_gke_edge.emulator.gate import Gate
from edgectl_gke_edge.emulator.google.server import GoogleServer
from edgectl_gke_edge.emulator.images import PATH_PREFIX, PYTHON, push_images
from edgectl_gke_edge.emulator.kube.server import KubeServer
from edgectl_gke_edge.emulator.nodes.api import Access
from edgectl_gke_edge.emulator.nodes.cluster import READY_FILE, ClusterSettings
from edgectl_gke_edge.emulator.nodes.kubelet.backoff import BackOff
from edgectl_gke_edge.emulator.nodes.kubelet.registration import NodeSettings
from edgectl_gke_edge.emulator.nodes.kubelet.runtime import end_all
from edgectl_gke_edge.emulator.nodes.orders import Orders, write_orders
from edgectl_gke_edge.emulator.server import Source, google_settings, open_google, reach_of

NODES_MODULE = "edgectl_gke_edge.emulator.nodes"
READY_S = 90.0
CROWD_NODE_S = 0.1
LEASE_S = 8.0
KUBERNETES = "v1.35.2-gke.1120000"
QUICK = BackOff(first_s=1.0, most_s=30.0, forgive_s=60.0)


class VirtualCluster(Record, frozen=True, kw_only=True):
    """A cluster to start.

    Attributes:
        nodes: Its nodes' names.
        source: Whether it is an ordinary GKE cluster or one of Distributed Cloud.
        crowd: How many more nodes only pretend to run pods.
        version: What its API server says it is; from 1.35 on there are image volumes.
        node_labels: Node → labels that it has besides everybody's.
    """

    name: str
    nodes: tuple[str, ...]
    source: Source = "gke"
    labels: dict[str, str] = {}
    location: str = "us-central1"
    crowd: int = 0
    version: str = KUBERNETES
    node_labels: dict[str, dict[str, str]] = {}


class RunningNode(Record, frozen=True, kw_only=True):
    """A node that runs.

    Attributes:
        address: The node's own address; services answer there at their port.
        device: The id of the device that it is.
    """

    name: str
    address: str
    device: str


class RunningCluster(Record, frozen=True, kw_only=True):
    """A cluster that runs.

    Attributes:
        server: Its API server, as operators reach it.
    """

    name: str
    server: str
    location: str
    nodes: tuple[RunningNode, ...]


class FleetInfo(Record, frozen=True, kw_only=True):
    """What a user of the emulator needs.

    Attributes:
        env: The variables to set; a project file takes them as ``${NAME}``.
        registry: What ``providers.gke.registry`` is.
        kubeconfig: A kubeconfig file with all clusters.
        images: Images in the registry, by their short names.
        control: Where the emulator is steered.
    """

    env: dict[str, str]
    registry: str
    kubeconfig: str
    images: dict[str, str]
    clusters: tuple[RunningCluster, ...]
    control: str = ""


class ApiServer(Protocol):
    """What serves a cluster's API: the emulator's own server or a real one."""

    url: str
    token: str
    ca: str

    def start(self) -> Any:
        """Begin to answer."""

    def close(self) -> None:
        """End."""

    def kubeconfig(self) -> str:
        """Return a kubeconfig file with one context."""


Serve = Callable[[Path, VirtualCluster], Any]


def own_server(folder: Path, wanted: VirtualCluster) -> KubeServer:
    """Return the emulator's own API server."""
    return KubeServer(folder, name=wanted.name, version=wanted.version)


class Site:
    """One cluster of the emulator: API server, gate, nodes.

    Attributes:
        server: Its API server; nodes speak to it directly.
        gate: What operators go through.
    """

    def __init__(self, folder: Path, wanted: VirtualCluster, serve: Serve) -> None:
        self.folder = folder
        self.wanted = wanted
        self.orders = Orders()
        self._held = contextlib.ExitStack()
        self.server = serve(folder / "api", wanted)
        folder.mkdir(parents=True, exist_ok=True)
        network = folder / "network"
        self.block = Block(network.read_text() if network.exists() else "")
        network.write_text(self.block.network)
        self._held.callback(self.block.release)
        self.gate: Gate | None = None

    @property
    def port(self) -> int:
        """The gate's port; 0 before the start."""
        return self.gate.port if self.gate else 0

    @property
    def url(self) -> str:
        """The API server, as operators reach it."""
        return f"https://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the API server and open the gate."""
        self.server.start()
        self._held.callback(self.server.close)
        port_file = self.folder / "port"
        wanted = int(port_file.read_text()) if port_file.exists() else 0
        try:
            self.gate = Gate(int(self.server.url.rpartition(":")[2]), wanted)
        except OSError:  # somebody else has the port of the last time
            self.gate = Gate(int(self.server.url.rpartition(":")[2]))
        port_file.write_text(str(self.gate.port))
        self._held.callback(self.gate.stop)
        write_orders(self.folder / "nodes", self.orders, wait=False)

    def settings(self, labels: dict[str, str], backoff: BackOff) -> ClusterSettings:
        """Return what the cluster's nodes are started with."""
        ca = self.folder / "ca.pem"
        ca.write_text(self.server.ca)
        access = Access(server=self.server.url, token=self.server.token, ca_file=str(ca))
        zones = "abcdef"
        region = self.wanted.location
        return ClusterSettings(
            access=access,
            folder=str(self.folder / "nodes"),
            nodes=tuple(
                NodeSettings(
                    name=name,
                    labels={**labels, **self.wanted.node_labels.get(name, {})},
                    lease_s=LEASE_S,
                    region=region,
                    zone=f"{region}-{zones[number % len(zones)]}",
                )
                for number, name in enumerate(self.wanted.nodes)
            ),
            network=self.block.network,
            backoff=backoff,
            node_grace_s=LEASE_S,
            crowd=self.wanted.crowd,
            crowd_labels=labels,
        )

    def order(self, orders: Orders) -> None:
        """Have the nodes follow other orders."""
        self.orders = orders
        write_orders(self.folder / "nodes", orders)

    def running(self) -> RunningCluster:
        """Return what a user has to know of it."""
        name = self.wanted.name
        return RunningCluster(
            name=name,
            server=self.url,
            location=self.wanted.location,
            nodes=tuple(
                RunningNode(
                    name=node,
                    address=f"{self.block.network}.{number + 1}.1",
                    device=f"{name}/{node}",
                )
                for number, node in enumerate(self.wanted.nodes)
            ),
        )

    def stop(self) -> None:
        """End the API server and the gate."""
        self._held.close()


class Fleet:
    """Everything.

    Args:
        folder: Takes objects, images, nodes' folders and everybody's log.
        serve: Makes a cluster's API server in a folder.
        labels: What every node is labelled with.
        backoff: How long kubelets wait before they try again.
    """

    def __init__(
        self,
        folder: Path,
        *,
        serve: Serve = own_server,
        labels: dict[str, str] | None = None,
        backoff: BackOff = QUICK,
        registry_port: int = 0,
    ) -> None:
        self.folder = folder.absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._held = contextlib.ExitStack()
        self._hold_folder()
        self._serve = serve
        self._labels = labels or {}
        self._backoff = backoff
        self._registry_port = registry_port
        self._processes = Processes(self.folder / "logs")
        self.registry: RegistryServer | None = None
        self.sites: dict[str, Site] = {}
        self.google: GoogleServer | None = None

    def start(self, clusters: tuple[VirtualCluster, ...], version: str) -> FleetInfo:
        """Start everything; returns once all nodes are ready.

        Args:
            clusters: What to start.
            version: The tag of the runtime's image.

        Raises:
            ProviderError: A part does not come up; its last lines are in the message.
        """
        registry = RegistryServer(
            self.folder / "registry", port=self._registry_port, name="localhost"
        ).start()
        self.registry = registry
        self._held.callback(registry.stop)
        images = push_images(registry.host, version)
        collector = Collector(self.folder / "collector")
        collector.start()
        self._held.callback(collector.stop)
        for wanted in clusters:
            self._start_site(wanted)
        google = self.google = open_google(
            self.folder / "google",
            [(site.wanted, reach_of(site.server, site.port)) for site in self.sites.values()],
        )
        self._held.callback(google.stop)
        self._wait_ready()
        kubeconfig = self._write_kubeconfig()
        place = f"{registry.host}/{PATH_PREFIX}"
        env = {
            "GKE_REGISTRY": place,
            "GKE_KUBECONFIG": kubeconfig,
            "KUBECONFIG": kubeconfig,
            "GKE_COLLECTOR": collector.endpoint,
            "GKE_TELEMETRY": str(collector.file),
            "GKE_TRAINING_IMAGE": images[PYTHON],
        }
        env |= google_settings(google)
        return FleetInfo(
            env=env,
            registry=place,
            kubeconfig=kubeconfig,
            images=images,
            clusters=tuple(site.running() for site in self.sites.values()),
        )

    def cut(self, name: str) -> None:
        """Cut a cluster off from operators, and from Google; inside it goes on."""
        site = self.sites[name]
        if site.gate is not None:
            site.gate.cut()
        if self.google is not None:
            self.google.account.disconnect(name)

    def mend(self, name: str) -> None:
        """Let a cluster be reached again."""
        site = self.sites[name]
        if site.gate is not None:
            site.gate.mend()
        if self.google is not None:
            self.google.account.disconnect(name, connected=True)

    def check(self) -> None:
        """Check that everything still runs.

        Raises:
            ProviderError: A program ended by itself.
        """
        name = self._processes.ended()
        if name is not None:
            raise ProviderError(f"'{name}' ended: {self._processes.log_tail(name)}")

    def stop(self) -> None:
        """Stop nodes and their containers, then the servers."""
        self._processes.stop()
        for site in self.sites.values():
            end_all(site.folder / "nodes")
            site.stop()
        self._held.close()

    def _start_site(self, wanted: VirtualCluster) -> None:
        site = Site(self.folder / "clusters" / wanted.name, wanted, self._serve)
        self.sites[wanted.name] = site
        site.start()
        (site.folder / "nodes" / READY_FILE).unlink(missing_ok=True)
        file = site.folder / "nodes.json"
        settings = site.settings(self._labels, self._backoff)
        file.write_bytes(msgspec.json.encode(settings))
        file.chmod(0o600)
        command = [sys.executable, "-m", NODES_MODULE, str(file)]
        self._processes.start(wanted.name, command, dict(os.environ))

    def _wait_ready(self) -> None:
        crowds = sum(site.wanted.crowd for site in self.sites.values())
        deadline = time.monotonic() + READY_S + crowds * CROWD_NODE_S
        for name, site in self.sites.items():
            while not (site.folder / "nodes" / READY_FILE).exists():
                self.check()
                if time.monotonic() > deadline:
                    tail = self._processes.log_tail(name)
                    raise ProviderError(f"the nodes of '{name}' are not ready: {tail}")
                time.sleep(0.1)

    def _write_kubeconfig(self) -> str:
        merged: dict[str, Any] = {"apiVersion": "v1", "kind": "Config"}
        merged |= {"clusters": [], "users": [], "contexts": []}
        for name, site in self.sites.items():
            one = yaml.safe_load(site.server.kubeconfig())
            cluster = {**one["clusters"][0]["cluster"], "server": site.url}
            merged["clusters"].append({"name": name, "cluster": cluster})
            merged["users"].append({"name": name, "user": one["users"][0]["user"]})
            context = {"cluster": name, "user": name, "namespace": "default"}
            merged["contexts"].append({"name": name, "context": context})
        merged["current-context"] = next(iter(self.sites), "")
        file = self.folder / "kubeconfig"
        file.write_text(yaml.safe_dump(merged, sort_keys=False))
        file.chmod(0o600)
        return str(file)

    def _hold_folder(self) -> None:
        """Keep the folder to this emulator."""
        lock = self._held.enter_context((self.folder / "lock").open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            self._held.close()
            raise ProviderError(
                f"an emulator runs in '{self.folder}' already",
                hint="stop it, or give this one another --dir",
            ) from exc

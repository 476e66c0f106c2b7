"""What ``providers.gke`` of the project file may hold.

Credentials never stand here: they come from Google's application default credentials, or from the
kubeconfig file that is named. Everything but ``registry`` has a default that fits one fleet; where
the clusters are is said by ``project`` (Google's) or by ``kubeconfig`` (any).
"""

from __future__ import annotations

import re
from typing import Literal

from edgectl.api import Record

Access = Literal["auto", "direct", "gateway"]
Delivery = Literal["auto", "image", "init"]
Handover = Literal["auto", "overlap", "replace"]
Workload = Literal["daemonset", "deployment"]
Source = Literal["gke", "edge", "fleet"]

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?")
_HOST = r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
_REGISTRY = re.compile(_HOST + r"(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*")


class RuntimeConfig(Record, frozen=True, kw_only=True):
    """The pod that runs the release.

    Attributes:
        image: The runtime's image; None is ``<registry>/edge-runtime:<version of edgectl>``. It is
            resolved to a digest when a release is packaged.
        port: Where the inference server listens.
        pull_secrets: Names of secrets in the namespace with the registry's login.
        priority_class: Of the pods, or None.
        tolerations: Taints of the nodes that the pods tolerate, in Kubernetes' words.
        cpu: What a pod asks for.
        memory: What a pod asks for; the limit is what the hardware profile leaves to a model and
            this.
        gpu_resource: What a pod of a profile with an NVIDIA GPU asks one of; "" asks for none.
        state_bytes: The largest that a pod's own folder may grow.
        host_paths: Folders of the node that the pipeline reads or writes: path in the pod to path
            on the node.
        egress_ports: TCP ports that the pipeline's endpoints listen on, beside DNS, registry and
            collector, which the network policy lets through.
    """

    image: str | None = None
    port: int = 8080
    pull_secrets: tuple[str, ...] = ()
    priority_class: str | None = None
    tolerations: tuple[dict[str, str | int], ...] = ()
    cpu: str = "250m"
    memory: str = "256Mi"
    gpu_resource: str = "nvidia.com/gpu"
    state_bytes: int = 4 << 30
    host_paths: dict[str, str] = {}
    egress_ports: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Check what the types cannot say."""
        for port in (self.port, *self.egress_ports):
            if not 1 <= port <= 65535:
                raise ValueError(f"a port is {port}, allowed: 1 to 65535")
        if self.port < 1024:
            raise ValueError(f"`port` is {self.port}; a restricted pod listens from 1024 on")
        for name, quantity in (("cpu", self.cpu), ("memory", self.memory)):
            if not _QUANTITY.fullmatch(quantity):
                raise ValueError(f"`{name}` is '{quantity}', expected a quantity such as 256Mi")
        for path in (*self.host_paths, *self.host_paths.values()):
            if not path.startswith("/") or ".." in path.split("/"):
                raise ValueError(f"`host_paths` has '{path}', expected absolute paths")


class CollectorConfig(Record, frozen=True, kw_only=True):
    """Where telemetry goes, and where it is read back.

    Attributes:
        endpoint: The OTLP/HTTP logs endpoint (``…/v1/logs``) that pods write to, or "" for none.
        files: Glob of OTLP JSON lines files as a collector's file exporter writes them, relative
            to the project; what is read back.
    """

    endpoint: str = ""
    files: str = ""

    def __post_init__(self) -> None:
        """Check what the types cannot say."""
        if self.endpoint and not self.endpoint.startswith(("http://", "https://")):
            raise ValueError(f"`endpoint` is '{self.endpoint}', expected an http or https address")


class TrainingConfig(Record, frozen=True, kw_only=True):
    """The Kubernetes Job that trains.

    Attributes:
        cluster: Where it runs; None is the first cluster by name.
        image: Its image; it needs Python and what ``train.py`` imports.
        cpu: What it asks for.
        memory: What it asks for.
        gpus: How many GPUs it asks for.
        node_selector: Labels of the nodes that it may run on.
        timeout_s: It is stopped after this.
        ttl_s: How long a finished job is kept.
        environment: Variables that the training gets beside edgectl's own; no secrets.
    """

    cluster: str | None = None
    image: str = ""
    cpu: str = "1"
    memory: str = "2Gi"
    gpus: int = 0
    node_selector: dict[str, str] = {}
    timeout_s: int = 24 * 3600
    ttl_s: int = 3600
    environment: dict[str, str] = {}


class Endpoints(Record, frozen=True, kw_only=True):
    """Addresses of an emulator's gRPC servers, ``host:port``, in place of Google's; no TLS."""

    container: str = ""
    edgecontainer: str = ""
    gkehub: str = ""
    connectgateway: str = ""


class GkeConfig(Record, frozen=True, kw_only=True):
    """Clusters, registry and how pods are made.

    Attributes:
        registry: Where packages, releases and images are: ``LOCATION-docker.pkg.dev/PROJECT/REPO``,
            or any OCI registry with a path. An application has the repository of its name there.
        project: The Google Cloud project of clusters and fleet.
        locations: Regions and zones to look for clusters in; ``-`` is all.
        sources: Where to look: ordinary GKE clusters, Distributed Cloud's, members of the fleet
            that are neither.
        kubeconfig: A kubeconfig file whose contexts are the clusters, relative to the project:
            k3s, KubeEdge and any other; Google is not asked then.
        access: ``direct`` to the clusters' own endpoints, through the connect ``gateway``, or
            ``auto``: the gateway for members of the fleet that have no endpoint of their own.
        namespace: Where everything is made; None is ``edgectl-<application>``.
        workload: ``daemonset``: a device is a node. ``deployment``: a device is a cluster.
        replicas: Pods of a ``deployment``.
        delivery: How the package reaches a pod: an ``image`` volume, an ``init`` container that
            fetches it, or ``auto``: by the cluster's version.
        node_cache: Folder on the node that pods share for fetched packages; it needs a namespace
            that is not restricted. None: each pod fetches its own.
        handover: ``overlap``: the pod before goes on answering until the new one has proved
            itself. ``replace``: the pod before ends first, for what two pods cannot share.
            ``auto``: replace where a profile asks for a GPU.
        coordination_cluster: Where operators share leases; None is the first cluster by name.
        runtime: The pod.
        collector: Telemetry.
        training: The Kubernetes Job that trains.
        publisher_key: Public key (PEM) that pods trust, relative to the project; None is the one
            beside the project's signing key. Used where the cluster has none yet.
        publisher_key_path: Where nodes have the public key; pods then trust that, not the cluster.
        progress_deadline_s: A pod that cannot start for so long has failed.
        unreachable_after_s: A node that is not ready for so long is called unreachable.
        timeout_s: How long one request to a cluster may stand still.
        endpoints: Addresses of an emulator.
    """

    registry: str
    project: str = ""
    locations: tuple[str, ...] = ("-",)
    sources: tuple[Source, ...] = ("gke", "edge")
    kubeconfig: str | None = None
    access: Access = "auto"
    namespace: str | None = None
    workload: Workload = "daemonset"
    replicas: int = 2
    delivery: Delivery = "auto"
    node_cache: str | None = None
    handover: Handover = "auto"
    coordination_cluster: str | None = None
    runtime: RuntimeConfig = RuntimeConfig()
    collector: CollectorConfig = CollectorConfig()
    training: TrainingConfig = TrainingConfig()
    publisher_key: str | None = None
    publisher_key_path: str | None = None
    progress_deadline_s: float = 600.0
    unreachable_after_s: float = 40.0
    timeout_s: float = 20.0
    endpoints: Endpoints = Endpoints()

    def __post_init__(self) -> None:
        """Check what the types cannot say; msgspec reports it with the key's path."""
        if not _REGISTRY.fullmatch(self.registry):
            raise ValueError(
                f"`registry` is '{self.registry}', expected host[:port]/path without a scheme"
            )
        if not self.project and self.kubeconfig is None:
            raise ValueError("give `project` (Google's clusters) or `kubeconfig` (any clusters)")
        if not self.locations or not self.sources:
            raise ValueError("`locations` and `sources` cannot be empty")
        if self.namespace is not None and not _LABEL.fullmatch(self.namespace):
            raise ValueError(f"`namespace` is '{self.namespace}', which Kubernetes does not take")
        for key in ("node_cache", "publisher_key_path"):
            path = getattr(self, key)
            if path is not None and (not path.startswith("/") or path.strip("/") == ""):
                raise ValueError(f"`{key}` is '{path}', expected an absolute path on the node")
        if self.replicas < 1:
            raise ValueError(f"`replicas` is {self.replicas}, expected 1 or more")
        for key in ("progress_deadline_s", "unreachable_after_s", "timeout_s"):
            if not getattr(self, key) > 0:
                raise ValueError(f"`{key}` has to be above 0")

"""The pod that runs a release: prepare, then serve; pure.

``prepare`` verifies the release, runs its golden set on this hardware and leaves it for ``serve``.
Its report is the init container's termination message, so that one list of pods shows why a pod
does not start. Everything keeps to the ``restricted`` pod security standard but folders of the
node, which only the settings that name them bring in.
Source: kubernetes.io, Pod Security Standards; "Customizing the termination message".
"""

from __future__ import annotations

from typing import Any

from edgectl.api import PROFILES, HardwareProfile, Record
from edgectl_gke_edge import names
from edgectl_gke_edge.config import GkeConfig

Document = dict[str, Any]

CONFIG_DIR = "/etc/edgectl"
TRUST_DIR = "/etc/edgectl-trust"
LOGIN_DIR = "/etc/edgectl-registry"
STATE_DIR = "/var/lib/edgectl"
CACHE_DIR = "/var/cache/edgectl"
PACKAGE_DIR = "/package"
PUBLISHER_FILE = "publisher.pem"
DEVICE_FILE = "device.toml"
PREPARE, RUNTIME = "prepare", "runtime"
USER = 10001
"""Any number that is not root: the image names no user that matters."""
MEBI = 1 << 20
GRACE_S = 30


class PodOrder(Record, frozen=True, kw_only=True):
    """What a pod is made for.

    Attributes:
        cluster: The cluster's name: what a device's id begins with.
        hardware: The hardware profile of the nodes.
        release: The release's number.
        package: The package's digest.
        version: The package's version.
        soak_s: How long a new version has to serve before it counts as healthy.
        runtime_image: The runtime's image, by digest.
        repository: The application's repository in the registry.
        release_digest: The release's digest there.
        volume_image: The image with release and package, by digest, for an image volume; "" has
            an init container fetch them.
    """

    application: str
    cluster: str
    hardware: str
    release: int
    package: str
    version: str = ""
    soak_s: float = 0.0
    runtime_image: str
    repository: str
    release_digest: str
    volume_image: str = ""

    @property
    def name(self) -> str:
        """The name of what is made for this release and hardware."""
        return names.workload_name(self.application, self.release, self.hardware)

    def labels(self) -> dict[str, str]:
        """Return the labels of the pod and of what makes it."""
        return {
            **names.own_labels(self.application),
            names.RELEASE: str(self.release),
            names.HARDWARE: names.slug(self.hardware),
        }

    def annotations(self) -> dict[str, str]:
        """Return what a look at a pod or its maker has to know."""
        return {
            names.APPLICATION: self.application,
            names.PACKAGE: self.package,
            names.VERSION: self.version,
            names.SOAK: f"{self.soak_s:g}",
        }


def is_replacing(config: GkeConfig, hardware: str) -> bool:
    """Whether the pod before has to end before the new one can start."""
    if config.handover != "auto":
        return config.handover == "replace"
    return _gpu(config, PROFILES.get(hardware)) is not None


def pod_template(config: GkeConfig, order: PodOrder, *, per_node: bool) -> Document:
    """Return the pod's template.

    Args:
        config: The provider's settings.
        order: What it is made for.
        per_node: Whether a device is a node (DaemonSet) or the cluster (Deployment).
    """
    spec: Document = {
        "serviceAccountName": names.slug(order.application),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_S,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": [_prepare(config, order, per_node=per_node)],
        "containers": [_runtime(config, order, per_node=per_node)],
        "volumes": _volumes(config, order),
    }
    if per_node:
        key = names.release_key(order.application, order.release)
        spec["nodeSelector"] = {key: order.hardware}
    runtime = config.runtime
    if runtime.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in runtime.pull_secrets]
    if runtime.priority_class is not None:
        spec["priorityClassName"] = runtime.priority_class
    if runtime.tolerations:
        spec["tolerations"] = [dict(toleration) for toleration in runtime.tolerations]
    metadata = {"labels": order.labels(), "annotations": order.annotations()}
    return {"metadata": metadata, "spec": spec}


def _prepare(config: GkeConfig, order: PodOrder, *, per_node: bool) -> Document:
    arguments = [
        f"--release={order.release}",
        f"--package={order.package}",
    ]
    if order.volume_image:
        arguments.append(f"--from={PACKAGE_DIR}")
    else:
        arguments += [
            f"--reference={order.repository}",
            f"--release-digest={order.release_digest}",
        ]
        if config.runtime.pull_secrets:
            arguments.append(f"--auth-file={LOGIN_DIR}/config.json")
    if config.node_cache is not None:
        arguments.append(f"--node-cache={CACHE_DIR}")
    return {
        **_container(config, order, PREPARE, per_node=per_node),
        "args": arguments,
        "volumeMounts": _mounts(config, order, preparing=True),
    }


def _runtime(config: GkeConfig, order: PodOrder, *, per_node: bool) -> Document:
    port = config.runtime.port
    return {
        **_container(config, order, RUNTIME, per_node=per_node),
        "ports": [{"name": "http", "containerPort": port, "protocol": "TCP"}],
        "startupProbe": {**_probe("live"), "periodSeconds": 1, "failureThreshold": 120},
        "readinessProbe": {**_probe("ready"), "periodSeconds": 2, "failureThreshold": 3},
        "livenessProbe": {**_probe("live"), "periodSeconds": 10, "failureThreshold": 3},
        "volumeMounts": _mounts(config, order, preparing=False),
    }


def _probe(what: str) -> Document:
    return {"httpGet": {"path": f"/v2/health/{what}", "port": "http"}, "timeoutSeconds": 2}


def _container(config: GkeConfig, order: PodOrder, name: str, *, per_node: bool) -> Document:
    device = f"{order.cluster}/$(NODE_NAME)" if per_node else order.cluster
    return {
        "name": name,
        "image": order.runtime_image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["edge-pod", "prepare" if name == PREPARE else "serve"],
        "env": [
            {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "EDGE_POD_DEVICE", "value": device},
            {"name": "EDGE_POD_HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        ],
        "resources": _resources(config, order.hardware),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def _resources(config: GkeConfig, hardware: str) -> Document:
    runtime = config.runtime
    requests: Document = {"cpu": runtime.cpu, "memory": runtime.memory}
    limits: Document = {}
    profile = PROFILES.get(hardware)
    if profile is not None:
        own = parse_bytes(runtime.memory)
        limits["memory"] = f"{(profile.model_memory_bytes + own) // MEBI}Mi"
    gpu = _gpu(config, profile)
    if gpu is not None:
        # An extended resource has one number: request and limit are the same.
        requests[gpu] = limits[gpu] = "1"
    return {"requests": requests, "limits": limits} if limits else {"requests": requests}


def _gpu(config: GkeConfig, profile: HardwareProfile | None) -> str | None:
    if profile is None or profile.accelerator != "nvidia-gpu":
        return None
    return config.runtime.gpu_resource or None


_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_UNITS |= {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}


def parse_bytes(quantity: str) -> int:
    """Return a memory quantity in bytes; the configuration has checked how it is written."""
    digits = quantity.rstrip("kKMGTim")
    unit = quantity[len(digits) :]
    return int(float(digits) * _UNITS.get(unit, 1))


def _mounts(config: GkeConfig, order: PodOrder, *, preparing: bool) -> list[Document]:
    mounts: list[Document] = [
        {"name": "config", "mountPath": CONFIG_DIR, "readOnly": True},
        {"name": "trust", "mountPath": TRUST_DIR, "readOnly": True},
        {"name": "state", "mountPath": STATE_DIR},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a volume of the pod's own
    ]
    if preparing:
        if order.volume_image:
            mounts.append({"name": "package", "mountPath": PACKAGE_DIR, "readOnly": True})
        elif config.runtime.pull_secrets:
            mounts.append({"name": "login", "mountPath": LOGIN_DIR, "readOnly": True})
        if config.node_cache is not None:
            mounts.append({"name": "cache", "mountPath": CACHE_DIR})
    else:
        mounts += [
            {"name": f"host-{number}", "mountPath": path}
            for number, path in enumerate(sorted(config.runtime.host_paths))
        ]
    return mounts


def _volumes(config: GkeConfig, order: PodOrder) -> list[Document]:
    runtime = config.runtime
    trust: Document = {"configMap": {"name": names.trust_name(order.application)}}
    if config.publisher_key_path is not None:
        trust = {"hostPath": {"path": config.publisher_key_path, "type": "Directory"}}
    volumes: list[Document] = [
        {"name": "config", "configMap": {"name": order.name}},
        {"name": "trust", **trust},
        {"name": "state", "emptyDir": {"sizeLimit": str(runtime.state_bytes)}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}},
    ]
    if order.volume_image:
        image = {"reference": order.volume_image, "pullPolicy": "IfNotPresent"}
        volumes.append({"name": "package", "image": image})
    elif runtime.pull_secrets:
        items = [{"key": ".dockerconfigjson", "path": "config.json"}]
        secret = {"secretName": runtime.pull_secrets[0], "items": items}
        volumes.append({"name": "login", "secret": secret})
    if config.node_cache is not None:
        cache = {"path": config.node_cache, "type": "DirectoryOrCreate"}
        volumes.append({"name": "cache", "hostPath": cache})
    volumes += [
        {"name": f"host-{number}", "hostPath": {"path": runtime.host_paths[path]}}
        for number, path in enumerate(sorted(runtime.host_paths))
    ]
    return volumes

"""What a node says of itself: its object, its status and its lease. Pure.

Source: kubernetes.io, "Nodes", "Well-Known Labels, Annotations and Taints".
"""

from __future__ import annotations

import msgspec

from edgectl_gke_edge.emulator.nodes.api import Obj
from edgectl_gke_edge.emulator.nodes.podfacts import age_s, micro_timestamp, timestamp

KUBELET = "v1.33.5-gke.1080000"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_CONDITIONS = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID"),
    ("Ready", "True", "KubeletReady"),
)
_HEARTBEAT_S = 300.0


class NodeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A virtual node.

    Attributes:
        labels: Beside those that every node has.
        capacity: Resource to quantity: ``cpu``, ``memory``, ``pods`` and extended ones.
        taints: As the API writes them.
        lease_s: How long its lease holds; it is renewed four times as often.
        region: For the topology labels, with ``zone``.
    """

    name: str
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    capacity: dict[str, str] = {}
    taints: tuple[Obj, ...] = ()
    lease_s: float = 40.0
    region: str = "us-central1"
    zone: str = "us-central1-a"
    kubelet: str = KUBELET


def node_document(settings: NodeSettings, place: Obj) -> Obj:
    """Return the object that a node registers with.

    Args:
        settings: Who it is.
        place: Its ``ip``, its kubelet's ``port`` and the ``machine``.
    """
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": settings.name,
            "labels": own_labels(settings, place) | settings.labels,
            "annotations": settings.annotations,
        },
        "spec": {
            "providerID": f"gce://emulator/{settings.zone}/{settings.name}",
            **({"taints": list(settings.taints)} if settings.taints else {}),
        },
        "status": node_status(settings, place, None, []),
    }


def own_labels(settings: NodeSettings, place: Obj) -> dict[str, str]:
    """Return the labels that every node has."""
    return {
        "kubernetes.io/hostname": settings.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": _architecture(place),
        "topology.kubernetes.io/region": settings.region,
        "topology.kubernetes.io/zone": settings.zone,
        "node.kubernetes.io/instance-type": "edgectl-virtual",
    }


def _architecture(place: Obj) -> str:
    machine: str = place["machine"]
    return _ARCHITECTURES.get(machine, machine)


def capacity_of(settings: NodeSettings) -> dict[str, str]:
    """Return what a node has."""
    usual: dict[str, str] = {
        "cpu": "4",
        "memory": "16Gi",
        "pods": "110",
        "ephemeral-storage": "100Gi",
    }
    return {**usual, **settings.capacity}


def node_status(settings: NodeSettings, place: Obj, node: Obj | None, images: list[Obj]) -> Obj:
    """Return a node's status; conditions that have not changed keep their times for a while."""
    before = {
        one["type"]: one for one in ((node or {}).get("status") or {}).get("conditions") or ()
    }
    capacity = capacity_of(settings)
    return {
        "capacity": capacity,
        "allocatable": capacity,
        "conditions": [_condition(before.get(kind), kind, *rest) for kind, *rest in _CONDITIONS],
        "addresses": [
            {"type": "InternalIP", "address": place["ip"]},
            {"type": "Hostname", "address": place["ip"]},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": place["port"]}},
        "nodeInfo": {
            "machineID": settings.name,
            "systemUUID": settings.name,
            "bootID": settings.name,
            "kernelVersion": "emulated",
            "osImage": "edgectl virtual node",
            "containerRuntimeVersion": "edgectl://1.0",
            "kubeletVersion": settings.kubelet,
            "kubeProxyVersion": settings.kubelet,
            "operatingSystem": "linux",
            "architecture": _architecture(place),
        },
        "images": images,
    }


def lease(settings: NodeSettings) -> Obj:
    """Return the node's lease, renewed now."""
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": settings.name, "namespace": "kube-node-lease"},
        "spec": {
            "holderIdentity": settings.name,
            "leaseDurationSeconds": max(int(settings.lease_s), 1),
            "renewTime": micro_timestamp(),
        },
    }


def _condition(before: Obj | None, kind: str, status: str, reason: str) -> Obj:
    same = before is not None and before.get("status") == status
    if same and before is not None and age_s(before.get("lastHeartbeatTime")) < _HEARTBEAT_S:
        return before
    now = timestamp()
    since = before["lastTransitionTime"] if same and before is not None else now
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": "the virtual node is well" if kind == "Ready" else "",
        "lastHeartbeatTime": now,
        "lastTransitionTime": since,
    }

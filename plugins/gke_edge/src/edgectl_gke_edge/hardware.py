"""Which nodes can be devices, and what hardware they have; pure.

A node says its hardware profile by our label. One that does not has the target's, and where the
target names none either, what its architecture and its GPUs make likely.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edgectl_gke_edge import names
from edgectl_gke_edge.seen import Node, Taint

ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64", "arm": "armv7l"}
_JETSON = {
    "nano": "jetson-nano",
    "xavier-nx": "jetson-xavier-nx",
    "agx-xavier": "jetson-agx-xavier",
    "orin": "jetson-orin",
}
_OF_KUBERNETES = "node.kubernetes.io/"
"""Taints that Kubernetes gives by itself; a DaemonSet's pods tolerate them."""
_PRODUCT = ("nvidia.com/gpu.product", "cloud.google.com/gke-accelerator")


def hardware_of(node: Node, target: str | None) -> str | None:
    """Return a node's hardware profile, or None where nothing says it."""
    return node.labels.get(names.HARDWARE) or target or _likely(node)


def _likely(node: Node) -> str | None:
    product = next((node.labels[k] for k in _PRODUCT if k in node.labels), "").lower()
    if node.arch == "arm64":
        plain = product.replace("_", "-").replace(" ", "-")
        named = (profile for word, profile in _JETSON.items() if word in plain)
        return next(named, "arm64-cpu")
    if node.arch == "amd64":
        return "nvidia-gpu" if product or node.gpus else "x86-64-cpu"
    return None


def is_device(node: Node, tolerations: Iterable[Mapping[str, str | int]]) -> bool:
    """Whether our pods may run on a node: a control plane, for example, keeps them away."""
    known = list(tolerations)
    return all(
        taint.effect == "PreferNoSchedule"
        or taint.key.startswith(_OF_KUBERNETES)
        or any(_tolerates(toleration, taint) for toleration in known)
        for taint in node.taints
    )


def _tolerates(toleration: Mapping[str, str | int], taint: Taint) -> bool:
    key, effect = toleration.get("key", ""), toleration.get("effect", "")
    if effect not in {"", taint.effect}:
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return key in {"", taint.key}
    return key == taint.key and toleration.get("value", "") == taint.value

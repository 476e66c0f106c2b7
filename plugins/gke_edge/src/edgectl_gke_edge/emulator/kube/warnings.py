"""What the server warns of: deprecated kinds and fields, and entries that hide others."""

from __future__ import annotations

from collections.abc import Iterator

from edgectl_gke_edge.emulator.kube.errors import Json
from edgectl_gke_edge.emulator.kube.kinds import Kind

# Kind → the version that deprecates it, and the sentence.
_KINDS = {
    "Endpoints": (
        (1, 33),
        "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
    )
}
# Label of nodes → since when it is deprecated, and what to use.
_NODE_LABELS = {
    "beta.kubernetes.io/arch": ("1.14", "kubernetes.io/arch"),
    "beta.kubernetes.io/os": ("1.14", "kubernetes.io/os"),
    "beta.kubernetes.io/instance-type": ("1.17", "node.kubernetes.io/instance-type"),
    "failure-domain.beta.kubernetes.io/region": ("1.17", "topology.kubernetes.io/region"),
    "failure-domain.beta.kubernetes.io/zone": ("1.17", "topology.kubernetes.io/zone"),
}
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
_TEMPLATES = {"DaemonSet", "Deployment", "Job", "ReplicaSet", "StatefulSet"}


def of_kind(kind: Kind, version: tuple[int, int]) -> list[str]:
    """Return what a version says of any use of a kind."""
    since, sentence = _KINDS.get(kind.kind, ((99, 0), ""))
    return [sentence] if version >= since else []


def of_object(kind: Kind, obj: Json) -> list[str]:
    """Return what the server says of an object that is stored."""
    if kind.kind == "Pod":
        return sorted(_of_pod(obj, ""))
    if kind.kind in _TEMPLATES:
        return sorted(_of_pod(obj.get("spec", {}).get("template", {}), "spec.template."))
    return []


def _of_pod(pod: Json, path: str) -> Iterator[str]:
    spec = pod.get("spec", {})
    for annotation in pod.get("metadata", {}).get("annotations", {}):
        if annotation.startswith(_APPARMOR):
            where = f"{path}metadata.annotations[{annotation}]"
            yield f'{where}: deprecated since v1.30; use the "appArmorProfile" field instead'
    for label in spec.get("nodeSelector", {}):
        if label in _NODE_LABELS:
            since, use = _NODE_LABELS[label]
            where = f"{path}spec.nodeSelector[{label}]"
            yield f'{where}: deprecated since v{since}; use "{use}" instead'
    for field in ("initContainers", "containers"):
        for at, container in enumerate(spec.get(field, [])):
            yield from _hidden(container.get("env", []), f"{path}spec.{field}[{at}].env")


def _hidden(variables: list[Json], path: str) -> Iterator[str]:
    seen: set[str] = set()
    for at, variable in enumerate(variables):
        name = variable.get("name", "")
        if name in seen:
            told = f'hides previous definition of "{name}", which may be dropped when using apply'
            yield f"{path}[{at}]: {told}"
        seen.add(name)

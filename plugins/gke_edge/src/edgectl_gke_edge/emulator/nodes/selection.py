"""Which objects a selector means, and which nodes a pod may run on. Pure.

Source: kubernetes.io, "Labels and Selectors", "Assigning Pods to Nodes", "Taints and Tolerations".
"""

from __future__ import annotations

from collections.abc import Mapping

from edgectl_gke_edge.emulator.nodes.api import Obj

Labels = Mapping[str, str]


def labels_of(obj: Obj) -> dict[str, str]:
    """Return an object's labels."""
    found: dict[str, str] = obj["metadata"].get("labels") or {}
    return found


def selects(selector: Obj | None, labels: Labels) -> bool:
    """Return whether a label selector matches; None matches nothing, an empty one everything."""
    if selector is None:
        return False
    wanted: Labels = selector.get("matchLabels") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    return all(_expression(one, labels) for one in selector.get("matchExpressions") or ())


def _expression(one: Obj, values: Labels) -> bool:
    key, operator, wanted = one["key"], one["operator"], one.get("values") or []
    found = values.get(key)
    if operator in ("Gt", "Lt"):
        return _compares(found, operator, wanted)
    holds = {
        "In": found in wanted,
        "NotIn": found not in wanted,
        "Exists": key in values,
        "DoesNotExist": key not in values,
    }
    return holds.get(operator, False)


def _compares(found: str | None, operator: str, wanted: list[str]) -> bool:
    if found is None or not found.isdecimal() or not wanted:
        return False
    return int(found) > int(wanted[0]) if operator == "Gt" else int(found) < int(wanted[0])


def node_fits(pod_spec: Obj, node: Obj) -> bool:
    """Return whether node selector and required node affinity of a pod allow a node."""
    labels = labels_of(node)
    wanted: Labels = pod_spec.get("nodeSelector") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    affinity = (pod_spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    fields = {"metadata.name": node["metadata"]["name"]}
    return any(
        (term.get("matchExpressions") or term.get("matchFields"))
        and all(_expression(one, labels) for one in term.get("matchExpressions") or ())
        and all(_expression(one, fields) for one in term.get("matchFields") or ())
        for term in required.get("nodeSelectorTerms") or ()
    )


def named_nodes(pod_spec: Obj) -> frozenset[str] | None:
    """Return the nodes that a pod's required affinity names one by one, or None if it does not."""
    affinity = (pod_spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    names: set[str] = set()
    for term in required.get("nodeSelectorTerms") or ():
        fields = term.get("matchFields") or ()
        wanted = [one["values"] for one in fields if one["operator"] == "In"]
        if not wanted:
            return None
        names.update(wanted[0])
    return frozenset(names) or None


def tolerates(tolerations: list[Obj], taint: Obj) -> bool:
    """Return whether one of the tolerations covers a taint."""
    return any(_covers(toleration, taint) for toleration in tolerations)


def _covers(toleration: Obj, taint: Obj) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    key = toleration.get("key") or ""
    if toleration.get("operator") == "Exists":
        return key in ("", taint["key"])
    return key == taint["key"] and (toleration.get("value") or "") == (taint.get("value") or "")


def untolerated(pod_spec: Obj, node: Obj, effects: tuple[str, ...]) -> Obj | None:
    """Return a taint of the node with one of the effects that a pod does not tolerate, or None."""
    tolerations = pod_spec.get("tolerations") or []
    for taint in (node.get("spec") or {}).get("taints") or ():
        if taint["effect"] in effects and not tolerates(tolerations, taint):
            found: Obj = taint
            return found
    return None

"""The roles that every cluster has from the beginning."""

from __future__ import annotations

from edgectl_gke_edge.emulator.kube import strategy
from edgectl_gke_edge.emulator.kube.access import AUTHENTICATED, MASTERS
from edgectl_gke_edge.emulator.kube.errors import Json
from edgectl_gke_edge.emulator.kube.kinds import kind_of
from edgectl_gke_edge.emulator.kube.store import Store

_RBAC = "rbac.authorization.k8s.io"
_READ = ["get", "list", "watch"]
_WRITE = ["create", "delete", "deletecollection", "patch", "update"]
_WORKLOADS: tuple[tuple[str, list[str]], ...] = (
    (
        "",
        [
            "configmaps",
            "endpoints",
            "events",
            "limitranges",
            "namespaces",
            "persistentvolumeclaims",
            "pods",
            "pods/log",
            "pods/status",
            "resourcequotas",
            "serviceaccounts",
            "services",
        ],
    ),
    ("apps", ["daemonsets", "deployments", "deployments/scale", "replicasets", "statefulsets"]),
    ("batch", ["jobs", "cronjobs"]),
    ("discovery.k8s.io", ["endpointslices"]),
    ("networking.k8s.io", ["networkpolicies"]),
    ("policy", ["poddisruptionbudgets"]),
)
_CLUSTER_OWNED = {"namespaces", "resourcequotas", "limitranges", "pods/status", "pods/log"}


def _rule(group: str, resources: list[str], verbs: list[str]) -> Json:
    return {"apiGroups": [group], "resources": resources, "verbs": verbs}


def _view() -> list[Json]:
    return [_rule(group, resources, _READ) for group, resources in _WORKLOADS]


def _edit() -> list[Json]:
    rules = [
        _rule(group, [r for r in resources if r not in _CLUSTER_OWNED], _WRITE)
        for group, resources in _WORKLOADS
    ]
    secret = _rule("", ["secrets", "pods/proxy"], _READ + _WRITE)
    return [*_view(), *rules, secret, _rule("", ["pods/eviction"], ["create"])]


def _admin() -> list[Json]:
    reviews = _rule("authorization.k8s.io", ["localsubjectaccessreviews"], ["create"])
    return [*_edit(), reviews, _rule(_RBAC, ["roles", "rolebindings"], _READ + _WRITE)]


def _roles() -> dict[str, list[Json]]:
    reviews = ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]
    return {
        "cluster-admin": [_rule("*", ["*"], ["*"])],
        "admin": _admin(),
        "edit": _edit(),
        "view": _view(),
        "system:basic-user": [_rule("authorization.k8s.io", reviews, ["create"])],
        "system:node": [_rule("*", ["*"], ["*"])],
    }


_BINDINGS = (
    ("cluster-admin", MASTERS),
    ("system:basic-user", AUTHENTICATED),
    ("system:node", "system:nodes"),
)


def add_default_roles(store: Store) -> None:
    """Store the default roles and their bindings where they are missing."""
    for name, rules in _roles().items():
        _add(store, "clusterroles", name, {"rules": rules})
    for role, group in _BINDINGS:
        reference = {"apiGroup": _RBAC, "kind": "ClusterRole", "name": role}
        subject = {"apiGroup": _RBAC, "kind": "Group", "name": group}
        _add(store, "clusterrolebindings", role, {"roleRef": reference, "subjects": [subject]})


def _add(store: Store, plural: str, name: str, content: Json) -> None:
    kind = kind_of(_RBAC, plural)
    if store.get(kind, "", name) is None:
        labels = {"kubernetes.io/bootstrapping": "rbac-defaults"}
        obj: Json = {"metadata": {"name": name, "labels": labels}, **content}
        obj = strategy.for_create(kind, obj, "")
        store.put(kind, {"apiVersion": kind.api_version, "kind": kind.kind, **obj})

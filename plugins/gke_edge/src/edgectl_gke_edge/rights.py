"""What an operator has to be allowed in a cluster: verbs and resources, and the role as YAML; pure.

The list is what the code asks for and nothing else: ``check`` asks for each, and the documentation
prints the role from here.
"""

from __future__ import annotations

from typing import Any

from edgectl.api import Record

ROLE_NAME = "edgectl-operator"


class Right(Record, frozen=True, kw_only=True):
    """A resource and what may be done with it.

    Attributes:
        group: The API group, "" for the core group.
        in_cluster: Whether it lies outside namespaces.
        training: Whether only trainings need it.
        why: What it is for.
    """

    group: str
    resource: str
    verbs: tuple[str, ...]
    in_cluster: bool = False
    training: bool = False
    why: str = ""


APPLY = ("get", "list", "create", "patch", "delete")
RIGHTS: tuple[Right, ...] = (
    Right(
        group="",
        resource="nodes",
        verbs=("get", "list", "watch", "patch"),
        in_cluster=True,
        why="devices, and the labels that give them a release",
    ),
    Right(
        group="",
        resource="namespaces",
        verbs=("get", "create", "patch"),
        in_cluster=True,
        why="the application's namespace; not needed where `namespace` is set",
    ),
    Right(
        group="",
        resource="pods",
        verbs=("get", "list", "watch", "create", "patch"),
        why="where devices stand; asking, without effect, whether a pod would be let in",
    ),
    Right(group="", resource="pods/proxy", verbs=("get",), why="the runtime's own report"),
    Right(
        group="",
        resource="configmaps",
        verbs=(*APPLY, "update"),
        why="configuration, the publisher's key, leases",
    ),
    Right(group="", resource="services", verbs=APPLY, why="who answers on a node"),
    Right(group="", resource="serviceaccounts", verbs=APPLY, why="an account without rights"),
    Right(group="apps", resource="daemonsets", verbs=APPLY, why="releases on nodes"),
    Right(group="apps", resource="deployments", verbs=APPLY, why="releases on clusters"),
    Right(group="networking.k8s.io", resource="networkpolicies", verbs=APPLY, why="who may talk"),
    Right(group="policy", resource="poddisruptionbudgets", verbs=APPLY, why="drains"),
    Right(
        group="batch",
        resource="jobs",
        verbs=("get", "list", "create", "delete"),
        training=True,
        why="trainings",
    ),
    Right(group="", resource="pods/log", verbs=("get",), training=True, why="their logs"),
)


def cluster_role() -> dict[str, Any]:
    """Return the ClusterRole of an operator."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": ROLE_NAME},
        "rules": [
            {"apiGroups": [right.group], "resources": [right.resource], "verbs": list(right.verbs)}
            for right in RIGHTS
        ],
    }

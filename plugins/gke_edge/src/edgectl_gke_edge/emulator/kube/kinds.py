"""Which kinds the server has: group, version, names, scope, subresources and model.

The models are lightkube's, which are made from Kubernetes' own OpenAPI document; the names and
scopes stand in its ``resources`` modules and are read from there, so that they cannot differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from lightkube.core.resource import NamespacedResource, NamespacedResourceG, api_info
from lightkube.resources import (
    apps_v1,
    authorization_v1,
    batch_v1,
    coordination_v1,
    core_v1,
    discovery_v1,
    networking_v1,
    node_v1,
    policy_v1,
    rbac_authorization_v1,
    scheduling_v1,
)

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True)
class Kind:
    """A resource type.

    Attributes:
        model: The lightkube class that knows its fields.
        subresources: ``status`` and ``scale``, where it has them.
        virtual: Nothing is stored: a create is answered at once (access reviews).
    """

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool
    model: type[msgspec.Struct]
    subresources: tuple[str, ...] = ()
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    virtual: bool = False

    @property
    def api_version(self) -> str:
        """``apps/v1``, or ``v1`` for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def singular(self) -> str:
        """The lower-case kind."""
        return self.kind.lower()

    @property
    def verbs(self) -> tuple[str, ...]:
        """What can be done with it, as discovery tells."""
        return ("create",) if self.virtual else VERBS


def _kind(
    resource: Any,
    *subresources: str,
    short: tuple[str, ...] = (),
    categories: tuple[str, ...] = (),
    virtual: bool = False,
) -> Kind:
    info = api_info(resource)
    return Kind(
        group=info.resource.group,
        version=info.resource.version,
        kind=info.resource.kind,
        plural=info.plural,
        namespaced=issubclass(resource, NamespacedResource | NamespacedResourceG),
        model=resource,
        subresources=subresources,
        short_names=short,
        categories=categories,
        virtual=virtual,
    )


_ALL = ("all",)

KINDS: tuple[Kind, ...] = (
    _kind(core_v1.Namespace, "status", short=("ns",)),
    _kind(core_v1.Node, "status", short=("no",)),
    _kind(core_v1.Pod, "status", short=("po",), categories=_ALL),
    _kind(core_v1.PodTemplate),
    _kind(core_v1.Service, "status", short=("svc",), categories=_ALL),
    _kind(core_v1.Endpoints, short=("ep",)),
    _kind(core_v1.ConfigMap, short=("cm",)),
    _kind(core_v1.Secret),
    _kind(core_v1.ServiceAccount, short=("sa",)),
    _kind(core_v1.Event, short=("ev",)),
    _kind(core_v1.ResourceQuota, "status", short=("quota",)),
    _kind(core_v1.LimitRange, short=("limits",)),
    _kind(core_v1.PersistentVolumeClaim, "status", short=("pvc",)),
    _kind(apps_v1.DaemonSet, "status", short=("ds",), categories=_ALL),
    _kind(apps_v1.Deployment, "status", "scale", short=("deploy",), categories=_ALL),
    _kind(apps_v1.ReplicaSet, "status", "scale", short=("rs",), categories=_ALL),
    _kind(apps_v1.StatefulSet, "status", "scale", short=("sts",), categories=_ALL),
    _kind(apps_v1.ControllerRevision),
    _kind(batch_v1.Job, "status", categories=_ALL),
    _kind(batch_v1.CronJob, "status", short=("cj",), categories=_ALL),
    _kind(policy_v1.PodDisruptionBudget, "status", short=("pdb",)),
    _kind(networking_v1.NetworkPolicy, short=("netpol",)),
    _kind(discovery_v1.EndpointSlice),
    _kind(coordination_v1.Lease),
    _kind(scheduling_v1.PriorityClass, short=("pc",)),
    _kind(node_v1.RuntimeClass),
    _kind(rbac_authorization_v1.Role),
    _kind(rbac_authorization_v1.RoleBinding),
    _kind(rbac_authorization_v1.ClusterRole),
    _kind(rbac_authorization_v1.ClusterRoleBinding),
    _kind(authorization_v1.SelfSubjectAccessReview, virtual=True),
    _kind(authorization_v1.SelfSubjectRulesReview, virtual=True),
    _kind(authorization_v1.SubjectAccessReview, virtual=True),
)

BY_PATH: dict[tuple[str, str, str], Kind] = {(k.group, k.version, k.plural): k for k in KINDS}
BY_KIND: dict[tuple[str, str], Kind] = {(k.api_version, k.kind): k for k in KINDS}


def kind_of(group: str, plural: str) -> Kind:
    """Find a kind by its group and plural, in the one version that there is."""
    return BY_PATH[group, "v1", plural]

"""The shape of every kind: fields and their types, and how lists and maps are owned and merged.

Fields come from lightkube's models. What those leave out stands here as tables: which lists are
maps or sets and by which keys, which maps and structures are atomic, which field of a list's
items a strategic merge patch goes by. The source is the ``x-kubernetes-*`` extensions of
Kubernetes' OpenAPI document (1.33).
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Union

import msgspec

from edgectl_gke_edge.emulator.kube.kinds import Kind


@dataclass(frozen=True)
class Scalar:
    """A leaf: string, integer, number, boolean, time, quantity, int-or-string or any."""

    type: str


@dataclass(frozen=True)
class MapOf:
    """A map with free keys."""

    value: Node
    atomic: bool = False


@dataclass(frozen=True)
class ListOf:
    """A list: a map by ``keys``, a set, or atomic.

    Attributes:
        keys: The fields that name an item, in the schema's order; empty for others.
        patch_key: The field that a strategic merge patch merges by; None replaces the list.
        retain_keys: Whether that patch may carry ``$retainKeys``.
    """

    item: Node
    keys: tuple[str, ...] = ()
    is_set: bool = False
    patch_key: str | None = None

    @property
    def atomic(self) -> bool:
        """Whether it has one owner and is replaced whole."""
        return not self.keys and not self.is_set


@dataclass(frozen=True)
class Struct:
    """A structure with known fields."""

    model: type[msgspec.Struct]
    atomic: bool = False

    @property
    def name(self) -> str:
        """The model's name, for example ``PodSpec``."""
        return self.model.__name__

    @property
    def fields(self) -> Mapping[str, Node]:
        """Field name in JSON → its node."""
        return _fields(self.model)

    @property
    def required(self) -> frozenset[str]:
        """Names of the fields that must be there."""
        return _required(self.model)


Node = Scalar | MapOf | ListOf | Struct

STRING = Scalar("string")
ANY = Scalar("any")

_BY_NAME, _BY_TYPE = ("name",), ("type",)
MAP_LISTS: dict[tuple[str, str], tuple[str, ...]] = {
    ("Container", "env"): _BY_NAME,
    ("Container", "ports"): ("containerPort", "protocol"),
    ("Container", "volumeDevices"): ("devicePath",),
    ("Container", "volumeMounts"): ("mountPath",),
    ("ContainerStatus", "allocatedResourcesStatus"): _BY_NAME,
    ("ContainerStatus", "volumeMounts"): ("mountPath",),
    ("DaemonSetStatus", "conditions"): _BY_TYPE,
    ("DeploymentStatus", "conditions"): _BY_TYPE,
    ("NamespaceStatus", "conditions"): _BY_TYPE,
    ("NodeStatus", "addresses"): _BY_TYPE,
    ("NodeStatus", "conditions"): _BY_TYPE,
    ("ObjectMeta", "ownerReferences"): ("uid",),
    ("PersistentVolumeClaimStatus", "conditions"): _BY_TYPE,
    ("PodDisruptionBudgetStatus", "conditions"): _BY_TYPE,
    ("PodSpec", "containers"): _BY_NAME,
    ("PodSpec", "ephemeralContainers"): _BY_NAME,
    ("PodSpec", "hostAliases"): ("ip",),
    ("PodSpec", "imagePullSecrets"): _BY_NAME,
    ("PodSpec", "initContainers"): _BY_NAME,
    ("PodSpec", "resourceClaims"): _BY_NAME,
    ("PodSpec", "schedulingGates"): _BY_NAME,
    ("PodSpec", "topologySpreadConstraints"): ("topologyKey", "whenUnsatisfiable"),
    ("PodSpec", "volumes"): _BY_NAME,
    ("PodStatus", "conditions"): _BY_TYPE,
    ("PodStatus", "podIPs"): ("ip",),
    ("PodStatus", "resourceClaimStatuses"): _BY_NAME,
    ("ReplicaSetStatus", "conditions"): _BY_TYPE,
    ("ResourceRequirements", "claims"): _BY_NAME,
    ("ServiceAccount", "secrets"): _BY_NAME,
    ("ServiceSpec", "ports"): ("port", "protocol"),
    ("ServiceStatus", "conditions"): _BY_TYPE,
    ("StatefulSetStatus", "conditions"): _BY_TYPE,
}
SET_LISTS = {
    ("Endpoint", "addresses"),
    ("NodeSpec", "podCIDRs"),
    ("ObjectMeta", "finalizers"),
    ("PodFailurePolicyOnExitCodesRequirement", "values"),
    ("UncountedTerminatedPods", "failed"),
    ("UncountedTerminatedPods", "succeeded"),
}
# Lists whose strategic merge goes by another key than the ownership of their items.
PATCH_KEYS = {
    ("JobStatus", "conditions"): "type",
    ("PodStatus", "hostIPs"): "ip",
    ("ResourceRequirements", "claims"): None,
}
ATOMIC_MAPS = {
    ("PodSpec", "nodeSelector"),
    ("ServiceSpec", "selector"),
    ("Scheduling", "nodeSelector"),
}
ATOMIC_STRUCTS = {
    "ConfigMapKeySelector",
    "EndpointAddress",
    "EndpointPort",
    "LabelSelector",
    "LocalObjectReference",
    "NodeSelector",
    "NodeSelectorTerm",
    "ObjectFieldSelector",
    "ObjectReference",
    "OwnerReference",
    "ResourceFieldSelector",
    "RoleRef",
    "ScopeSelector",
    "SecretKeySelector",
    "SecretReference",
    "Subject",
    "TypedLocalObjectReference",
}
QUANTITY_MAPS = {
    "allocatable",
    "allocatedResources",
    "capacity",
    "default",
    "defaultRequest",
    "hard",
    "limits",
    "max",
    "maxLimitRequestRatio",
    "min",
    "overhead",
    "podFixed",
    "requests",
    "used",
}
QUANTITIES = {("EmptyDirVolumeSource", "sizeLimit"), ("ResourceFieldSelector", "divisor")}
UNTYPED = {("ManagedFieldsEntry", "fieldsV1"), ("ControllerRevision", "data")}
# Structures whose serialisation in Go always writes these, also when nobody set them.
KEY_DEFAULTS = {"protocol": "TCP"}


def schema_of(kind: Kind) -> Struct:
    """Return the shape of a kind."""
    return Struct(kind.model)


@cache
def _fields(model: type[msgspec.Struct]) -> dict[str, Node]:
    return {
        info.encode_name: _node(info.type, model.__name__, info.encode_name)
        for info in msgspec.structs.fields(model)
    }


@cache
def _required(model: type[msgspec.Struct]) -> frozenset[str]:
    return frozenset(f.encode_name for f in msgspec.structs.fields(model) if f.required)


_LEAVES = {int: "integer", float: "number", bool: "boolean", datetime: "time", str: "string"}


def _node(hint: Any, owner: str, name: str) -> Node:
    hint, both = _plain(hint)
    owner = "Container" if owner == "EphemeralContainer" else owner
    if both:
        return Scalar("int-or-string")
    if hint is dict or typing.get_origin(hint) is dict:
        return _map(owner, name)
    if typing.get_origin(hint) is list:
        return _list(typing.get_args(hint)[0], owner, name)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return Struct(hint, atomic=hint.__name__ in ATOMIC_STRUCTS)
    if (owner, name) in QUANTITIES:
        return Scalar("quantity")
    return Scalar(_LEAVES.get(hint, "any"))


def _plain(hint: Any) -> tuple[Any, bool]:
    """Take ``Optional`` away; say whether it is int or string."""
    if typing.get_origin(hint) not in {Union, types.UnionType}:
        return hint, False
    members = [member for member in typing.get_args(hint) if member is not type(None)]
    return members[0], set(members) == {int, str}


def _map(owner: str, name: str) -> Node:
    if (owner, name) in UNTYPED:
        return ANY
    value = Scalar("quantity") if name in QUANTITY_MAPS else STRING
    return MapOf(value, atomic=(owner, name) in ATOMIC_MAPS)


def _list(item: Any, owner: str, name: str) -> ListOf:
    place = (owner, name)
    keys = MAP_LISTS.get(place, ())
    patch_key = PATCH_KEYS.get(place, keys[0] if keys else None)
    is_set = place in SET_LISTS
    return ListOf(_node(item, owner, name), keys, is_set=is_set, patch_key=patch_key)

"""The devices of a target: nodes, or clusters; also those of clusters that cannot be reached now.

What a cluster had is remembered in the coordination cluster whenever a release is given, so that a
cluster that is cut off still counts, as unreachable, in every plan and verdict.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from edgectl.api import Record, Target, UnreachableError
from edgectl_gke_edge._sdk import kinds, shared
from edgectl_gke_edge._sdk.account import Account, Answer
from edgectl_gke_edge._sdk.clusters import Cluster
from edgectl_gke_edge._sdk.kube import Asked, Kube
from edgectl_gke_edge.hardware import hardware_of, is_device
from edgectl_gke_edge.seen import Node, read_node
from edgectl_gke_edge.selector import Selector

MEMORY = "devices"


class Member(Record, frozen=True, kw_only=True):
    """A device of a target.

    Attributes:
        cluster: Its cluster.
        node: Its node's name; "" where the device is the cluster.
        hardware: Its profile, or None.
        seen: The node as it is now; None for a remembered one, and for a cluster.
        lost: Why its cluster cannot be reached, or "".
        raw: The vendor's word for that.
    """

    cluster: str
    node: str = ""
    hardware: str | None = None
    seen: Node | None = None
    lost: str = ""
    raw: str = ""

    @property
    def id(self) -> str:
        """The device's id."""
        return f"{self.cluster}/{self.node}" if self.node else self.cluster


class Found(Record, frozen=True, kw_only=True):
    """What a target has.

    Attributes:
        members: The devices, by id.
        lost: Clusters that cannot be reached, and why.
        unknown: Those of them of which nothing is remembered.
    """

    members: tuple[Member, ...]
    lost: dict[str, str] = {}
    unknown: tuple[str, ...] = ()


Memory = dict[str, dict[str, str]]
"""Cluster to node to hardware profile ("" for none)."""


_MEMORY = msgspec.json.Decoder(Memory)


def find(account: Account, target: Target) -> Found:
    """Return a target's devices.

    Raises:
        UnreachableError: Not one cluster answers, and nothing is remembered.
    """
    selector, clusters = account.of(target)
    answers = account.each(clusters, lambda c, kube: members_of(account, target, selector, c, kube))
    found = [member for answer in answers if answer.lost is None for member in answer.value]
    lost = {a.cluster.name: a.lost for a in answers if a.lost is not None}
    memory = (recall(account, target) if lost else None) or {}
    for name, error in lost.items():
        found += _remembered(name, memory.get(name, {}), error)
    unknown = tuple(sorted(name for name in lost if name not in memory))
    if lost and not found:
        raise next(iter(lost.values()))
    return Found(
        members=tuple(sorted(found, key=lambda member: member.id)),
        lost={name: error.message for name, error in lost.items()},
        unknown=unknown,
    )


def members_of(
    account: Account, target: Target, selector: Selector, cluster: Cluster, kube: Kube
) -> list[Member]:
    """Return the devices of one cluster that can be reached."""
    if account.config.workload == "deployment":
        kube.version()  # whether it answers at all
        return [Member(cluster=cluster.name, hardware=target.hardware)]
    return [
        Member(
            cluster=cluster.name,
            node=node.name,
            hardware=hardware_of(node, target.hardware),
            seen=node,
        )
        for node in nodes(account, selector, kube)
    ]


def nodes(account: Account, selector: Selector, kube: Kube) -> list[Node]:
    """Return the nodes of a cluster that a selector takes and our pods may run on."""
    asked = Asked("list nodes", kinds.Node, labels=dict(selector.nodes))
    found = account.mirror(kube, asked, read_node).look()
    tolerations = account.config.runtime.tolerations
    return sorted((n for n in found if is_device(n, tolerations)), key=lambda node: node.name)


def _remembered(name: str, known: dict[str, str], error: UnreachableError) -> Iterable[Member]:
    for node, hardware in sorted(known.items()):
        yield Member(
            cluster=name,
            node=node,
            hardware=hardware or None,
            lost=error.message,
            raw=error.vendor_code or "UNREACHABLE",
        )


def recall(account: Account, target: Target) -> Memory | None:
    """Return what was remembered.

    Where the coordination cluster does not answer it is what this process read last: devices of a
    cluster that is lost must not look as if they had never been given anything. None: nothing was
    read yet.
    """
    key = ("remembered", target.name)
    try:
        text = shared.SharedText(account, target, "", MEMORY).read()
    except UnreachableError:
        found = account.kept(key)
        return found if isinstance(found, dict) else None
    try:
        memory = _MEMORY.decode(text or "{}")
    except msgspec.DecodeError:
        memory = {}
    account.keep(key, memory)
    return memory


def remember(account: Account, target: Target, answers: Iterable[Answer[list[Member]]]) -> None:
    """Keep which devices the reachable clusters have; writes only where that changed."""
    now: Memory = {
        answer.cluster.name: {member.node: member.hardware or "" for member in answer.value}
        for answer in answers
        if answer.lost is None
    }
    known = recall(account, target) or {}
    _, clusters = account.of(target)
    taken = {cluster.name for cluster in clusters}
    wanted = {name: had for name, had in {**known, **now}.items() if name in taken}
    if wanted != known:
        text = msgspec.json.encode(wanted, order="sorted").decode()
        shared.SharedText(account, target, "", MEMORY).write(text)
        account.keep(("remembered", target.name), wanted)

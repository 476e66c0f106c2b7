"""``enroll`` and ``retire``: a node is said to be a device of a target, or not to be one any more.

Nodes come and go with their clusters; here a node gets the labels that the target's selector asks
for and its hardware profile, and the cluster the public key that its pods shall trust.
"""

from __future__ import annotations

from edgectl.api import (
    PROFILES,
    Device,
    EnrollRequest,
    EnrollResult,
    NotFoundError,
    PlanError,
    RetireRequest,
    RetireResult,
)
from edgectl_gke_edge import names
from edgectl_gke_edge._sdk import kinds
from edgectl_gke_edge._sdk.account import Account
from edgectl_gke_edge._sdk.clusters import Cluster
from edgectl_gke_edge._sdk.kube import Kube
from edgectl_gke_edge._sdk.publisher import trusted
from edgectl_gke_edge.pod import PUBLISHER_FILE
from edgectl_gke_edge.render import namespace, trust
from edgectl_gke_edge.seen import read_node


def enroll(account: Account, request: EnrollRequest) -> EnrollResult:
    """Label a node as a device of the target, and have its cluster trust the publisher.

    Raises:
        NotFoundError: The target has no such cluster, or the cluster no such node.
        PlanError: The name is none of a device, or the hardware is unknown.
    """
    if request.hardware not in PROFILES:
        raise PlanError(
            f"unknown hardware '{request.hardware}'", hint=f"known: {', '.join(PROFILES)}"
        )
    cluster, node = _place(account, request)
    kube = account.kube(cluster)
    selector, _ = account.of(request.target)
    notes = _trust(account, kube, request)
    if node:
        labels = {**selector.nodes, names.HARDWARE: request.hardware}
        labels |= {f"{names.LABEL}{key}": value for key, value in request.labels.items()}
        for key, value in labels.items():
            names.check_label(key, value)
        what = f"add node '{node}' of cluster '{cluster.name}'"
        account.mark(kube, what, node, {"labels": labels})
    device = Device(
        id=request.name,
        name=node or cluster.name,
        hardware=request.hardware,
        labels={"cluster": cluster.name, **request.labels},
    )
    return EnrollResult(device=device, files={}, notes=notes)


def retire(account: Account, request: RetireRequest) -> RetireResult:
    """Take the target's labels, and every release of ours, off a node.

    Raises:
        PlanError: The target's selector has no labels of nodes: every node is in it.
    """
    selector, clusters = account.of(request.target)
    name, _, node = request.device.partition("/")
    cluster = next((c for c in clusters if c.name == name), None)
    if cluster is None or not node:
        return RetireResult(removed=False)
    kube = account.kube(cluster)
    found = kube.get(f"look for node '{node}'", kinds.Node, node)
    if found is None:
        return RetireResult(removed=False)
    labels = read_node(found).labels
    if not selector.takes_node(labels):
        return RetireResult(removed=False)
    if not selector.nodes:
        raise PlanError(
            f"target '{request.target.name}' takes every node of cluster '{name}'",
            hint="select nodes by labels: {nodes: {edge: camera}}; or remove the node itself",
        )
    ours = {key for key in labels if key.startswith(f"{names.PREFIX}/")}
    gone = dict.fromkeys(sorted(ours | selector.nodes.keys()))
    what = f"remove '{request.device}' from target '{request.target.name}'"
    account.mark(kube, what, node, {"labels": gone})
    return RetireResult(removed=True)


def _place(account: Account, request: EnrollRequest) -> tuple[Cluster, str]:
    _, clusters = account.of(request.target)
    name, _, node = request.name.partition("/")
    cluster = next((c for c in clusters if c.name == name), None)
    if cluster is None:
        there = ", ".join(f"'{c.name}'" for c in clusters[:10]) or "none"
        raise NotFoundError(
            f"target '{request.target.name}' has no cluster '{name}'",
            hint=f"a device is CLUSTER/NODE; the target's clusters: {there}",
        )
    if account.config.workload == "daemonset":
        if not node:
            raise PlanError(
                f"'{request.name}' names no node",
                hint=f"a device is CLUSTER/NODE, for example {name}/NODE",
            )
        kube = account.kube(cluster)
        if kube.get(f"look for node '{node}'", kinds.Node, node) is None:
            raise NotFoundError(
                f"cluster '{name}' has no node '{node}'",
                hint="a node joins its cluster first; then it can be added here",
            )
    return cluster, node if account.config.workload == "daemonset" else ""


def _trust(account: Account, kube: Kube, request: EnrollRequest) -> tuple[str, ...]:
    config, application = account.config, request.application
    if config.publisher_key_path is not None:
        path = f"{config.publisher_key_path}/{PUBLISHER_FILE}"
        return (f"put the publisher's public key on the node as {path}",)
    known = trusted(account, kube, application)
    if known == request.publisher_key:
        return ()
    if config.namespace is None:
        kube.apply("apply the namespace", namespace(config, application))
    kube.apply("apply the publisher's key", trust(config, application, request.publisher_key))
    if not known:
        return ()
    return (f"pods of cluster '{kube.cluster}' trust another publisher's key from now on",)

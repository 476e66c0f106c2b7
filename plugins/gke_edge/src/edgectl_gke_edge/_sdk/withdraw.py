"""``withdraw``: take a release back from devices that have not finished it, or remove everything.

Only what we made is removed: our labels on nodes, and objects in the application's namespace that
have our label. The namespace itself stays, and so does the key that pods trust.
"""

from __future__ import annotations

from collections.abc import Iterable

from edgectl.api import ObserveRequest, WithdrawRequest, WithdrawResult
from edgectl_gke_edge import names
from edgectl_gke_edge._sdk import fleet, kinds
from edgectl_gke_edge._sdk.account import Account
from edgectl_gke_edge._sdk.clusters import Cluster
from edgectl_gke_edge._sdk.give import Giving, remove_release
from edgectl_gke_edge._sdk.kube import Kube
from edgectl_gke_edge._sdk.observe import observe
from edgectl_gke_edge._sdk.releases import packaged
from edgectl_gke_edge.seen import Node
from edgectl_gke_edge.states import device_id

_SHARED = (kinds.Service, kinds.NetworkPolicy, kinds.PodDisruptionBudget, kinds.ServiceAccount)


def withdraw(account: Account, request: WithdrawRequest) -> WithdrawResult:
    """Take the release back, or remove the application."""
    if request.release is None:
        return WithdrawResult(devices=_each(account, request, None))
    return WithdrawResult(devices=_each(account, request, _unfinished(account, request)))


def _unfinished(account: Account, request: WithdrawRequest) -> set[str]:
    asked = ObserveRequest(
        target=request.target,
        application=request.application,
        release=request.release,
        devices=request.devices,
    )
    return {
        status.device for status in observe(account, asked).states if not status.state.is_settled
    }


def _each(account: Account, request: WithdrawRequest, devices: set[str] | None) -> tuple[str, ...]:
    selector, clusters = account.of(request.target)
    if account.config.workload == "deployment":
        return _clusters(account, request, clusters, devices)

    def work(cluster: Cluster, kube: Kube) -> list[str]:
        nodes = fleet.nodes(account, selector, kube)
        wanted = [
            node
            for node in nodes
            if (devices is None or device_id(cluster.name, node.name) in devices)
            and (request.devices is None or device_id(cluster.name, node.name) in request.devices)
        ]
        taken = _off_nodes(account, kube, request, wanted)
        if request.release is None and request.devices is None:
            _remove_all(account, kube, request.application)
        return [device_id(cluster.name, name) for name in taken]

    answers = account.each(clusters, work)
    return tuple(sorted(d for answer in answers if answer.lost is None for d in answer.value))


def _clusters(
    account: Account, request: WithdrawRequest, clusters: list[Cluster], devices: set[str] | None
) -> tuple[str, ...]:
    """Take a release off clusters: bring what each had before back, or remove the application."""

    def work(cluster: Cluster, kube: Kube) -> list[str]:
        application = request.application
        what = f"look for '{application}'"
        namespace, name = account.namespace(application), names.slug(application)
        found = kube.get(what, kinds.Deployment, name, namespace)
        if found is None:
            return []
        if request.release is None:
            _remove_all(account, kube, application)
            return [cluster.name]
        former = str((found["metadata"].get("annotations") or {}).get(names.FORMER, "0"))
        if former.isdigit() and int(former) > 0:
            hardware = str(found["metadata"]["labels"].get(names.HARDWARE, "")) or None
            release = packaged(account, application, int(former))
            Giving(account, kube, release).to_cluster(hardware)
        else:
            kube.delete(f"remove Deployment '{name}'", kinds.Deployment, name, namespace)
        return [cluster.name]

    wanted = [
        cluster
        for cluster in clusters
        if (devices is None or cluster.name in devices)
        and (request.devices is None or cluster.name in request.devices)
    ]
    answers = account.each(wanted, work)
    return tuple(sorted(d for answer in answers if answer.lost is None for d in answer.value))


def _off_nodes(
    account: Account, kube: Kube, request: WithdrawRequest, nodes: Iterable[Node]
) -> list[str]:
    """Take labels off nodes; the names of those that had one."""
    todo = []
    for node in nodes:
        given = names.releases_on(node.labels, request.application)
        numbers = [n for n in given if request.release in {None, n}]
        if numbers:
            todo.append((node, numbers))

    def take(one: tuple[Node, list[int]]) -> str:
        node, numbers = one
        labels = {names.release_key(request.application, n): None for n in numbers}
        what = f"take '{request.application}' off node '{node.name}'"
        account.mark(kube, what, node.name, {"labels": labels})
        return node.name

    return account.at_once(take, todo)


def _remove_all(account: Account, kube: Kube, application: str) -> None:
    """Remove the application from a cluster, unless another target has it there."""
    namespace = account.namespace(application)
    ours = {names.APPLICATION: names.slug(application), names.MANAGED_BY: names.FIELD_MANAGER}
    what = f"look for what '{application}' has"
    sets = kube.list(what, kinds.DaemonSet, namespace, ours)
    kept = 0
    for number in sorted({int(s["metadata"]["labels"].get(names.RELEASE, "0")) for s in sets}):
        key = names.release_key(application, number)
        if kube.list("look for nodes that have it", kinds.Node, labels={key: None}):
            kept += 1
            continue
        remove_release(account, kube, application, sets, number)
    if kept:
        return
    for kind in (kinds.Deployment, *_SHARED):
        for found in kube.list(what, kind, namespace, ours):
            name = found["metadata"]["name"]
            kube.delete(f"remove {kind.__name__} '{name}'", kind, name, namespace)
    for found in kube.list(what, kinds.ConfigMap, namespace, ours):
        name = found["metadata"]["name"]
        if name != names.trust_name(application):
            kube.delete(f"remove ConfigMap '{name}'", kinds.ConfigMap, name, namespace)

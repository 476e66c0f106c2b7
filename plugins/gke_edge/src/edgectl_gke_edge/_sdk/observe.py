"""``observe``: where each device stands, by what is known of a cluster's nodes and of our pods.

While a rollout is looked at (a release is asked about), it also brings a device's change to its
end: once the new pod has proved itself, the label of the release before is taken off the node, and
the pod before ends. That is one patch a node, and the same twice; an operator who is killed in
between leaves two pods that answer, and whoever looks next goes on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from edgectl.api import (
    DeviceReport,
    DeviceStatus,
    EdgectlError,
    ObservePage,
    ObserveRequest,
    Reason,
    State,
)
from edgectl_gke_edge import names
from edgectl_gke_edge._sdk import fleet, kinds
from edgectl_gke_edge._sdk.account import Account
from edgectl_gke_edge._sdk.clusters import Cluster
from edgectl_gke_edge._sdk.give import number_of
from edgectl_gke_edge._sdk.kube import Asked, Kube
from edgectl_gke_edge.seen import Node, Pod, read_pod, read_report
from edgectl_gke_edge.selector import Selector
from edgectl_gke_edge.states import (
    Look,
    Patience,
    by_node,
    judge,
    node_look,
    superseded_by,
    unreachable,
    write_refused,
)

REPORT_PATH = "edgectl/report"
Document = dict[str, Any]


def observe(account: Account, request: ObserveRequest) -> ObservePage:
    """Return where each device of the target stands, on one page.

    Raises:
        UnreachableError: A cluster does not answer, and what it has is not remembered.
    """
    selector, clusters = account.of(request.target)
    answers = account.each(
        clusters, lambda c, kube: _ClusterLook(account, request, selector, c, kube).statuses()
    )
    found = [status for answer in answers if answer.lost is None for status in answer.value]
    lost = {answer.cluster.name: answer.lost for answer in answers if answer.lost is not None}
    if lost:
        memory = fleet.recall(account, request.target)
        if memory is None:
            raise next(iter(lost.values()))
        for name, error in lost.items():
            found += _silent(name, memory.get(name, {}), request, error)
    wanted = (s for s in found if request.devices is None or s.device in request.devices)
    return ObservePage(states=tuple(sorted(wanted, key=lambda status: status.device)))


def _silent(
    cluster: str, nodes: Iterable[str], request: ObserveRequest, error: EdgectlError
) -> Iterable[DeviceStatus]:
    for node in sorted(nodes):
        device = f"{cluster}/{node}" if node else cluster
        yield unreachable(device, request.release, error.message, error.vendor_code)


class _ClusterLook:
    """One look at one cluster."""

    def __init__(
        self,
        account: Account,
        request: ObserveRequest,
        selector: Selector,
        cluster: Cluster,
        kube: Kube,
    ) -> None:
        self._account = account
        self._request = request
        self._selector = selector
        self._cluster = cluster
        self._kube = kube
        config = account.config
        self._patience = Patience(
            progress_s=config.progress_deadline_s, unreachable_s=config.unreachable_after_s
        )

    def statuses(self) -> list[DeviceStatus]:
        """Return where the cluster's devices stand."""
        looks = self._looks()
        now = self._kube.now()
        found = []
        for look in looks:
            status = judge(look, self._request.release, now=now, patience=self._patience)
            if status is not None:
                found.append((look, status))
        if self._request.release is None:
            return [status for _, status in found]
        moving = [(look, status) for look, status in found if _may_move(look, status)]
        changed = self._account.at_once(lambda one: self._settled(*one), moving)
        moved = {status.device: status for status in changed}
        return [moved.get(status.device, status) for _, status in found]

    def _looks(self) -> list[Look]:
        application = self._request.application
        namespace = self._account.namespace(application)
        labels = {
            names.APPLICATION: names.slug(application),
            names.ROLE: names.RUNTIME_ROLE,
        }
        asked = Asked(f"list pods of '{application}'", kinds.Pod, namespace, labels)
        pods = self._account.mirror(self._kube, asked, read_pod).look()
        if self._account.config.workload == "deployment":
            return cluster_looks(self._account, self._kube, application, pods)
        on = by_node(pods)
        return [
            node_look(self._cluster.name, node, application, on.get(node.name, ()))
            for node in fleet.nodes(self._account, self._selector, self._kube)
        ]

    def _settled(self, look: Look, status: DeviceStatus) -> DeviceStatus:
        """Bring a device's change to its end, once its new pod has proved itself or failed."""
        if status.state is State.FAILED and look.node is not None:
            return self._restored(look, look.node, status)
        if status.state is not State.HEALTHY or look.node is None:
            return status
        older = superseded_by(look, status)
        pod = next((p for p in look.pods if p.release == status.release and p.is_ready), None)
        if pod is None:
            return status
        if older:
            status = self._with_report(status, pod)
        if status.state is State.HEALTHY and older:
            self._let_go(look, older)
        return status

    def _with_report(self, status: DeviceStatus, pod: Pod) -> DeviceStatus:
        """Ask the runtime itself before the pod before is let go: it counts its own faults."""
        port = self._account.config.runtime.port
        namespace = self._account.namespace(self._request.application)
        try:
            data = self._kube.ask_pod("ask the runtime", pod.name, namespace, port, REPORT_PATH)
        except EdgectlError:
            return status  # the kubelet's probes have said that it answers
        report = read_report(data.decode(errors="replace"))
        return status if report is None else _judged(status, report)

    def _restored(self, look: Look, node: Node, status: DeviceStatus) -> DeviceStatus:
        """Bring the release before back where it had to end before the new one could begin."""
        application = self._request.application
        former = node.annotations.get(names.former_key(application), "")
        number, _, hardware = former.partition("=")
        if not hardware or not number.isdigit() or len(look.given) > 1:
            return status
        labels = {
            names.release_key(application, status.release): None,
            names.release_key(application, int(number)): hardware,
        }
        marks = {
            names.former_key(application): None,
            names.refused_key(application): write_refused(status),
        }
        what = f"bring the release before back to node '{node.name}'"
        metadata = {"labels": labels, "annotations": marks}
        self._account.mark(self._kube, what, node.name, metadata)
        return status

    def _let_go(self, look: Look, older: Iterable[int]) -> None:
        application = self._request.application
        labels = {names.release_key(application, number): None for number in older}
        if look.node is not None:
            what = f"take the release before off node '{look.node.name}'"
            self._account.mark(self._kube, what, look.node.name, {"labels": labels})


def _may_move(look: Look, status: DeviceStatus) -> bool:
    """Whether a device's change may be brought to its end now; most of a fleet is past that."""
    if look.node is None:
        return False
    if status.state is State.FAILED:
        return True
    return status.state is State.HEALTHY and bool(superseded_by(look, status))


def _judged(status: DeviceStatus, report: DeviceReport) -> DeviceStatus:
    """Return the status as the runtime's own report has it."""
    if report.state is State.HEALTHY:
        return msgspec.structs.replace(
            status,
            variant=report.variant or status.variant,
            execution_provider=report.provider or status.execution_provider,
        )
    if report.state.is_failure:
        return msgspec.structs.replace(
            status,
            state=State.ROLLED_BACK,
            reason=report.reason or Reason.SOAK_FAILED,
            detail=report.detail,
        )
    return msgspec.structs.replace(status, state=State.VERIFYING, detail=report.detail)


def cluster_looks(account: Account, kube: Kube, application: str, pods: list[Pod]) -> list[Look]:
    """Return the cluster as one device, or nothing where it does not have the application."""
    found = kube.get(
        f"look for '{application}'",
        kinds.Deployment,
        names.slug(application),
        account.namespace(application),
    )
    if found is None:
        return []
    former = str((found["metadata"].get("annotations") or {}).get(names.FORMER, "0"))
    given = {number_of(found), int(former) if former.isdigit() else 0} - {0}
    replicas = int((found.get("spec") or {}).get("replicas") or account.config.replicas)
    return [
        Look(device=kube.cluster, given=tuple(sorted(given)), pods=tuple(pods), replicas=replicas)
    ]

"""``deploy``: give a release to devices; who has it already is left alone.

Clusters are worked on side by side. One that cannot be reached gets nothing and stops nobody: its
devices are told as unreachable, and a rerun gives them the release when it is back.
"""

from __future__ import annotations

from collections.abc import Iterable

from edgectl.api import DeployRequest, DeployResult, NotFoundError
from edgectl_gke_edge import names
from edgectl_gke_edge._sdk import fleet, kinds
from edgectl_gke_edge._sdk.account import Account, Answer
from edgectl_gke_edge._sdk.clusters import Cluster
from edgectl_gke_edge._sdk.fleet import Member, members_of
from edgectl_gke_edge._sdk.give import Giving
from edgectl_gke_edge._sdk.kube import Kube
from edgectl_gke_edge._sdk.releases import Packaged, packaged

Given = tuple[list[str], list[str]]


def deploy(account: Account, request: DeployRequest) -> DeployResult:
    """Give the release to the named devices.

    Raises:
        NotFoundError: A device is not in the target, or the release was not packaged.
        ConflictError: Another field manager owns what would be written.
    """
    if not request.devices:
        return DeployResult()
    release = packaged(account, request.release.application, request.release.number)
    selector, clusters = account.of(request.target)
    looked = account.each(
        clusters, lambda c, kube: members_of(account, request.target, selector, c, kube)
    )
    _check_known(account, request, looked)
    fleet.remember(account, request.target, looked)
    wanted = set(request.devices)
    chosen = {
        answer.cluster.name: [member for member in answer.value if member.id in wanted]
        for answer in looked
        if answer.lost is None
    }

    def give(cluster: Cluster, kube: Kube) -> Given:
        return _give(account, kube, release, chosen[cluster.name])

    answers = account.each([c for c in clusters if chosen.get(c.name)], give)
    done = [answer.value for answer in answers if answer.lost is None]
    assigned = {device for one, _ in done for device in one}
    unchanged = {device for _, one in done for device in one}
    order = tuple(dict.fromkeys(request.devices))
    return DeployResult(
        assigned=tuple(device for device in order if device in assigned),
        unchanged=tuple(device for device in order if device in unchanged),
    )


def _check_known(
    account: Account, request: DeployRequest, looked: Iterable[Answer[list[Member]]]
) -> None:
    answers = list(looked)
    known = {member.id for a in answers if a.lost is None for member in a.value}
    lost = {a.cluster.name for a in answers if a.lost is not None}
    missing = [
        device
        for device in request.devices
        if device not in known and device.partition("/")[0] not in lost
    ]
    if not missing:
        return
    listed = ", ".join(f"'{device}'" for device in missing[:5])
    more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
    kind = "nodes" if account.config.workload == "daemonset" else "clusters"
    raise NotFoundError(
        f"target '{request.target.name}' has no {listed}{more}",
        hint=f"`edgectl devices list` shows a target's devices: {kind} that its selector finds",
    )


def _give(account: Account, kube: Kube, release: Packaged, members: list[Member]) -> Given:
    document = release.document
    giving = Giving(account, kube, release)
    if account.config.workload == "deployment":
        (member,) = members
        if _has(account, kube, document.application, document.number):
            return [], [member.id]
        giving.to_cluster(member.hardware)
        return [member.id], []
    key = names.release_key(document.application, document.number)
    had = [m.id for m in members if m.seen is not None and key in m.seen.labels]
    todo = [m for m in members if m.seen is not None and key not in m.seen.labels]
    if todo:
        giving.to_nodes((m.seen for m in todo if m.seen is not None), _default(todo))
    return [member.id for member in todo], had


def _default(members: list[Member]) -> str | None:
    """Return the profile that members without a label of their own have: the target's."""
    return next((m.hardware for m in members if m.hardware), None)


def _has(account: Account, kube: Kube, application: str, number: int) -> bool:
    found = kube.get(
        f"look for '{application}'",
        kinds.Deployment,
        names.slug(application),
        account.namespace(application),
    )
    labels = ((found or {}).get("metadata") or {}).get("labels") or {}
    return labels.get(names.RELEASE) == str(number)

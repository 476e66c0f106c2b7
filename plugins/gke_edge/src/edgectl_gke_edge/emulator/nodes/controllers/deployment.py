"""Deployments: one ReplicaSet a template, scaled against each other while one replaces another.

Source: kubernetes.io, "Deployments"; the annotations are kube-controller-manager's.
"""

from __future__ import annotations

import copy

import msgspec

from edgectl_gke_edge.emulator.nodes.api import Api, Obj
from edgectl_gke_edge.emulator.nodes.controllers.base import Controller
from edgectl_gke_edge.emulator.nodes.controllers.daemonset import number_of
from edgectl_gke_edge.emulator.nodes.informer import Informer
from edgectl_gke_edge.emulator.nodes.podfacts import (
    age_s,
    condition,
    is_going,
    is_owned_by,
    owner_reference,
    template_hash,
    timestamp,
)

HASH = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
_LOOK_S = 1.0


class Scaling(msgspec.Struct, frozen=True, kw_only=True):
    """How many pods each ReplicaSet is to have: its name to a number."""

    sizes: dict[str, int]


def replicas_of(obj: Obj) -> int:
    """Return how many pods are asked for."""
    found = obj["spec"].get("replicas")
    return 1 if found is None else int(found)


def counted(obj: Obj, key: str) -> int:
    """Return a number of a status."""
    return int((obj.get("status") or {}).get(key) or 0)


def bounds(deployment: Obj) -> tuple[int, int]:
    """Return the most pods there may be and the fewest that have to be available."""
    wanted = replicas_of(deployment)
    rolling = (deployment["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    surge = number_of(rolling.get("maxSurge", "25%"), wanted, default=1, up=True)
    missing = number_of(rolling.get("maxUnavailable", "25%"), wanted, default=0, up=False)
    if surge == 0 and missing == 0:
        missing = 1
    return wanted + surge, max(wanted - missing, 0)


def scale(deployment: Obj, new: Obj, old: list[Obj]) -> Scaling:
    """Return the next sizes of a Deployment's ReplicaSets."""
    wanted = replicas_of(deployment)
    name = new["metadata"]["name"]
    sizes = {one["metadata"]["name"]: replicas_of(one) for one in [new, *old]}
    if (deployment["spec"].get("strategy") or {}).get("type") == "Recreate":
        for one in old:
            sizes[one["metadata"]["name"]] = 0
        gone = not any(counted(one, "replicas") for one in old)
        sizes[name] = wanted if gone else sizes[name]
        return Scaling(sizes=sizes)
    most, fewest = bounds(deployment)
    if sizes[name] > wanted:
        sizes[name] = wanted
    else:
        room = most - sum(sizes.values())
        sizes[name] = min(wanted, sizes[name] + max(room, 0))
    available = sum(counted(one, "availableReplicas") for one in [new, *old])
    # What is not available is taken away first: it serves nobody.
    pending = max(sizes[name] - counted(new, "availableReplicas"), 0)
    removable = sum(sizes.values()) - fewest - pending
    for one in sorted(old, key=lambda o: o["metadata"].get("creationTimestamp") or ""):
        unready = max(sizes[one["metadata"]["name"]] - counted(one, "availableReplicas"), 0)
        take = min(unready, max(removable, 0))
        sizes[one["metadata"]["name"]] -= take
        removable -= take
    spare = max(available - fewest, 0)
    for one in sorted(old, key=lambda o: o["metadata"].get("creationTimestamp") or ""):
        take = min(sizes[one["metadata"]["name"]], spare, max(removable, 0))
        sizes[one["metadata"]["name"]] -= take
        spare -= take
        removable -= take
    return Scaling(sizes=sizes)


def revision_of(obj: Obj) -> int:
    """Return the revision that a ReplicaSet or Deployment says it is; 0 for none."""
    text = (obj["metadata"].get("annotations") or {}).get(REVISION, "0")
    return int(text) if text.isdecimal() else 0


class Deployments(Controller):
    """Keeps Deployments.

    Args:
        api: The API server.
        deployments: All Deployments.
        replicasets: All ReplicaSets.
    """

    def __init__(self, api: Api, deployments: Informer, replicasets: Informer) -> None:
        super().__init__(api, "deployments", deployments)
        self._replicasets = replicasets
        replicasets.on_change(self.wake_owner("Deployment", replicasets))

    async def sync(self, key: str) -> float | None:
        """Bring one Deployment a step on."""
        deployment = self.objects.get(key)
        if deployment is None or is_going(deployment):
            return None
        own = [r for r in self._replicasets.items.values() if is_owned_by(r, deployment)]
        digest = template_hash(deployment["spec"]["template"])
        new = next((r for r in own if r["metadata"]["labels"].get(HASH) == digest), None)
        old = [r for r in own if r is not new]
        paused = bool(deployment["spec"].get("paused"))
        if new is None and not paused:
            new = await self._make(deployment, digest, own)
        if new is not None and not paused:
            new = await self._renumber(deployment, new, old)
            for one in [new, *old]:
                size = scale(deployment, new, old).sizes[one["metadata"]["name"]]
                await self._resize(one, size)
            await self._clean_up(deployment, old)
        return await self._tell(deployment, new, [*old, *([new] if new else [])])

    async def _make(self, deployment: Obj, digest: str, own: list[Obj]) -> Obj:
        meta, spec = deployment["metadata"], deployment["spec"]
        template = copy.deepcopy(spec["template"])
        labels = {**(template.get("metadata", {}).get("labels") or {}), HASH: digest}
        template.setdefault("metadata", {})["labels"] = labels
        selector = copy.deepcopy(spec["selector"])
        selector.setdefault("matchLabels", {})[HASH] = digest
        number = max([revision_of(one) for one in own], default=0) + 1
        body = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": f"{meta['name']}-{digest}",
                "namespace": meta["namespace"],
                "labels": labels,
                "annotations": {**_own_annotations(meta), REVISION: str(number)},
                "ownerReferences": [owner_reference(deployment, "apps/v1", "Deployment")],
            },
            "spec": {
                "replicas": 0,
                "selector": selector,
                "template": template,
                "minReadySeconds": spec.get("minReadySeconds") or 0,
            },
        }
        made = await self.api.create("replicasets", meta["namespace"], body)
        self._replicasets.put(made)
        return made

    async def _renumber(self, deployment: Obj, new: Obj, old: list[Obj]) -> Obj:
        """Give a template that came back the newest number, as a roll-back has it."""
        meta = deployment["metadata"]
        newest = max([revision_of(one) for one in old], default=0)
        number = revision_of(new)
        if number <= newest:
            number = newest + 1
            body = {"metadata": {"annotations": {REVISION: str(number)}}}
            name = new["metadata"]["name"]
            new = await self.api.patch("replicasets", meta["namespace"], name, body)
            self._replicasets.put(new)
        if revision_of(deployment) != number:
            body = {"metadata": {"annotations": {REVISION: str(number)}}}
            self.objects.put(
                await self.api.patch("deployments", meta["namespace"], meta["name"], body)
            )
        return new

    async def _resize(self, replicaset: Obj, size: int) -> None:
        if replicas_of(replicaset) == size:
            return
        meta = replicaset["metadata"]
        body = {"spec": {"replicas": size}}
        self._replicasets.put(
            await self.api.patch("replicasets", meta["namespace"], meta["name"], body)
        )

    async def _clean_up(self, deployment: Obj, old: list[Obj]) -> None:
        limit = deployment["spec"].get("revisionHistoryLimit")
        empty = [r for r in old if not replicas_of(r) and not counted(r, "replicas")]
        empty.sort(key=revision_of)
        for one in empty[: max(len(empty) - (10 if limit is None else limit), 0)]:
            await self.api.delete("replicasets", one)

    async def _tell(self, deployment: Obj, new: Obj | None, own: list[Obj]) -> float | None:
        current = self.objects.get(f"{deployment['metadata']['namespace']}/{_name(deployment)}")
        deployment = current or deployment
        status = status_of(deployment, new, own)
        await self.write_status(deployment, status)
        progressing = next(c for c in status["conditions"] if c["type"] == "Progressing")
        return (
            _LOOK_S if progressing["reason"] not in ("NewReplicaSetAvailable", "Paused") else None
        )


def status_of(deployment: Obj, new: Obj | None, own: list[Obj]) -> Obj:
    """Return a Deployment's status."""
    wanted = replicas_of(deployment)
    total = sum(counted(one, "replicas") for one in own)
    available = sum(counted(one, "availableReplicas") for one in own)
    updated = 0 if new is None else counted(new, "replicas")
    complete = new is not None and (
        updated == wanted
        and total == wanted
        and counted(new, "availableReplicas") == wanted
        and replicas_of(new) == wanted
    )
    _, fewest = bounds(deployment)
    conditions = [
        _condition(
            deployment,
            "Available",
            available >= fewest,
            "MinimumReplicasAvailable" if available >= fewest else "MinimumReplicasUnavailable",
            "Deployment has minimum availability."
            if available >= fewest
            else "Deployment does not have minimum availability.",
        ),
        _progressing(deployment, new, updated, total, available, complete=complete),
    ]
    failed = next((c for one in own if (c := condition(one, "ReplicaFailure"))), None)
    if failed is not None:
        conditions.append(
            _condition(deployment, "ReplicaFailure", True, failed["reason"], failed["message"])
        )
    return {
        "replicas": total,
        "updatedReplicas": updated,
        "readyReplicas": sum(counted(one, "readyReplicas") for one in own),
        "availableReplicas": available,
        "unavailableReplicas": max(wanted - available, 0),
        "observedGeneration": deployment["metadata"].get("generation", 1),
        "conditions": conditions,
    }


def _progressing(
    deployment: Obj, new: Obj | None, updated: int, total: int, available: int, *, complete: bool
) -> Obj:
    name = "" if new is None else new["metadata"]["name"]
    before = condition(deployment, "Progressing")
    if deployment["spec"].get("paused"):
        text = "Deployment is paused"
        return _condition(deployment, "Progressing", True, "DeploymentPaused", text)
    if complete:
        text = f'ReplicaSet "{name}" has successfully progressed.'
        return _condition(deployment, "Progressing", True, "NewReplicaSetAvailable", text)
    moved = (updated, total, available) != (
        counted(deployment, "updatedReplicas"),
        counted(deployment, "replicas"),
        counted(deployment, "availableReplicas"),
    )
    text = f'ReplicaSet "{name}" is progressing.'
    is_new = before is None or name not in (before.get("message") or "")
    if before is None or moved or is_new or before.get("reason") == "NewReplicaSetAvailable":
        found = _condition(deployment, "Progressing", True, "ReplicaSetUpdated", text)
        return {**found, "lastUpdateTime": timestamp()}
    limit = deployment["spec"].get("progressDeadlineSeconds") or 600
    if (
        before.get("reason") == "ProgressDeadlineExceeded"
        or age_s(before["lastUpdateTime"]) > limit
    ):
        text = f'ReplicaSet "{name}" has timed out progressing.'
        return _condition(deployment, "Progressing", False, "ProgressDeadlineExceeded", text)
    return before


def _condition(deployment: Obj, kind: str, holds: bool, reason: str, message: str) -> Obj:
    before = condition(deployment, kind)
    now = timestamp()
    new = {"type": kind, "status": str(holds), "reason": reason, "message": message}
    if before is None:
        return {**new, "lastUpdateTime": now, "lastTransitionTime": now}
    if all(before.get(key) == value for key, value in new.items()):
        return before
    since = before["lastTransitionTime"] if before["status"] == new["status"] else now
    return {**new, "lastUpdateTime": now, "lastTransitionTime": since}


def _own_annotations(meta: Obj) -> dict[str, str]:
    skipped = ("kubectl.kubernetes.io/", "deployment.kubernetes.io/")
    annotations = meta.get("annotations") or {}
    return {key: value for key, value in annotations.items() if not key.startswith(skipped)}


def _name(obj: Obj) -> str:
    return str(obj["metadata"]["name"])

"""How objects end: grace, finalizers, owners, namespaces; and what a new namespace is given.

This does what the API server does at a delete, and beside it the two controllers without which a
cluster cannot be used: garbage collection by owner, and the emptying of namespaces. Both run on
the server's loop shortly after a change.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from edgectl_gke_edge.emulator.kube import quota, strategy
from edgectl_gke_edge.emulator.kube.errors import Cause, Json, Place, StatusError, conflict, invalid
from edgectl_gke_edge.emulator.kube.kinds import KINDS, Kind, kind_of
from edgectl_gke_edge.emulator.kube.requests import Call, Target
from edgectl_gke_edge.emulator.kube.store import Event, Store
from edgectl_gke_edge.emulator.kube.ties import Ties

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
_COLLECT_AFTER_S = 0.02
# An owner may be created after what it owns is seen; only then is its absence believed.
_ABSENT_OWNER_AFTER_S = 1.0
_POD = kind_of("", "pods")
_NAMESPACE = kind_of("", "namespaces")
_QUOTA = kind_of("", "resourcequotas")


@dataclass(frozen=True)
class DeleteOptions:
    """``DeleteOptions`` of a body or query."""

    grace_s: int | None = None
    propagation: str = ""
    uid: str = ""
    resource_version: str = ""

    @classmethod
    def read(cls, body: Json, query: dict[str, str]) -> DeleteOptions:
        """Read them; the body counts before the query.

        Raises:
            StatusError: 422 for a propagation policy that there is not.
        """
        grace = body.get("gracePeriodSeconds", query.get("gracePeriodSeconds"))
        policy = body.get("propagationPolicy") or query.get("propagationPolicy", "")
        if policy not in {"", "Background", "Foreground", "Orphan"}:
            told = f'Unsupported value: "{policy}": supported values: '
            told += '"Background", "Foreground", "Orphan", "nil"'
            cause = Cause("FieldValueNotSupported", told, "propagationPolicy")
            raise invalid("DeleteOptions", "meta.k8s.io", "", [cause])
        conditions = body.get("preconditions") or {}
        return cls(
            grace_s=None if grace is None else int(grace),
            propagation=policy,
            uid=conditions.get("uid", ""),
            resource_version=conditions.get("resourceVersion", ""),
        )


class Lifecycle:
    """Deletes objects and clears up after them.

    Args:
        store: The cluster's objects.
        ca: The cluster's CA certificate, PEM, which every namespace is given.
    """

    def __init__(self, store: Store, ca: str) -> None:
        self._store = store
        self._ca = ca
        store.listen(self._count)
        self._ties = Ties(store)
        self._planned: asyncio.TimerHandle | None = None
        self._late: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Make the namespaces that every cluster has, and clear up what a restart left."""
        for name in NAMESPACES:
            if self._store.get(_NAMESPACE, "", name) is None:
                self._make(_NAMESPACE, "", name, {})
        for namespace in self._store.objects(_NAMESPACE):
            self._furnish(namespace["metadata"]["name"])
        self._plan()

    def stop(self) -> None:
        """Plan nothing more."""
        for timer in (self._planned, self._late):
            if timer is not None:
                timer.cancel()

    def _make(self, kind: Kind, namespace: str, name: str, content: Json) -> None:
        from_client = {"metadata": {"name": name}, **content}
        obj = strategy.for_create(kind, from_client, namespace)
        if kind is _NAMESPACE:
            obj["metadata"]["labels"] = {"kubernetes.io/metadata.name": name}
        obj = strategy.finish_create(kind, obj, ())
        self._store.put(kind, {"apiVersion": kind.api_version, "kind": kind.kind, **obj})

    def _furnish(self, namespace: str) -> None:
        """Give a namespace its service account and the cluster's CA."""
        accounts, maps = kind_of("", "serviceaccounts"), kind_of("", "configmaps")
        if self._store.get(accounts, namespace, "default") is None:
            self._make(accounts, namespace, "default", {})
        if self._store.get(maps, namespace, "kube-root-ca.crt") is None:
            self._make(maps, namespace, "kube-root-ca.crt", {"data": {"ca.crt": self._ca}})

    def _count(self, event: Event) -> None:
        """Keep quotas' status when something comes, ends or goes."""
        namespace = event.object["metadata"].get("namespace", "")
        if namespace and self._store.objects(_QUOTA, namespace):
            quota.refresh(self._store, namespace)

    def created(self, kind: Kind, obj: Json) -> None:
        """React to a new object."""
        if kind is _NAMESPACE:
            self._furnish(obj["metadata"]["name"])
        if self._ties.is_orphan(obj):
            self._plan_late()

    def updated(self, kind: Kind, obj: Json) -> Json:
        """React to a changed object: one whose last finalizer went is removed."""
        if not obj["metadata"].get("deletionTimestamp"):
            return obj
        self._plan_for(kind, obj)
        if self._finished(kind, obj):
            return self._store.remove(kind, obj)
        return obj

    @staticmethod
    def _finished(kind: Kind, obj: Json) -> bool:
        metadata = obj["metadata"]
        waits = kind is _NAMESPACE or metadata.get("deletionGracePeriodSeconds", 0) > 0
        return not metadata.get("finalizers") and not waits

    def delete(
        self, target: Target, call: Call, options: DeleteOptions, obj: Json
    ) -> tuple[Json, bool]:
        """Delete an object; return its last state and whether it is gone already.

        Raises:
            StatusError: 403 for a namespace of the system, 409 for a precondition that fails.
        """
        _check_preconditions(target, options, obj)
        kind = target.kind
        if kind is _NAMESPACE and target.name in NAMESPACES:
            raise StatusError(
                403,
                "Forbidden",
                f'namespaces "{target.name}" is forbidden: this namespace may not be deleted',
                {"name": target.name, "kind": "namespaces"},
            )
        marked, gone = self._marked(kind, obj, options)
        if call.dry_run:
            return marked, gone
        if gone:
            self._plan_for(kind, obj)
            return self._store.remove(kind, marked), True
        if marked is not obj:
            marked = self._store.put(kind, marked)
        self._plan_for(kind, marked)
        return marked, False

    def _marked(self, kind: Kind, obj: Json, options: DeleteOptions) -> tuple[Json, bool]:
        """Return an object as a delete leaves it, and whether nothing keeps it."""
        metadata = dict(obj["metadata"])
        finalizers = list(metadata.get("finalizers", []))
        wanted = {"Foreground": FOREGROUND, "Orphan": ORPHAN}.get(options.propagation)
        if wanted and wanted not in finalizers and self._dependents(metadata["uid"]):
            finalizers.append(wanted)
        grace = _grace(kind, obj, options)
        already = "deletionTimestamp" in metadata
        if (
            already
            and grace >= metadata.get("deletionGracePeriodSeconds", 0)
            and (finalizers == metadata.get("finalizers", []))
        ):
            waits = bool(finalizers) or grace > 0 or kind is _NAMESPACE
            return obj, not waits
        at = datetime.now(UTC) + timedelta(seconds=grace)
        metadata["deletionTimestamp"] = at.strftime("%Y-%m-%dT%H:%M:%SZ")
        metadata["deletionGracePeriodSeconds"] = grace
        if finalizers:
            metadata["finalizers"] = finalizers
        if "generation" in metadata and not already:
            metadata["generation"] += 1
        marked = {**obj, "metadata": metadata}
        if kind is _NAMESPACE:
            marked["status"] = {**obj.get("status", {}), "phase": "Terminating"}
        return marked, not finalizers and grace == 0 and kind is not _NAMESPACE

    def _dependents(self, uid: str) -> list[tuple[Kind, Json]]:
        return [
            (kind, obj)
            for kind, obj in self._store.everything()
            if any(o.get("uid") == uid for o in obj["metadata"].get("ownerReferences", []))
        ]

    # Collection

    def _plan_for(self, kind: Kind, obj: Json) -> None:
        """Plan to clear up after an object that ends, if there is anything to clear up."""
        namespace = self._store.get(_NAMESPACE, "", obj["metadata"].get("namespace", ""))
        emptied = namespace is not None and "deletionTimestamp" in namespace["metadata"]
        if kind is _NAMESPACE or emptied or self._ties.holds(obj):
            self._plan()

    def _plan(self) -> None:
        if self._planned is None:
            loop = asyncio.get_running_loop()
            self._planned = loop.call_later(_COLLECT_AFTER_S, self._collect)

    def _plan_late(self) -> None:
        if self._late is None:
            loop = asyncio.get_running_loop()
            self._late = loop.call_later(_ABSENT_OWNER_AFTER_S, self._collect)

    def _collect(self) -> None:
        self._planned = self._late = None
        everything = list(self._store.everything())
        uids = {obj["metadata"]["uid"] for _, obj in everything}
        owners: dict[str, list[tuple[Kind, Json]]] = {}
        for kind, obj in everything:
            for owner in obj["metadata"].get("ownerReferences", []):
                owners.setdefault(owner["uid"], []).append((kind, obj))
        changed = [self._collect_one(kind, obj, uids, owners) for kind, obj in everything]
        changed += [self._empty(n) for n in self._store.objects(_NAMESPACE)]
        if any(changed):
            self._plan()

    def _collect_one(
        self,
        kind: Kind,
        obj: Json,
        uids: set[str],
        owners: dict[str, list[tuple[Kind, Json]]],
    ) -> bool:
        metadata = obj["metadata"]
        references = metadata.get("ownerReferences", [])
        if references and not any(o["uid"] in uids for o in references):
            return self._end(kind, obj, "Background")
        if not metadata.get("deletionTimestamp"):
            return False
        finalizers = metadata.get("finalizers", [])
        dependents = owners.get(metadata["uid"], [])
        if ORPHAN in finalizers:
            for other, dependent in dependents:
                self._disown(other, dependent, metadata["uid"])
            return self._drop_finalizer(kind, obj, ORPHAN)
        if FOREGROUND in finalizers:
            ended = [self._end(k, dependent, "Foreground") for k, dependent in dependents]
            return any(ended) if dependents else self._drop_finalizer(kind, obj, FOREGROUND)
        return False

    def _end(self, kind: Kind, obj: Json, propagation: str) -> bool:
        """Delete an object as a controller does; say whether that changed anything."""
        metadata = obj["metadata"]
        current = self._store.get(kind, metadata.get("namespace", ""), metadata["name"])
        if current is None or current["metadata"].get("deletionTimestamp"):
            return False
        marked, gone = self._marked(kind, current, DeleteOptions(propagation=propagation))
        if gone:
            self._store.remove(kind, marked)
        else:
            self._store.put(kind, marked)
        return True

    def _disown(self, kind: Kind, obj: Json, uid: str) -> None:
        metadata = dict(obj["metadata"])
        left = [o for o in metadata.get("ownerReferences", []) if o["uid"] != uid]
        metadata.pop("ownerReferences", None)
        if left:
            metadata["ownerReferences"] = left
        self._store.put(kind, {**obj, "metadata": metadata})

    def _drop_finalizer(self, kind: Kind, obj: Json, finalizer: str) -> bool:
        place = (obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
        current = self._store.get(kind, *place)
        if current is None:
            return False
        metadata: dict[str, Any] = dict(current["metadata"])
        left = [f for f in metadata.pop("finalizers", []) if f != finalizer]
        if left:
            metadata["finalizers"] = left
        self.updated(kind, self._store.put(kind, {**current, "metadata": metadata}))
        return True

    def _empty(self, namespace: Json) -> bool:
        metadata = namespace["metadata"]
        if not metadata.get("deletionTimestamp"):
            return False
        name = metadata["name"]
        content = [(k, o) for k in KINDS if k.namespaced for o in self._store.objects(k, name)]
        if not content:
            if not metadata.get("finalizers"):
                bare = {**namespace, "spec": {}}
                self._store.remove(_NAMESPACE, bare)
            return False
        ended = [self._end(kind, obj, "Background") for kind, obj in content]
        return any(ended)


def _grace(kind: Kind, obj: Json, options: DeleteOptions) -> int:
    """Return how long an object may take; only pods on a node take any time."""
    if kind is not _POD:
        return 0
    done = obj.get("status", {}).get("phase") in {"Succeeded", "Failed"}
    if done or not obj.get("spec", {}).get("nodeName"):
        return 0
    if options.grace_s is not None:
        return max(options.grace_s, 0)
    return int(obj["spec"].get("terminationGracePeriodSeconds", 30))


def _check_preconditions(target: Target, options: DeleteOptions, obj: Json) -> None:
    metadata = obj["metadata"]
    if options.uid and options.uid != metadata["uid"]:
        place = Place(target.kind.kind, target.kind.group, target.name)
        raise conflict(
            place,
            f"the UID in the precondition ({options.uid}) does not match the UID in record "
            f"({metadata['uid']}). The object might have been deleted and then recreated",
        )
    if options.resource_version and options.resource_version != metadata["resourceVersion"]:
        why = (
            f"ResourceVersion in precondition: {options.resource_version}, "
            f"ResourceVersion in object meta: {metadata['resourceVersion']}"
        )
        raise conflict(target.place, f"Precondition failed: {why}")

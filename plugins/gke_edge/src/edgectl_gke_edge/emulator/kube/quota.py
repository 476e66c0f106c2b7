"""Resource quotas: what a namespace may hold, counted when objects are made and gone.

The server refuses what would exceed a quota, as the admission plugin does, and keeps ``status``
as the quota controller does.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from edgectl_gke_edge.emulator.kube import quantities
from edgectl_gke_edge.emulator.kube.errors import Json, Place, forbidden
from edgectl_gke_edge.emulator.kube.kinds import KINDS, Kind, kind_of
from edgectl_gke_edge.emulator.kube.store import Store

_COUNTED = {
    "configmaps": "configmaps",
    "persistentvolumeclaims": "persistentvolumeclaims",
    "pods": "pods",
    "secrets": "secrets",
    "services": "services",
    "resourcequotas": "resourcequotas",
}
_BINARY = ("memory", "storage")
Amounts = dict[str, Decimal]


def admit(store: Store, kind: Kind, obj: Json) -> None:
    """Refuse a new object that a quota has no room for.

    Raises:
        StatusError: 403 with what is requested, used and limited.
    """
    if kind.plural == "resourcequotas":
        return
    metadata = obj["metadata"]
    place = Place(kind.plural, kind.group, metadata["name"])
    for quota in _quotas(store, metadata.get("namespace", "")):
        name = quota["metadata"]["name"]
        hard = _hard(quota)
        missing = _unstated(kind, obj, hard)
        if missing:
            raise forbidden(place, f"failed quota: {name}: must specify {missing}")
        asked = {k: v for k, v in usage(kind, obj).items() if k in hard}
        used = used_in(store, metadata["namespace"], hard)
        over = sorted(k for k, v in asked.items() if v and used[k] + v > hard[k])
        if over:
            told = (
                f"exceeded quota: {name}, requested: {_told(asked, over)}, "
                f"used: {_told(used, over)}, limited: {_told(hard, over)}"
            )
            raise forbidden(place, told)


def refresh(store: Store, namespace: str) -> None:
    """Write what is used into the quotas of a namespace."""
    for quota in _quotas(store, namespace):
        hard = _hard(quota)
        used = used_in(store, namespace, hard)
        status = {
            "hard": quota.get("spec", {}).get("hard", {}),
            "used": {name: _written(name, value) for name, value in sorted(used.items())},
        }
        if quota.get("status") != status:
            store.put(kind_of("", "resourcequotas"), {**quota, "status": status})


def usage(kind: Kind, obj: Json) -> Amounts:
    """Return what an object counts for."""
    group = f".{kind.group}" if kind.group else ""
    found: Amounts = {f"count/{kind.plural}{group}": Decimal(1)}
    if not kind.group and kind.plural in _COUNTED:
        found[_COUNTED[kind.plural]] = Decimal(1)
    if kind.kind == "Pod":
        found |= _pod_usage(obj.get("spec", {}))
    return found


def _pod_usage(spec: Json) -> Amounts:
    found: Amounts = {}
    for field in ("requests", "limits"):
        main = _sum(spec.get("containers", []), field)
        for container in spec.get("initContainers", []):
            for name, text in container.get("resources", {}).get(field, {}).items():
                main[name] = max(main.get(name, Decimal(0)), quantities.read(text))
        for name, value in main.items():
            found[f"{field}.{name}"] = value
            if field == "requests" and name in {"cpu", "memory", "ephemeral-storage"}:
                found[name] = value
    return found


def _sum(containers: list[Json], field: str) -> Amounts:
    total: Amounts = {}
    for container in containers:
        for name, text in container.get("resources", {}).get(field, {}).items():
            total[name] = total.get(name, Decimal(0)) + quantities.read(text)
    return total


def used_in(store: Store, namespace: str, hard: Amounts) -> Amounts:
    """Sum up what a namespace's objects count for."""
    used = dict.fromkeys(hard, Decimal(0))
    for kind in KINDS:
        if not kind.namespaced:
            continue
        for obj in store.objects(kind, namespace):
            if obj.get("status", {}).get("phase") in {"Succeeded", "Failed"} and kind.kind == "Pod":
                continue
            for name, value in usage(kind, obj).items():
                if name in used:
                    used[name] += value
    return used


def _quotas(store: Store, namespace: str) -> Iterator[Json]:
    if namespace:
        yield from store.objects(kind_of("", "resourcequotas"), namespace)


def _hard(quota: Json) -> Amounts:
    found = quota.get("spec", {}).get("hard", {})
    return {name: quantities.read(text) for name, text in found.items()}


def _unstated(kind: Kind, obj: Json, hard: Amounts) -> str:
    """Name the quantities that a quota limits and a pod's containers do not state."""
    if kind.kind != "Pod":
        return ""
    told = []
    for name in sorted(hard):
        field, _, resource = name.partition(".")
        if name in {"cpu", "memory"}:
            field, resource = "requests", name
        if field not in {"requests", "limits"} or resource not in {"cpu", "memory"}:
            continue
        containers = obj.get("spec", {}).get("containers", [])
        lacking = [
            c["name"] for c in containers if resource not in c.get("resources", {}).get(field, {})
        ]
        if lacking:
            told.append(f"{name} for: {','.join(sorted(lacking))}")
    return "; ".join(told)


def _told(amounts: Amounts, names: list[str]) -> str:
    return ",".join(f"{name}={_written(name, amounts[name])}" for name in names)


def _written(name: str, value: Decimal) -> str:
    return quantities.write(value, binary=name.endswith(_BINARY))

"""What the server says of itself: version, groups, resources, and the aggregated form."""

from __future__ import annotations

from typing import NamedTuple

from edgectl_gke_edge.emulator.kube.errors import Json
from edgectl_gke_edge.emulator.kube.kinds import KINDS, Kind


class Part(NamedTuple):
    """A subresource: its name, and the kind that it speaks."""

    name: str
    group: str
    version: str
    kind: str
    verbs: tuple[str, ...]


# Subresources beside status and scale.
_OTHER: dict[str, tuple[Part, ...]] = {
    "pods": (
        Part("binding", "", "v1", "Binding", ("create",)),
        Part("eviction", "policy", "v1", "Eviction", ("create",)),
        Part("log", "", "v1", "Pod", ("get",)),
        Part("proxy", "", "v1", "PodProxyOptions", ("create", "delete", "get", "patch", "update")),
    ),
    "namespaces": (Part("finalize", "", "v1", "Namespace", ("update",)),),
    "nodes": (
        Part("proxy", "", "v1", "NodeProxyOptions", ("create", "delete", "get", "patch", "update")),
    ),
    "serviceaccounts": (Part("token", "authentication.k8s.io", "v1", "TokenRequest", ("create",)),),
}
AGGREGATED = "APIGroupDiscoveryList"


def version_info(git_version: str) -> Json:
    """Return ``/version``."""
    major, minor, _ = git_version.removeprefix("v").split(".", 2)
    return {
        "major": major,
        "minor": minor,
        "gitVersion": git_version,
        "gitCommit": "0" * 40,
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "go1.24.0",
        "compiler": "gc",
        "platform": "linux/amd64",
    }


def find(path: str, accept: str, address: str) -> Json | None:
    """Return the document of a discovery path, or None."""
    parts = [part for part in path.split("/") if part]
    if parts in (["api"], ["apis"]) and AGGREGATED in accept:
        return _aggregated(core=parts == ["api"])
    if parts == ["api"]:
        served = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
        return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": served}
    groups = _groups()
    if parts == ["apis"]:
        listed = [_group(name) for name in groups if name]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}
    if parts == ["api", "v1"]:
        return _resources("")
    group = parts[1] if len(parts) in {2, 3} and parts[0] == "apis" else ""
    return _of_group(group, parts[2:]) if group in groups and group else None


def _of_group(group: str, rest: list[str]) -> Json | None:
    if not rest:
        return {"kind": "APIGroup", "apiVersion": "v1", **_group(group)}
    return _resources(group) if rest == ["v1"] else None


def _groups() -> list[str]:
    return list(dict.fromkeys(kind.group for kind in KINDS))


def _group(name: str) -> Json:
    version = {"groupVersion": f"{name}/v1", "version": "v1"}
    return {"name": name, "versions": [version], "preferredVersion": version}


def _resources(group: str) -> Json:
    listed: list[Json] = []
    for kind in (k for k in KINDS if k.group == group):
        entry: Json = {
            "name": kind.plural,
            "singularName": kind.singular,
            "namespaced": kind.namespaced,
            "kind": kind.kind,
            "verbs": sorted(kind.verbs),
        }
        if kind.short_names:
            entry["shortNames"] = list(kind.short_names)
        if kind.categories:
            entry["categories"] = list(kind.categories)
        listed.append(entry)
        listed += [_subresource(kind, part) for part in _parts(kind)]
    version = f"{group}/v1" if group else "v1"
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": version,
        "resources": listed,
    }


def _parts(kind: Kind) -> list[Part]:
    verbs = ("get", "patch", "update")
    parts = [
        Part("status", kind.group, kind.version, kind.kind, verbs)
        if name == "status"
        else Part("scale", "autoscaling", "v1", "Scale", verbs)
        for name in kind.subresources
    ]
    return [*parts, *(_OTHER.get(kind.plural, ()) if not kind.group else ())]


def _subresource(kind: Kind, part: Part) -> Json:
    entry: Json = {
        "name": f"{kind.plural}/{part.name}",
        "singularName": "",
        "namespaced": kind.namespaced,
        "kind": part.kind,
        "verbs": list(part.verbs),
    }
    other = part.group != kind.group
    return {**entry, "group": part.group, "version": part.version} if other else entry


def _aggregated(*, core: bool) -> Json:
    items = []
    for group in [name for name in _groups() if bool(name) != core]:
        resources = [_aggregated_resource(k) for k in KINDS if k.group == group]
        version = {"version": "v1", "freshness": "Current", "resources": resources}
        metadata = {"name": group, "creationTimestamp": None} if group else {}
        items.append({"metadata": metadata, "versions": [version]})
    listed = {"kind": AGGREGATED, "apiVersion": "apidiscovery.k8s.io/v2"}
    return {**listed, "metadata": {}, "items": items}


def _aggregated_resource(kind: Kind) -> Json:
    def response(group: str, version: str, name: str) -> Json:
        return {"group": group, "version": version, "kind": name}

    entry: Json = {
        "resource": kind.plural,
        "responseKind": response(kind.group, kind.version, kind.kind),
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": sorted(kind.verbs),
    }
    parts = [
        {"subresource": name, "responseKind": response(group, version, sub_kind), "verbs": [*verbs]}
        for name, group, version, sub_kind, verbs in _parts(kind)
    ]
    return {**entry, "subresources": parts} if parts else entry

"""Rules of a pod's volumes."""

from __future__ import annotations

from collections.abc import Iterable

from edgectl_gke_edge.emulator.kube.errors import Json, Problems
from edgectl_gke_edge.emulator.kube.validation import names

_MEDIUMS = ("", "Memory", "HugePages")


def check(volumes: Iterable[Json], path: str, problems: Problems) -> set[str]:
    """Check volumes; return their names."""
    seen: set[str] = set()
    for at, volume in enumerate(volumes):
        where = f"{path}[{at}]"
        name = volume.get("name", "")
        before = len(problems.causes)
        if not name:
            problems.required(f"{where}.name")
        else:
            names.label(name, f"{where}.name", problems)
        if name in seen:
            problems.duplicate(f"{where}.name", name)
        sources = [field for field in volume if field != "name"]
        for extra in sorted(sources, key=_source_order)[1:]:
            problems.forbidden(f"{where}.{extra}", "may not specify more than 1 volume type")
        if sources:
            _volume(volume, min(sources, key=_source_order), where, problems)
        if len(problems.causes) == before:  # mounts of a wrong volume are told as missing too
            seen.add(name)
    return seen


_SOURCES = ("emptyDir", "hostPath", "secret", "persistentVolumeClaim", "downwardAPI", "configMap")


_NEEDED = {
    "configMap": "name",
    "hostPath": "path",
    "image": "reference",
    "persistentVolumeClaim": "claimName",
    "secret": "secretName",
}


def _source_order(source: str) -> int:
    return _SOURCES.index(source) if source in _SOURCES else len(_SOURCES)


def _volume(volume: Json, source: str, path: str, problems: Problems) -> None:
    found = volume[source]
    where = f"{path}.{source}"
    needed = _NEEDED.get(source)
    if needed is not None and not found.get(needed):
        problems.required(f"{where}.{needed}")
    if source == "hostPath" and ".." in found.get("path", "").split("/"):
        problems.invalid(f"{where}.path", found["path"], "must not contain '..'")
    if source == "emptyDir" and not found.get("medium", "").startswith(_MEDIUMS):
        problems.unsupported(f"{where}.medium", found["medium"], _MEDIUMS)
    if source in {"secret", "configMap"}:
        for at, item in enumerate(found.get("items", [])):
            for field in ("key", "path"):
                if not item.get(field):
                    problems.required(f"{where}.items[{at}].{field}")

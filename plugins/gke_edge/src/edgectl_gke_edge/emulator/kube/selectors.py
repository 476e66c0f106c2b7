"""Label and field selectors: parsing as the server does, and matching."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from edgectl_gke_edge.emulator.kube.errors import Json, bad_request
from edgectl_gke_edge.emulator.kube.kinds import Kind

_SET = re.compile(r"^(?P<key>[^\s!=<>,()]+)\s+(?P<op>in|notin)\s*\((?P<values>[^)]*)\)$")
_COMPARE = re.compile(r"^(?P<key>[^\s!=<>,()]+)\s*(?P<op>==|=|!=|>|<)\s*(?P<value>[^\s!=<>,()]*)$")
_EXISTS = re.compile(r"^(?P<no>!?)\s*(?P<key>[^\s!=<>,()]+)$")

# What each kind can be selected by beside metadata.name and metadata.namespace.
FIELDS: dict[str, tuple[str, ...]] = {
    "Pod": (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ),
    "Event": (
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
    "Node": ("spec.unschedulable",),
    "Namespace": ("status.phase",),
    "Secret": ("type",),
    "Service": ("spec.clusterIP", "spec.type"),
    "Job": ("status.successful",),
    "ReplicaSet": ("status.replicas",),
}


@dataclass(frozen=True)
class Requirement:
    """One condition: in, notin, exists, absent, gt or lt."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Say whether labels fulfil it; ``notin`` holds for an absent key."""
        value = labels.get(self.key)
        if self.operator == "in":
            return value in self.values
        if self.operator == "notin":
            return value not in self.values
        if self.operator in {"gt", "lt"}:
            return self._compare(value)
        return (value is not None) == (self.operator == "exists")

    def _compare(self, value: str | None) -> bool:
        try:
            number, limit = int(value or ""), int(self.values[0])
        except ValueError:
            return False
        return number > limit if self.operator == "gt" else number < limit


Selector = tuple[Requirement, ...]


def matches(selector: Selector, labels: Mapping[str, str] | None) -> bool:
    """Say whether labels fulfil all conditions."""
    return all(requirement.matches(labels or {}) for requirement in selector)


def parse_labels(text: str) -> Selector:
    """Read a ``labelSelector``.

    Raises:
        StatusError: 400, it is none.
    """
    return tuple(_label(part.strip()) for part in _split(text)) if text.strip() else ()


def _split(text: str) -> list[str]:
    """Split at commas outside parentheses."""
    return re.split(r",(?![^(]*\))", text)


def _label(part: str) -> Requirement:
    if found := _SET.match(part):
        values = tuple(v.strip() for v in found["values"].split(","))
        return Requirement(found["key"], found["op"], values)
    if found := _COMPARE.match(part):
        operators = {"!=": "notin", ">": "gt", "<": "lt"}
        return Requirement(found["key"], operators.get(found["op"], "in"), (found["value"],))
    if found := _EXISTS.match(part):
        return Requirement(found["key"], "absent" if found["no"] else "exists")
    raise bad_request(f"unable to parse requirement: found '{part}', expected a label selector")


def parse_fields(text: str, kind: Kind) -> Selector:
    """Read a ``fieldSelector``; only certain fields of each kind can be selected.

    Raises:
        StatusError: 400, it is none or names another field.
    """
    known = ("metadata.name", "metadata.namespace", *FIELDS.get(kind.kind, ()))
    selector = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        found = re.match(r"^([^!=]+)(==|=|!=)(.*)$", part)
        if not found:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
        name, operator, value = found[1], found[2], found[3]
        if name not in known:
            message = f"field label not supported: {name}"
            raise bad_request(
                f'Unable to find "{kind.api_version}, Resource={kind.plural}" that match label '
                f'selector "", field selector "{text}": {message}'
            )
        selector.append(Requirement(name, "notin" if operator == "!=" else "in", (value,)))
    return tuple(selector)


def matches_fields(selector: Selector, obj: Json) -> bool:
    """Say whether an object's fields fulfil all conditions; an absent field is empty."""
    return all(requirement.matches(_values(requirement.key, obj)) for requirement in selector)


def _values(path: str, obj: Json) -> dict[str, str]:
    value: object = obj
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, bool):
        value = str(value).lower()
    return {path: "" if value is None else str(value)}


def from_object(selector: Json | None) -> Selector | None:
    """Read a ``LabelSelector`` object; None selects nothing, ``{}`` everything."""
    if selector is None:
        return None
    words = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "absent"}
    found = [Requirement(k, "in", (v,)) for k, v in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or []:
        operator = words.get(expression.get("operator", ""), "in")
        values = tuple(expression.get("values") or ())
        found.append(Requirement(expression["key"], operator, values))
    return tuple(found)

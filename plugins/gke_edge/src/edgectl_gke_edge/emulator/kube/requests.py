"""What a request asks for: resource, verb and options, read from path, method and query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgectl_gke_edge.emulator.kube.errors import (
    Cause,
    Place,
    bad_request,
    invalid,
    method_not_supported,
)
from edgectl_gke_edge.emulator.kube.kinds import BY_PATH, Kind
from edgectl_gke_edge.emulator.kube.ownership import manager_name

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "GET": "get", "HEAD": "get"}


@dataclass(frozen=True)
class User:
    """Who asks."""

    name: str
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Target:
    """The resource of a request; empty strings stand for what the path does not name."""

    kind: Kind
    verb: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""

    @property
    def place(self) -> Place:
        """How errors name it."""
        return Place(self.kind.plural, self.kind.group, self.name)

    @property
    def resource(self) -> str:
        """The resource as RBAC names it, for example ``pods/log``."""
        plural = self.kind.plural
        return f"{plural}/{self.subresource}" if self.subresource else plural


@dataclass
class Call:
    """One request's caller and options; ``warnings`` become headers of the answer."""

    user: User
    manager: str
    dry_run: bool = False
    validation: str = "Warn"
    force: bool = False
    manager_stated: bool = False
    warnings: list[str] = field(default_factory=list)


def find_target(path: str, method: str, query: Mapping[str, str]) -> Target | None:
    """Read a path below ``/api`` or ``/apis``; None when no resource is there.

    Raises:
        StatusError: 405 for a method that the resource does not have.
    """
    parts = [part for part in path.split("/") if part]
    if parts[:1] == ["api"] and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[:1] == ["apis"] and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in {"status", "finalize"}:
        namespace, rest = rest[1], rest[2:]
    kind = BY_PATH.get((group, version, rest[0]))
    if kind is None or (namespace and not kind.namespaced):
        return None
    name, subresource = (*rest[1:3], "", "")[:2]
    verb = _verb(method, query, named=bool(name))
    target = Target(kind, verb, namespace, name, subresource, "/".join(rest[3:]))
    _check(target)
    return target


def _verb(method: str, query: Mapping[str, str], *, named: bool) -> str:
    if method == "DELETE":
        return "delete" if named else "deletecollection"
    if method in {"GET", "HEAD"} and query.get("watch", "") in {"true", "1"}:
        return "watch"
    if method in {"GET", "HEAD"} and not named:
        return "list"
    return _VERBS.get(method, method.lower())


def _check(target: Target) -> None:
    if target.subresource:
        return
    bad_named = target.name and target.verb == "create"
    bad_unnamed = not target.name and target.verb in {"update", "patch"}
    needs_namespace = target.kind.namespaced and not target.namespace
    bad_scope = needs_namespace and target.verb not in {"list", "watch"} and not target.kind.virtual
    if bad_named or bad_unnamed or bad_scope or target.verb not in _known(target.kind):
        raise method_not_supported(target.place, target.verb)


def _known(kind: Kind) -> tuple[str, ...]:
    return kind.verbs


def read_call(user: User, query: Mapping[str, str], user_agent: str) -> Call:
    """Read the options that all writing verbs share.

    Raises:
        StatusError: 400 for a value that an option does not have.
    """
    dry_run = query.get("dryRun", "")
    if dry_run not in {"", "All"}:
        told = f'Unsupported value: "{dry_run}": supported values: "All"'
        cause = Cause("FieldValueNotSupported", told, "dryRun")
        raise invalid("PatchOptions", "meta.k8s.io", "", [cause])
    validation = query.get("fieldValidation", "") or "Warn"
    if validation not in {"Ignore", "Warn", "Strict"}:
        raise bad_request(
            f'fieldValidation: Unsupported value: "{validation}": '
            'supported values: "Ignore", "Strict", "Warn"'
        )
    return Call(
        user=user,
        manager=manager_name(query.get("fieldManager"), user_agent),
        dry_run=bool(dry_run),
        validation=validation,
        force=query.get("force") in {"true", "1"},
        manager_stated=bool(query.get("fieldManager")),
    )

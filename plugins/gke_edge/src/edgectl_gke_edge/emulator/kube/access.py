"""Who may do what: bearer tokens and client certificates, and RBAC from the stored roles.

``system:masters`` may do everything, as on a real server. A refusal is worded as RBAC words it,
because plugins name verb and resource from it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgectl_gke_edge.emulator.kube.errors import Json, Place, StatusError, forbidden, unauthorized
from edgectl_gke_edge.emulator.kube.kinds import kind_of
from edgectl_gke_edge.emulator.kube.requests import Target, User
from edgectl_gke_edge.emulator.kube.store import Store

MASTERS = "system:masters"
AUTHENTICATED = "system:authenticated"
_RBAC = "rbac.authorization.k8s.io"


@dataclass(frozen=True)
class Attributes:
    """What somebody wants to do."""

    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""

    @classmethod
    def of(cls, target: Target) -> Attributes:
        """Read them from a request's target."""
        group = target.kind.group
        name = target.name
        return cls(target.verb, group, target.resource, target.namespace, name)


class Access:
    """The users of one cluster and what its roles allow them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tokens: dict[str, User] = {}
        self.denied: list[tuple[str, str]] = []
        """Pairs of verb and resource (``*`` for any) that everybody is refused: a fault."""

    def add_token(self, user: str, groups: Sequence[str] = (), token: str | None = None) -> str:
        """Make a bearer token for a user; one that is given is used as it is."""
        token = token or secrets.token_urlsafe(24)
        self._tokens[token] = User(user, (*groups, AUTHENTICATED))
        return token

    def forget_token(self, token: str) -> None:
        """Let a token end."""
        self._tokens.pop(token, None)

    def authenticate(self, authorization: str, certified: User | None) -> User:
        """Say who asks.

        Raises:
            StatusError: 401.
        """
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() == "bearer":
            user = self._tokens.get(token.strip())
            if user is None:
                raise unauthorized()
            return user
        if certified is None:
            raise unauthorized()
        return User(certified.name, (*certified.groups, AUTHENTICATED))

    def check(self, user: User, target: Target) -> None:
        """Let a request through.

        Raises:
            StatusError: 403 with verb, resource, group and namespace.
        """
        wanted = Attributes.of(target)
        if not self.allows(user, wanted):
            place = Place(target.kind.plural, target.kind.group, target.name)
            raise refusal(user, wanted, place)

    def allows(self, user: User, wanted: Attributes) -> bool:
        """Say whether a user may do something."""
        for verb, resource in self.denied:
            if verb in {"*", wanted.verb} and resource in {"*", wanted.resource}:
                return False
        if MASTERS in user.groups:
            return True
        return any(_covers(rule, wanted) for rule in self.rules(user, wanted.namespace))

    def rules(self, user: User, namespace: str) -> Iterator[Json]:
        """Go over the rules that hold for a user in a namespace ("" for the whole cluster)."""
        for binding in self._store.objects(kind_of(_RBAC, "clusterrolebindings")):
            if _subject(binding, user, ""):
                yield from self._role(binding, "")
        if namespace:
            for binding in self._store.objects(kind_of(_RBAC, "rolebindings"), namespace):
                if _subject(binding, user, namespace):
                    yield from self._role(binding, namespace)

    def _role(self, binding: Json, namespace: str) -> list[Json]:
        reference = binding["roleRef"]
        if reference["kind"] == "ClusterRole":
            role = self._store.get(kind_of(_RBAC, "clusterroles"), "", reference["name"])
        else:
            role = self._store.get(kind_of(_RBAC, "roles"), namespace, reference["name"])
        return list((role or {}).get("rules") or [])


def refusal(user: User, wanted: Attributes, place: Place) -> StatusError:
    """Word a refusal."""
    where = f'in the namespace "{wanted.namespace}"' if wanted.namespace else "at the cluster scope"
    return forbidden(
        place,
        f'User "{user.name}" cannot {wanted.verb} resource "{wanted.resource}" in API group '
        f'"{wanted.group}" {where}',
    )


def _subject(binding: Json, user: User, namespace: str) -> bool:
    for subject in binding.get("subjects") or []:
        kind, name = subject.get("kind"), subject.get("name")
        if kind == "User" and name == user.name:
            return True
        if kind == "Group" and name in user.groups:
            return True
        account = f"system:serviceaccount:{subject.get('namespace', namespace)}:{name}"
        if kind == "ServiceAccount" and account == user.name:
            return True
    return False


def _covers(rule: Json, wanted: Attributes) -> bool:
    def among(values: Sequence[str] | None, value: str) -> bool:
        return any(v in {"*", value} for v in values or ())

    names = rule.get("resourceNames")
    whole, _, part = wanted.resource.partition("/")
    resources = rule.get("resources") or ()
    resource = among(resources, wanted.resource) or (bool(part) and f"*/{part}" in resources)
    del whole
    return (
        among(rule.get("verbs"), wanted.verb)
        and among(rule.get("apiGroups"), wanted.group)
        and resource
        and (not names or wanted.name in names)
    )


def certificate_user(certificate: Json | None) -> User | None:
    """Read user and groups from what ``ssl`` tells of a verified client certificate."""
    if not certificate:
        return None
    pairs = [pair for rdn in certificate.get("subject", ()) for pair in rdn]
    names = [value for key, value in pairs if key == "commonName"]
    groups = tuple(value for key, value in pairs if key == "organizationName")
    return User(names[0], groups) if names else None

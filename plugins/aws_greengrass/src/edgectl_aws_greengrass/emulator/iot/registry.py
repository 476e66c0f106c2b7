"""The registry as the emulator's other parts need it, read from moto: things, groups, policies.

Certificates' policies are evaluated here: wildcards, variables, explicit deny (AWS IoT developer
guide, "AWS IoT Core policies", "Thing policy variables").
"""

from __future__ import annotations

import hashlib
import json
import ssl
import threading
import time
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from typing import Any

from moto.iot.models import IoTBackend, iot_backends

from edgectl_aws_greengrass.emulator.policy import allows
from edgectl_aws_greengrass.emulator.ports import Principal


class Registry:
    """Things, groups and certificates of an account.

    Args:
        account: Twelve digits.
        region: The Region.
    """

    def __init__(self, account: str, region: str) -> None:
        self._account = account
        self._region = region
        self._lock = threading.Lock()
        self._connected: dict[str, tuple[bool, int]] = {}
        self._queries: dict[str, str] = {}
        # Asked for once: moto takes a lock for it, and every message of every device needs it.
        self._backend: IoTBackend = iot_backends[account][region]

    @property
    def backend(self) -> IoTBackend:
        """What moto keeps."""
        return self._backend

    def thing_arn(self, thing: str) -> str:
        """Return a thing's ARN."""
        return f"arn:aws:iot:{self._region}:{self._account}:thing/{thing}"

    def group_arn(self, group: str) -> str:
        """Return a group's ARN."""
        return f"arn:aws:iot:{self._region}:{self._account}:thinggroup/{group}"

    def exists(self, thing: str) -> bool:
        """Say whether there is a thing."""
        return self.thing_arn(thing) in self.backend.things

    def group_exists(self, arn: str) -> bool:
        """Say whether there is a thing group."""
        return arn in self.backend.thing_groups

    def things_of(self, target: str, *, recursive: bool = True) -> list[str]:
        """Return the things of a target: itself, or a group's members and its child groups'."""
        if ":thing/" in target:
            thing = target.partition(":thing/")[2]
            return [thing] if self.exists(thing) else []
        groups = self.backend.thing_groups
        group = groups.get(target)
        if group is None:
            return []
        query = self._queries.get(target)
        members = list(group.things.values()) if query is None else self.search(query)
        found = {thing.thing_name for thing in members}
        for child in list(groups.values()):
            if recursive and child.parent_group_name == group.thing_group_name:
                found |= set(self.things_of(child.arn))
        return sorted(thing for thing in found if self.exists(thing))

    def groups(self, thing: str) -> tuple[tuple[str, str], ...]:
        """Return (name, ARN) of a thing's groups, with the groups above them."""
        found: dict[str, str] = {}
        by_name = {group.thing_group_name: group for group in self._all_groups()}
        mine = [by_name[name] for name, _ in self.direct_groups(thing)]
        while mine:
            group = mine.pop()
            found[group.thing_group_name] = group.arn
            above = by_name.get(group.parent_group_name or "")
            if above is not None:
                mine.append(above)
        return tuple(sorted(found.items()))

    def direct_groups(self, thing: str) -> list[tuple[str, str]]:
        """Return (name, ARN) of the groups that have a thing as a member themselves."""
        known = self.backend.things.get(self.thing_arn(thing))
        if known is None:
            return []
        return sorted(
            (group.thing_group_name, group.arn)
            for group in self._all_groups()
            if known.arn in group.things
            or (group.arn in self._queries and known.matches(self._queries[group.arn]))
        )

    def line_of(self, group: str) -> list[str]:
        """Return the names of the groups above a group, and its own."""
        by_name = {known.thing_group_name: known for known in self._all_groups()}
        found = []
        name: str | None = group
        while name and name in by_name:
            found.append(name)
            name = by_name[name].parent_group_name
        return found

    def _all_groups(self) -> list[Any]:
        return list(self.backend.thing_groups.values())

    def search(self, query: str) -> list[Any]:
        """Return moto's things that match a fleet indexing query, by name."""
        found = [thing for thing in list(self.backend.things.values()) if thing.matches(query)]
        return sorted(found, key=lambda thing: str(thing.thing_name))

    def index_mode(self) -> str:
        """Return ``thingIndexingMode``."""
        found = self.backend.get_indexing_configuration()["thingIndexingConfiguration"]
        return str(found.get("thingIndexingMode", "OFF"))

    def follow(self, group_arn: str, query: str | None) -> None:
        """Make a group a dynamic one, or forget that it was."""
        with self._lock:
            if query is None:
                self._queries.pop(group_arn, None)
            else:
                self._queries[group_arn] = query

    def add(
        self, names: Iterable[str], group: str, certificate: str, attributes: dict[str, str]
    ) -> None:
        """Make things that share a certificate, and let them into a group."""
        backend = self.backend
        members: dict[str, Any] = backend.thing_groups[self.group_arn(group)].things
        # Not through moto's own methods: each of them looks through all things.
        known: dict[tuple[str, str], Any] = backend.principal_things
        principal = backend.certificates[certificate.rpartition("/")[2]]
        for name in names:
            if not self.exists(name):
                backend.create_thing(name, "", {"attributes": dict(attributes)})
            thing = backend.things[self.thing_arn(name)]
            known[certificate, name] = (principal, thing)
            members[thing.arn] = thing

    def authenticate(self, cert_pem: bytes) -> Principal | None:
        """Return who a client certificate is."""
        identity = certificate_id(cert_pem.decode())
        known = self._by_fingerprint(identity)
        if known is None:
            return None
        return Principal(
            certificate_id=known.certificate_id,
            arn=known.arn,
            active=known.status == "ACTIVE",
            things=_Attached(self, known.arn),
        )

    def _by_fingerprint(self, fingerprint: str) -> Any:
        found = self.backend.certificates.get(fingerprint)
        if found is not None:
            return found
        for certificate in list(self.backend.certificates.values()):
            if certificate_id(certificate.certificate_pem) == fingerprint:
                return certificate
        return None

    def allows(self, principal: Principal, action: str, resource: str, client_id: str) -> bool:
        """Evaluate the policies of a certificate and of the groups of its thing."""
        if not principal.active:
            return False
        context = {"iot:clientid": client_id}
        targets = {principal.arn}
        if client_id in principal.things:
            context["iot:connection.thing.thingname"] = client_id
            context["iot:connection.thing.isattached"] = "true"
            targets |= {arn for _, arn in self.groups(client_id)}
        documents = [
            _document(policy.document)
            for (target, _), (_, policy) in list(self.backend.principal_policies.items())
            if target in targets
        ]
        return allows(documents, action, resource, context)

    def connected(self, thing: str, *, connected: bool) -> None:
        """Note whether a thing has a session, for fleet indexing."""
        with self._lock:
            self._connected[thing] = (connected, int(time.time()))

    def connectivity(self, thing: str) -> tuple[bool, int]:
        """Return whether a thing is connected, and since when (seconds of the epoch, 0: never)."""
        return self._connected.get(thing, (False, 0))


class _Attached(Collection[str]):
    """The things of a certificate, looked up when they are asked for: many may share it."""

    def __init__(self, registry: Registry, arn: str) -> None:
        self._registry = registry
        self._arn = arn

    def __contains__(self, thing: object) -> bool:
        known = self._registry.backend.principal_things
        return (self._arn, thing) in known and self._registry.exists(str(thing))

    def __iter__(self) -> Iterator[str]:
        for arn, thing in list(self._registry.backend.principal_things):
            if arn == self._arn and self._registry.exists(thing):
                yield thing

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _document(given: Any) -> dict[str, Any]:
    if isinstance(given, str):
        return _parsed(given)
    found: dict[str, Any] = given
    return found


@lru_cache(maxsize=256)
def _parsed(text: str) -> dict[str, Any]:
    """Read a policy once: every message of every device asks for it."""
    found: dict[str, Any] = json.loads(text)
    return found


def certificate_id(pem: str) -> str:
    """Return the SHA-256 of a certificate, which is its id at AWS IoT."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()

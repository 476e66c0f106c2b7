"""Who may read telemetry: signatures of the hub's policies, tokens of Microsoft Entra ID.

Event Hubs takes a token on the node ``$cbs`` for a resource and everything below it; IoT Hub's own
endpoint also takes one as the password of SASL PLAIN. Reading needs the permission ServiceConnect
of a hub's policy ("Control access to IoT Hub"), or the role Azure Event Hubs Data Receiver.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable, Mapping
from datetime import datetime

import msgspec

from edgectl.api import Record
from edgectl_azure_iot_edge.emulator import sas
from edgectl_azure_iot_edge.emulator.directory import Directory, TokenError
from edgectl_azure_iot_edge.emulator.eventhub.places import path_of
from edgectl_azure_iot_edge.emulator.hub.access import SERVICE, Policy

AUDIENCE = "https://eventhubs.azure.net"
RECEIVE = "Microsoft.EventHub/namespaces/messages/receive/action"
SAS_TYPE, JWT_TYPE = "servicebus.windows.net:sastoken", "jwt"


class Refused(Exception):  # noqa: N818 - the answer of a node, not an error of ours
    """A token is not good; ``status`` is the node's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Claim(Record, frozen=True, kw_only=True):
    """What a token lets its connection read, and until when (seconds since 1970).

    Attributes:
        path: Of the entity, in lower case; "" for everything of the endpoint.
    """

    path: str
    until: float

    def covers(self, path: str, now: float) -> bool:
        """Say whether something may be read now."""
        below = path.lower() == self.path or path.lower().startswith(f"{self.path}/")
        return now < self.until and (not self.path or below)


class Gate:
    """Checks tokens.

    Args:
        policies: The hub's.
        directory: The tenant.
        now: The account's time.
    """

    def __init__(
        self, policies: Mapping[str, Policy], directory: Directory, now: Callable[[], datetime]
    ) -> None:
        self._policies = policies
        self._directory = directory
        self._now = now

    def now(self) -> float:
        """Return the account's time in seconds since 1970."""
        return self._now().timestamp()

    def put(self, kind: str, token: str, audience: str) -> Claim:
        """Take a token on ``$cbs``.

        Raises:
            Refused: It is not good for the audience.
        """
        if kind == SAS_TYPE:
            return self._signature(token, path_of(audience), _as_text)
        if kind == JWT_TYPE:
            return self._bearer(token, path_of(audience))
        raise Refused(400, f"The token type '{kind[:80]}' is not supported.")

    def plain(self, response: bytes) -> Claim:
        """Take the message of SASL PLAIN, as IoT Hub's own endpoint does.

        Raises:
            Refused: Name or token are not good.
        """
        parts = response.split(b"\0")
        if len(parts) != 3:
            raise Refused(401, "The SASL message is malformed.")
        name, password = parts[1].decode(errors="replace"), parts[2].decode(errors="replace")
        policy, _, realm = name.partition("@")
        if not realm.startswith("sas.root."):
            return self._key(name, password)
        claim = self._signature(password, "", _decoded)
        if sas.parse(password).policy != policy:
            raise Refused(401, "The token is of another policy.")
        return claim

    def _key(self, name: str, password: str) -> Claim:
        policy = self._policies.get(name)
        if policy is None or password not in {policy.primary, policy.secondary}:
            raise Refused(401, "Attempted to perform an unauthorized operation.")
        self._may_read(policy)
        return Claim(path="", until=float("inf"))

    def _signature(self, text: str, path: str, key_of: Callable[[str], bytes]) -> Claim:
        try:
            token = sas.parse(text)
            expired = token.is_expired(self.now())
        except sas.SasError as exc:
            raise Refused(401, "MalformedToken: The token cannot be read.") from exc
        if expired:
            raise Refused(
                401, f"ExpiredToken: The token is expired. Expiration time: '{token.expiry}'"
            )
        policy = self._policies.get(token.policy)
        keys = () if policy is None else (policy.primary, policy.secondary)
        signatures = [sas.sign(key_of(key), token.raw_resource, token.expiry) for key in keys]
        if policy is None or not any(hmac.compare_digest(s, token.signature) for s in signatures):
            raise Refused(401, "InvalidSignature: The token has an invalid signature.")
        self._may_read(policy)
        mine = _below_host(token.resource)
        if mine and not f"{path.lower()}/".startswith(f"{mine}/"):
            raise Refused(401, "InvalidAudience: The token audience does not match.")
        return Claim(path=path.lower(), until=float(token.expiry))

    def _bearer(self, text: str, path: str) -> Claim:
        try:
            token = self._directory.check(text, AUDIENCE)
        except TokenError as exc:
            raise Refused(401, f"{exc.code}: {exc}") from exc
        if not token.allows(RECEIVE):
            raise Refused(
                401, f"Unauthorized access. 'Listen' claim(s) are required. Resource: '{path}'"
            )
        return Claim(path=path.lower(), until=_expiry(text))

    def _may_read(self, policy: Policy) -> None:
        if SERVICE not in policy.permissions:
            raise Refused(
                401, f"Authorization rule '{policy.name}' does not allow access for '{SERVICE}'"
            )


def _below_host(resource: str) -> str:
    """Return the path that a signature is for; a bare host is for everything."""
    text = resource.partition("://")[2] or resource
    return text.partition("/")[2].strip("/").lower()


def _as_text(key: str) -> bytes:
    """Return the key as Event Hubs signs with it: its text, not what the base64 stands for."""
    return key.encode()


def _decoded(key: str) -> bytes:
    """Return the key as IoT Hub signs with it."""
    return base64.b64decode(key)


class _Claims(msgspec.Struct, frozen=True):
    exp: float


def _expiry(token: str) -> float:
    """Return when a checked JSON Web Token ends."""
    part = token.split(".")[1]
    raw = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    return msgspec.json.decode(raw, type=_Claims).exp

"""Who may do what in a registry, by Basic authentication and by bearer tokens.

A token says what it allows and until when, and is signed with a key that this registry made, so
nothing has to be kept. As the big clouds' registries do, a token request is answered with what the
caller may have of what was asked; a request that needs more gets 401 with a new challenge.
Sources: the distribution project's token authentication specification; Azure Container Registry's
``/oauth2/exchange`` and ``/oauth2/token``; Artifact Registry takes Basic too.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import time
from collections.abc import Mapping
from typing import Protocol

import msgspec

from edgectl.emulation.registry.errors import RefusedError

ALL_ACTIONS = frozenset({"pull", "push", "delete"})
TOKEN_S = 300
_REFRESH = "refresh"
_NOBODY = "00000000-0000-0000-0000-000000000000"
"""Azure's user name for "the password is a refresh token"."""


class Accounts(Protocol):
    """Whom a registry knows."""

    def actions(self, username: str, password: str) -> frozenset[str] | None:
        """Return what a caller may do (``pull``, ``push``, ``delete``); None for nobody known.

        An Azure AD or Google access token that is exchanged comes with the user name ``""``.
        """


class Passwords:
    """Accounts by name and password, who may do everything.

    Args:
        passwords: User name → password.
    """

    def __init__(self, passwords: Mapping[str, str]) -> None:
        self._passwords = dict(passwords)

    def actions(self, username: str, password: str) -> frozenset[str] | None:
        """Return everything for one who is known."""
        known = self._passwords.get(username)
        if known is None or not hmac.compare_digest(known.encode(), password.encode()):
            return None
        return ALL_ACTIONS


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What a token holds: ``repository:name`` → actions, and when it ends (seconds since 1970)."""

    kind: str
    until: float
    rights: dict[str, tuple[str, ...]] = {}


class Access:
    """The rules of one registry.

    Args:
        accounts: Whom it knows; None lets everybody do everything.
        anonymous: What nobody in particular may do, for example ``{"pull"}``.
        service: What the registry calls itself in challenges.
    """

    def __init__(
        self,
        accounts: Accounts | None = None,
        *,
        anonymous: frozenset[str] = frozenset(),
        service: str = "registry",
    ) -> None:
        self._accounts = accounts
        self._anonymous = anonymous
        self.service = service
        self._key = os.urandom(32)

    def check(self, authorization: str, needs: Mapping[str, frozenset[str]], realm: str) -> None:
        """Check that a request may be made.

        Args:
            authorization: Its header, or "".
            needs: Repository → actions; empty for the base route, which only asks who it is.
            realm: Where tokens are given, for the challenge.

        Raises:
            RefusedError: ``UNAUTHORIZED`` with a challenge; ``DENIED`` for one who is known.
        """
        if self._accounts is None:
            return
        scheme, _, value = authorization.partition(" ")
        known = self._allowed(scheme.lower(), value.strip())
        if known is None and needs:
            known = dict.fromkeys(needs, self._anonymous)
        missing = known is None or any(
            actions - known.get(name, known.get("*", frozenset()))
            for name, actions in needs.items()
        )
        if not missing:
            return
        if scheme.lower() == "basic" and known is not None:
            raise RefusedError("DENIED", "requested access to the resource is denied")
        raise self._challenge(needs, realm, invalid=bool(authorization))

    def token(self, username: str, password: str, scopes: list[str]) -> dict[str, object]:
        """Return the token service's answer for a name and password ("" and "" for nobody).

        Raises:
            RefusedError: ``UNAUTHORIZED``.
        """
        if username == _NOBODY:
            return self.refresh(password, scopes)
        allowed = self._anonymous if not username else self._actions(username, password)
        return self._answer(allowed, scopes)

    def exchange(self, access_token: str) -> dict[str, object]:
        """Return a refresh token for a cloud's access token.

        Raises:
            RefusedError: ``UNAUTHORIZED``.
        """
        allowed = self._actions("", access_token)
        grant = Grant(kind=_REFRESH, until=time.time() + 3 * 3600, rights={"*": tuple(allowed)})
        return {"refresh_token": self._sign(grant)}

    def refresh(self, refresh_token: str, scopes: list[str]) -> dict[str, object]:
        """Return the token service's answer for a refresh token.

        Raises:
            RefusedError: ``UNAUTHORIZED``.
        """
        grant = self._verify(refresh_token, _REFRESH)
        if grant is None:
            raise RefusedError("UNAUTHORIZED", "the refresh token is not valid")
        return self._answer(frozenset(grant.rights.get("*", ())), scopes)

    def _answer(self, allowed: frozenset[str], scopes: list[str]) -> dict[str, object]:
        rights: dict[str, tuple[str, ...]] = {}
        for scope in " ".join(scopes).split():
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            if kind == "repository":
                wanted = ALL_ACTIONS if actions == "*" else frozenset(actions.split(","))
                rights[name] = tuple(sorted(wanted & allowed))
        token = self._sign(Grant(kind="access", until=time.time() + TOKEN_S, rights=rights))
        return {"token": token, "access_token": token, "expires_in": TOKEN_S}

    def _actions(self, username: str, password: str) -> frozenset[str]:
        found = ALL_ACTIONS
        if self._accounts is not None:
            known = self._accounts.actions(username, password)
            if known is None:
                raise RefusedError("UNAUTHORIZED", "authentication required")
            found = known
        return found

    def _allowed(self, scheme: str, value: str) -> dict[str, frozenset[str]] | None:
        """Return repository (``*`` for all) → actions of a caller, None for an unknown one."""
        if scheme == "basic":
            try:
                username, _, password = (
                    base64.b64decode(value, validate=True).decode().partition(":")
                )
                return {"*": self._actions(username, password)}
            except (binascii.Error, UnicodeDecodeError, RefusedError):
                return None
        grant = self._verify(value, "access") if scheme == "bearer" else None
        if grant is None:
            return None
        return {name: frozenset(actions) for name, actions in grant.rights.items()}

    def _challenge(
        self, needs: Mapping[str, frozenset[str]], realm: str, *, invalid: bool
    ) -> RefusedError:
        scopes = [f"repository:{name}:{','.join(sorted(needs[name]))}" for name in needs]
        parts = [f'Bearer realm="{realm}"', f'service="{self.service}"']
        if scopes:
            parts.append(f'scope="{" ".join(scopes)}"')
        if invalid:
            parts.append('error="insufficient_scope"')
        return RefusedError(
            "UNAUTHORIZED",
            "authentication required",
            headers={"WWW-Authenticate": ",".join(parts)},
        )

    def _sign(self, grant: Grant) -> str:
        body = base64.urlsafe_b64encode(msgspec.json.encode(grant)).decode()
        return f"{body}.{self._mac(body)}"

    def _verify(self, token: str, kind: str) -> Grant | None:
        body, _, mac = token.partition(".")
        if not token.isascii() or not hmac.compare_digest(mac, self._mac(body)):
            return None
        grant = msgspec.json.decode(base64.urlsafe_b64decode(body), type=Grant)
        return grant if grant.kind == kind and grant.until > time.time() else None

    def _mac(self, body: str) -> str:
        return hmac.new(self._key, body.encode(), hashlib.sha256).hexdigest()


def parse_basic(authorization: str) -> tuple[str, str]:
    """Return name and password of a Basic header; two empty strings without one.

    Raises:
        RefusedError: ``UNAUTHORIZED``: it cannot be read.
    """
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        pair = base64.b64decode(value.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as exc:
        raise RefusedError("UNAUTHORIZED", "the Authorization header cannot be read") from exc
    username, _, password = pair.partition(":")
    return username, password


def dump(document: Mapping[str, object]) -> bytes:
    """Return a token service's answer as bytes."""
    return json.dumps(document).encode()

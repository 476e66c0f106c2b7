"""Who calls: service accounts with keys, the tokens that they get, and what they may do.

A service account's key file names our token endpoint, so Google's own libraries sign an assertion
and trade it for an access token here as they do at Google (RFC 7523).
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from edgectl_gke_edge.emulator.google.errors import permission_denied, unauthenticated

TOKEN_S = 3600
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
MASTERS = "system:masters"
GOOGLE_AUDIENCE = "https://oauth2.googleapis.com/token"
"""Google's libraries sign for it whatever ``token_uri`` says."""


class TokenError(Exception):
    """The token endpoint refuses; the code is OAuth's word (RFC 6749, 5.2)."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Principal:
    """A caller.

    Attributes:
        kubernetes_groups: His groups in the clusters; IAM's owner role means ``system:masters``.
        permissions: What he may do; None is everything.
    """

    email: str
    kubernetes_groups: tuple[str, ...] = (MASTERS,)
    permissions: frozenset[str] | None = None


Admit = Callable[[str, str, tuple[str, ...]], object]
Dismiss = Callable[[str], object]


@dataclass
class _Token:
    principal: Principal
    ends: float


@dataclass
class Identity:
    """Service accounts and tokens of a project.

    Attributes:
        denied: Permissions that everybody is refused: a fault.
    """

    project: str
    denied: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._tokens: dict[str, _Token] = {}
        self._keys: dict[str, tuple[rsa.RSAPublicKey, Principal]] = {}
        self._admit: list[Admit] = []
        self._dismiss: list[Dismiss] = []

    def on_token(self, admit: Admit, dismiss: Dismiss | None = None) -> None:
        """Tell a cluster of each token (token, user, groups), also of those that are there.

        Args:
            admit: Lets a token in.
            dismiss: Lets a token no longer in, once it was revoked.
        """
        with self._lock:
            self._admit.append(admit)
            if dismiss is not None:
                self._dismiss.append(dismiss)
            known = dict(self._tokens)
        for token, found in known.items():
            admit(token, found.principal.email, found.principal.kubernetes_groups)

    def add_service_account(
        self,
        name: str,
        token_uri: str,
        *,
        kubernetes_groups: tuple[str, ...] = (MASTERS,),
        permissions: frozenset[str] | None = None,
    ) -> dict[str, str]:
        """Make a service account; return its key file, for GOOGLE_APPLICATION_CREDENTIALS."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        email = f"{name}@{self.project}.iam.gserviceaccount.com"
        principal = Principal(email, kubernetes_groups, permissions)
        with self._lock:
            self._keys[email] = (key.public_key(), principal)
        return {
            "type": "service_account",
            "project_id": self.project,
            "private_key_id": secrets.token_hex(20),
            "private_key": key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ).decode(),
            "client_email": email,
            "client_id": str(secrets.randbelow(10**20)),
            "token_uri": token_uri,
            "universe_domain": "googleapis.com",
        }

    def issue(self, principal: Principal, seconds: int = TOKEN_S) -> str:
        """Make an access token and tell the clusters of it."""
        token = "ya29." + secrets.token_urlsafe(48)
        with self._lock:
            self._tokens[token] = _Token(principal, time.time() + seconds)
            admits = list(self._admit)
        for admit in admits:
            admit(token, principal.email, principal.kubernetes_groups)
        return token

    def revoke_all(self) -> None:
        """Let all tokens end: calls are UNAUTHENTICATED until a new one is got."""
        with self._lock:
            ended = list(self._tokens)
            self._tokens.clear()
            tellers = list(self._dismiss)
        for token in ended:
            for dismiss in tellers:
                dismiss(token)

    def authenticate(self, authorization: str) -> Principal:
        """Say who calls.

        Raises:
            GoogleError: UNAUTHENTICATED.
        """
        scheme, _, token = authorization.partition(" ")
        with self._lock:
            found = self._tokens.get(token.strip())
        if scheme.lower() != "bearer" or found is None or found.ends < time.time():
            raise unauthenticated()
        return found.principal

    def check(self, principal: Principal, permission: str, resource: str) -> None:
        """Let a call through.

        Raises:
            GoogleError: PERMISSION_DENIED, naming permission and resource.
        """
        allowed = principal.permissions is None or permission in principal.permissions
        if not allowed or permission in self.denied:
            raise permission_denied(permission, resource)

    def exchange(self, grant_type: str, assertion: str, audience: str) -> dict[str, Any]:
        """Trade a signed assertion for an access token.

        Raises:
            TokenError: ``unsupported_grant_type`` or ``invalid_grant``.
        """
        if grant_type != GRANT:
            raise TokenError("unsupported_grant_type", f"Invalid grant_type: {grant_type}")
        claims = self._verified(assertion)
        if claims.get("aud") not in {audience, GOOGLE_AUDIENCE}:
            raise TokenError("invalid_grant", "Invalid JWT: Failed audience check.")
        if not claims.get("iat", 0) - 300 <= time.time() <= claims.get("exp", 0):
            raise TokenError(
                "invalid_grant",
                "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable "
                "timeframe. Check your iat and exp values in the JWT claim.",
            )
        if not claims.get("scope") and not claims.get("target_audience"):
            raise TokenError("invalid_scope", "Invalid OAuth scope or ID token audience provided.")
        _, principal = self._keys[claims["iss"]]
        token = self.issue(principal)
        return {"access_token": token, "expires_in": TOKEN_S - 1, "token_type": "Bearer"}

    def _verified(self, assertion: str) -> dict[str, Any]:
        try:
            head, body, signature = assertion.split(".")
            claims: dict[str, Any] = json.loads(_decode(body))
            key, _ = self._keys[claims["iss"]]
            signed = f"{head}.{body}".encode()
            key.verify(_decode(signature), signed, padding.PKCS1v15(), hashes.SHA256())
        except KeyError as exc:
            raise TokenError("invalid_grant", "Invalid grant: account not found") from exc
        except (ValueError, InvalidSignature) as exc:
            raise TokenError("invalid_grant", "Invalid JWT Signature.") from exc
        return claims


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

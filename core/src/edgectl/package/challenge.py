"""Answering a registry that asks who we are: Basic, or a bearer token from its token service.

Pure but for the one request to the token service, which the caller makes.
Sources: RFC 9110 section 11; the distribution project's token authentication specification.
"""

from __future__ import annotations

import re
from urllib.parse import urlencode, urlsplit

import msgspec

from edgectl.errors import RegistryError
from edgectl.package.credentials import Credentials

_PARAMETER = re.compile(r'([A-Za-z_]+)=(?:"([^"]*)"|([^\s,"]+))')
CLIENT_ID = "edgectl"


class Challenge(msgspec.Struct, frozen=True, kw_only=True):
    """What a ``WWW-Authenticate`` header asks for; scheme in lower case."""

    scheme: str
    parameters: dict[str, str] = {}


class TokenRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The request that fetches a bearer token."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes | None = None


class _TokenAnswer(msgspec.Struct, frozen=True):
    token: str = ""
    access_token: str = ""


_TOKENS = msgspec.json.Decoder(_TokenAnswer)


def parse_challenge(header: str) -> Challenge:
    """Read a ``WWW-Authenticate`` header."""
    scheme, _, rest = header.strip().partition(" ")
    found = {name.lower(): quoted or bare for name, quoted, bare in _PARAMETER.findall(rest[:8192])}
    return Challenge(scheme=scheme.lower(), parameters=found)


def token_request(
    challenge: Challenge, credentials: Credentials | None, *, scope: str, plain_http: bool
) -> TokenRequest:
    """Return the request that answers a bearer challenge.

    Args:
        challenge: What the registry asked for.
        credentials: Who we are, or None for an anonymous token.
        scope: What we want to do, where the challenge does not say it.
        plain_http: Whether the token service may be spoken to without TLS.

    Raises:
        RegistryError: The token service's address is missing or not safe.
    """
    realm = challenge.parameters.get("realm", "")
    address = urlsplit(realm)
    allowed = ("https", "http") if plain_http else ("https",)
    if address.scheme not in allowed or not address.hostname or address.username:
        raise RegistryError(f"the registry's token service '{realm[:200]}' is not a safe address")
    fields = {"service": challenge.parameters.get("service", "")}
    fields["scope"] = challenge.parameters.get("scope") or scope
    if credentials is not None and credentials.identity_token:
        fields |= {"grant_type": "refresh_token", "client_id": CLIENT_ID}
        fields["refresh_token"] = credentials.identity_token
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return TokenRequest(
            method="POST", url=realm, headers=headers, body=urlencode(fields).encode()
        )
    separator = "&" if address.query else "?"
    query = urlencode({name: value for name, value in fields.items() if value})
    headers = {"Authorization": credentials.basic} if credentials is not None else {}
    return TokenRequest(method="GET", url=f"{realm}{separator}{query}", headers=headers)


def parse_token(data: bytes) -> str:
    """Return the token in a token service's answer.

    Raises:
        RegistryError: There is none.
    """
    try:
        answer = _TOKENS.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise RegistryError("the registry's token service gave no readable answer") from exc
    token = answer.token or answer.access_token
    if not token or not token.isascii() or not token.isprintable():
        raise RegistryError("the registry's token service gave no token")
    return token

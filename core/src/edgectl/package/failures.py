"""What a registry's refusals and broken connections become: errors that people can act on."""

from __future__ import annotations

import msgspec
import urllib3
from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.exceptions import SSLError as TlsError

from edgectl.errors import RegistryError

_MAX_ERROR_BYTES = 64 << 10
_RETRIED = frozenset({408, 429, 500, 502, 503, 504})
_HINTS = {
    401: "Log in to the registry first (docker login, skopeo login or oras login).",
    403: "The account may not do this here; ask the registry's owner for access.",
    404: "Check the repository's name and the tag or digest.",
    405: "The registry does not allow this; is it read-only?",
    413: "The registry or a proxy before it does not take content of this size.",
    429: "The registry asks to slow down; try again later.",
}
_PLAIN = "The registry speaks plain HTTP; allow it (insecure) if you trust the network."
_TLS = "Check the registry's certificate; SSL_CERT_FILE names your own authority."
_UNREACHABLE = "Check the host and port, and that the registry is running."


class TransientError(RegistryError):
    """The registry was busy or the connection broke: trying again may help.

    Attributes:
        retry_after: What the registry said about when, or "".
    """

    retry_after = ""


class _ApiError(msgspec.Struct, frozen=True):
    code: str = ""
    message: str = ""


class _ApiErrors(msgspec.Struct, frozen=True):
    errors: list[_ApiError] = []


_ERRORS = msgspec.json.Decoder(_ApiErrors)


def refusal(name: str, method: str, response: urllib3.BaseHTTPResponse) -> RegistryError:
    """Return the error for an answer that is none of those that were expected.

    Args:
        name: Registry and repository, for the message.
        method: What was asked.
        response: The answer; its body is read.
    """
    code, message = _api_error(response)
    detail = f" ({code}{': ' + message if message else ''})" if code else ""
    kind = TransientError if response.status in _RETRIED else RegistryError
    error = kind(
        f"{name} answered {method} with status {response.status}{detail}",
        hint=_HINTS.get(response.status, ""),
        vendor_code=code or str(response.status),
    )
    if isinstance(error, TransientError):
        error.retry_after = response.headers.get("Retry-After", "")
    return error


def failure(name: str, exc: HTTPError, *, answered: bool) -> RegistryError:
    """Return the error for a request that got no answer.

    Args:
        name: Registry and repository, for the message.
        exc: What urllib3 says.
        answered: The registry answered before, so it may come back.
    """
    text = str(exc)[:300]
    if isinstance(exc, TlsError):
        plain = "WRONG_VERSION_NUMBER" in text or "record layer" in text
        return RegistryError(f"{name} cannot be trusted: {text}", hint=_PLAIN if plain else _TLS)
    if isinstance(exc, NewConnectionError):
        kind = TransientError if answered else RegistryError
        return kind(f"{name} cannot be reached: {text}", hint=_UNREACHABLE)
    return TransientError(f"{name} broke the connection: {text}")


def _api_error(response: urllib3.BaseHTTPResponse) -> tuple[str, str]:
    try:
        data = response.read(_MAX_ERROR_BYTES, decode_content=True)
        errors = _ERRORS.decode(data).errors
    except (msgspec.DecodeError, UnicodeDecodeError, HTTPError):
        return "", ""
    first = errors[0] if errors else _ApiError()
    printable = "".join(one if one.isprintable() else " " for one in first.message[:300])
    return "".join(one for one in first.code[:80] if one.isprintable()), printable

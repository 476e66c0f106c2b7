"""What the server's refusals mean in edgectl's words: one table, no I/O.

Sources: hawkBit management API, ``ExceptionInfo.errorCode``; where a server gives no code, the
HTTP status decides.
"""

from __future__ import annotations

import msgspec

from edgectl.api import (
    AuthError,
    ConflictError,
    LimitError,
    NotFoundError,
    ProviderError,
    ThrottledError,
    UnreachableError,
    UnsupportedError,
)

CREDENTIALS_HINT = "check `username` and `password_file` (or `token`) of providers.selfhosted"
ADDRESS_HINT = "check `url` of providers.selfhosted, and that the hub runs (`edgectl hub`)"
WRONG_SERVER_HINT = "`url` of providers.selfhosted has to be a hub or a hawkBit server"

# Parts of hawkBit's error codes, in the order in which they are looked for.
_BY_CODE: tuple[tuple[str, type[ProviderError], str], ...] = (
    (".quota.", LimitError, "the server's quota; its operator can raise it"),
    ("filesizequota", LimitError, "the server's limit for one artifact; its operator can raise it"),
    ("storagequota", LimitError, "the server's storage quota; its operator can raise it"),
    ("alreayexists", ConflictError, ""),  # hawkBit's own spelling
    ("alreadyexists", ConflictError, ""),
    ("concurrentmodification", ConflictError, "somebody else changed it; try again"),
    ("entityreadonly", ConflictError, ""),
    ("locked", ConflictError, ""),
    ("notfound", NotFoundError, ""),
    ("insufficientpermission", AuthError, "the user needs more permissions on the server"),
)

_BY_STATUS: dict[int, tuple[type[ProviderError], str]] = {
    401: (AuthError, CREDENTIALS_HINT),
    403: (AuthError, "the user needs more permissions on the server"),
    404: (NotFoundError, ""),
    405: (UnsupportedError, WRONG_SERVER_HINT),
    409: (ConflictError, ""),
    413: (LimitError, "the server, or a proxy before it, takes no body of this size"),
    423: (ConflictError, ""),
    429: (ThrottledError, "wait, or raise the server's request limit"),
    502: (UnreachableError, ADDRESS_HINT),
    503: (UnreachableError, "the server is starting or overloaded; try again"),
    504: (UnreachableError, ADDRESS_HINT),
    507: (LimitError, "the server's disk is full"),
}

# What OpenSSL and the HTTP client say, in the order in which it is looked for.
_BY_PROBLEM: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("hostname mismatch", "ip address mismatch"),
        "the certificate is for another name: use that name in `url`",
    ),
    (
        ("certificate_verify_failed", "certificate verify failed"),
        "the server's certificate is not trusted: give its authority's PEM file as `ca`",
    ),
    (
        ("wrong_version_number", "record_layer_failure", "record layer failure"),
        "the server does not speak TLS there: `url` begins with http://",
    ),
    (
        ("without sending a response", "illegal request line"),
        "if the server speaks TLS, `url` begins with https://",
    ),
    (
        ("certificate_required", "certificate required", "handshake_failure"),
        "the server asks for a client certificate; use its address for operators",
    ),
    (("timed out",), "raise `timeout_s` of providers.selfhosted; " + ADDRESS_HINT),
)


class ExceptionInfo(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A refusal as hawkBit writes it."""

    error_code: str = ""
    message: str = ""


_REFUSALS = msgspec.json.Decoder(ExceptionInfo)


def parse_refusal(body: bytes) -> ExceptionInfo:
    """Read a refusal's body; an empty one where it is not hawkBit's JSON."""
    try:
        return _REFUSALS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ExceptionInfo()


def is_quota(info: ExceptionInfo) -> bool:
    """Whether the refusal is a quota, which hawkBit also answers with 429 and which stays."""
    return _class_by_code(info.error_code) == LimitError


def from_refusal(what: str, status: int, info: ExceptionInfo) -> ProviderError:
    """Return the error for a refused request.

    Args:
        what: What was being done, to stand after "cannot".
        status: The HTTP status.
        info: The parsed body.
    """
    kind, hint = _lookup(status, info.error_code)
    said = info.message[:300] or f"the server answered {status}"
    return kind(f"cannot {what}: {said}", hint=hint, vendor_code=info.error_code or str(status))


def from_transport(what: str, server: str, problem: str) -> UnreachableError:
    """Return the error for a request that got no answer.

    Args:
        what: What was being done, to stand after "cannot".
        server: The base address.
        problem: What the connection said.
    """
    return UnreachableError(
        f"cannot {what}: '{server}' cannot be reached: {problem}", hint=transport_hint(problem)
    )


def transport_hint(problem: str) -> str:
    """Return what to do about a connection that failed."""
    lowered = problem.lower()
    return next(
        (hint for words, hint in _BY_PROBLEM if any(word in lowered for word in words)),
        ADDRESS_HINT,
    )


def _lookup(status: int, code: str) -> tuple[type[ProviderError], str]:
    lowered = code.lower()
    for part, kind, hint in _BY_CODE:
        if part in lowered:
            return kind, hint
    return _BY_STATUS.get(status, (ProviderError, ""))


def _class_by_code(code: str) -> type[ProviderError] | None:
    lowered = code.lower()
    return next((kind for part, kind, _hint in _BY_CODE if part in lowered), None)

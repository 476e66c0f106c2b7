"""What an API server, Google or the network said, as errors that a user can act on; pure.

Kubernetes answers with a ``Status`` whose ``reason`` is a stable word; Google's APIs with a gRPC
code. Both words are kept as the error's vendor code.
Source: kubernetes API conventions, "Error codes"; google.rpc.Code.
"""

from __future__ import annotations

import re

from edgectl.api import (
    AuthError,
    ConflictError,
    LimitError,
    NotFoundError,
    ProviderError,
    Record,
    ThrottledError,
    UnreachableError,
)

DOCS = "docs/providers/gke.md"
LOGIN_HINT = (
    "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS; "
    "`edgectl doctor` checks"
)
EXPIRED_HINT = (
    "log in again (`gcloud auth application-default login`), then run the command again: it goes on"
)
KUBECONFIG_HINT = "check the context's user in the kubeconfig file, or log in to the cluster again"
CLOCK_HINT = "set this machine's clock, then run the command again"
ADDRESS_HINT = "check the network and the cluster; run the command again: it goes on"
THROTTLE_HINT = "wait a minute and run the command again: it goes on where it stopped"
_DENIED = re.compile(r'cannot (\w+) resource "([^"]+)" in API group "([^"]*)"')
_WHERE = re.compile(r'in the namespace "([^"]+)"')
_QUOTA = re.compile(r"exceeded quota: ([^,\s]+)")
_CLOCK = re.compile(r"not yet valid|in the future|clock|skew|iat|issued at", re.IGNORECASE)
_EXPIRED = re.compile(r"expired|invalid_grant|revoked|reauth", re.IGNORECASE)
MAX_SAID = 400


class Cause(Record, frozen=True, kw_only=True):
    """One of the causes that a ``Status`` lists."""

    reason: str = ""
    field: str = ""
    message: str = ""


class Refusal(Record, frozen=True, kw_only=True):
    """What an API server said.

    Attributes:
        status: The HTTP status.
        reason: The ``Status``' word, or "".
    """

    cluster: str
    status: int
    reason: str = ""
    message: str = ""
    causes: tuple[Cause, ...] = ()


def from_refusal(what: str, refusal: Refusal) -> ProviderError:
    """Return the error for a call that an API server refused.

    Args:
        what: What was being done, to stand after "cannot".
        refusal: What it said.
    """
    said = _short(refusal.message) or refusal.reason or f"HTTP {refusal.status}"
    code = refusal.reason or str(refusal.status)
    where = f" (cluster '{refusal.cluster}')"
    special = _SPECIAL.get(refusal.status)
    if special is not None:
        return special(what, refusal, said, code)
    kind: type[ProviderError] = ProviderError
    if refusal.status == 404:
        kind = NotFoundError
    if refusal.status >= 500:
        kind = UnreachableError
    hint = ADDRESS_HINT if kind is UnreachableError else ""
    return kind(f"cannot {what}: {said}{where}", hint=hint, vendor_code=code)


def _throttled(what: str, refusal: Refusal, said: str, code: str) -> ThrottledError:
    return ThrottledError(
        f"cannot {what}: cluster '{refusal.cluster}' asked to slow down, and kept asking ({said})",
        hint=THROTTLE_HINT,
        vendor_code=code,
    )


def _unauthorized(what: str, refusal: Refusal, said: str, code: str) -> AuthError:
    what = f"{what} (cluster '{refusal.cluster}')"
    if _CLOCK.search(said):
        return AuthError(f"cannot {what}: {said}", hint=CLOCK_HINT, vendor_code=code)
    return AuthError(
        f"cannot {what}: the cluster does not take the credentials ({said})",
        hint=f"{EXPIRED_HINT}; with `kubeconfig`, {KUBECONFIG_HINT}",
        vendor_code=code,
    )


def _forbidden(what: str, refusal: Refusal, said: str, code: str) -> ProviderError:
    if quota := _QUOTA.search(refusal.message):
        return LimitError(
            f"cannot {what}: quota '{quota[1]}' of cluster '{refusal.cluster}' is exceeded "
            f"({said})",
            hint="free what is not needed, or raise the quota",
            vendor_code="QuotaExceeded",
        )
    if "violates PodSecurity" in refusal.message:
        return ProviderError(
            f"cannot {what}: {said} (cluster '{refusal.cluster}')",
            hint="the namespace's pod-security label forbids it; "
            f"{DOCS} says which setting needs which level, and `delivery: init` needs no image "
            "volume",
            vendor_code="PodSecurity",
        )
    match = _DENIED.search(refusal.message)
    if match is None:
        return AuthError(
            f"cannot {what}: {said} (cluster '{refusal.cluster}')",
            hint=f"{DOCS} has the roles that are needed",
            vendor_code=code,
        )
    verb, resource = match[1], match[2] + (f".{match[3]}" if match[3] else "")
    place = _WHERE.search(refusal.message)
    within = f" in namespace '{place[1]}'" if place else ""
    return AuthError(
        f"cannot {what}: `{verb}` of `{resource}`{within} is not allowed in cluster "
        f"'{refusal.cluster}'",
        hint=f"add verb `{verb}` for `{resource}` to the role; {DOCS} has the whole role",
        vendor_code=code,
    )


def _conflict(what: str, refusal: Refusal, said: str, code: str) -> ConflictError:
    fields = [c for c in refusal.causes if c.reason == "FieldManagerConflict"]
    if not fields:
        return ConflictError(
            f"cannot {what}: {said} (cluster '{refusal.cluster}')", vendor_code=code
        )
    listed = ", ".join(f"{_manager(cause)} has {cause.field}" for cause in fields[:5])
    more = f" and {len(fields) - 5} more fields" if len(fields) > 5 else ""
    return ConflictError(
        f"cannot {what}: another field manager owns it in cluster '{refusal.cluster}': "
        f"{listed}{more}",
        hint="have that manager give the fields up, or remove the object; edgectl takes nothing "
        "from others",
        vendor_code="FieldManagerConflict",
    )


def _manager(cause: Cause) -> str:
    match = re.search(r'conflict with ("[^"]+")', cause.message)
    return match[1] if match else "somebody"


_SPECIAL = {401: _unauthorized, 403: _forbidden, 409: _conflict, 429: _throttled}


def not_reached(what: str, cluster: str, said: str, code: str) -> UnreachableError:
    """Return the error for a call that got no answer."""
    hint = CLOCK_HINT if "not yet valid" in said else ADDRESS_HINT
    return UnreachableError(
        f"cannot {what}: cluster '{cluster}' cannot be reached: {_short(said) or code}",
        hint=hint,
        vendor_code=code,
    )


_GRPC: dict[str, tuple[type[ProviderError], str]] = {
    "UNAUTHENTICATED": (AuthError, EXPIRED_HINT),
    "PERMISSION_DENIED": (AuthError, f"{DOCS} has the roles that are needed"),
    "NOT_FOUND": (NotFoundError, "check `project`, `locations` and `sources` of providers.gke"),
    "ALREADY_EXISTS": (ConflictError, ""),
    "ABORTED": (ConflictError, "run the command again"),
    "RESOURCE_EXHAUSTED": (ThrottledError, THROTTLE_HINT),
    "UNAVAILABLE": (UnreachableError, "check the network; run the command again: it goes on"),
    "DEADLINE_EXCEEDED": (UnreachableError, "check the network; run the command again: it goes on"),
    "INTERNAL": (UnreachableError, "Google failed; run the command again: it goes on"),
}


def from_google(what: str, code: str, said: str) -> ProviderError:
    """Return the error for a call that a Google API refused.

    Args:
        what: What was being done, to stand after "cannot".
        code: The gRPC code's name.
        said: What the API said.
    """
    kind, hint = _GRPC.get(code, (ProviderError, ""))
    if code == "UNAUTHENTICATED" and _CLOCK.search(said):
        hint = CLOCK_HINT
    permission = re.search(r"\b([a-z]+\.[a-zA-Z]+\.[a-z][A-Za-z]+)\b", said)
    if code == "PERMISSION_DENIED" and permission:
        hint = f"give the account {permission[1]}; {hint}"
    return kind(f"cannot {what}: {_short(said) or code}", hint=hint, vendor_code=code)


def no_credentials(what: str, said: str) -> AuthError:
    """Return the error for a call that found no credentials."""
    return AuthError(
        f"cannot {what}: there are no usable Google credentials ({_short(said)})",
        hint=LOGIN_HINT,
        vendor_code="NoCredentials",
    )


def refused_credentials(what: str, said: str) -> AuthError:
    """Return the error for credentials that Google does not renew."""
    hint = EXPIRED_HINT
    # Google's token server says this of an assertion that was signed by a clock that is off.
    short_lived = "Token must be a short-lived token" in said
    if short_lived or (_CLOCK.search(said) and not _EXPIRED.search(said)):
        hint = CLOCK_HINT
    return AuthError(
        f"cannot {what}: Google does not renew the credentials: {_short(said)}",
        hint=hint,
        vendor_code="RefreshError",
    )


def _short(text: str) -> str:
    return " ".join(text.split()).rstrip(".")[:MAX_SAID]

"""What Azure's refusals mean in edgectl's words: one table, no I/O.

Sources: "Understand and resolve IoT Hub errors" (iot-hub-troubleshoot-error-*), the ErrorCode list
of the service SDKs, Microsoft Entra's AADSTS codes, and "Control access to IoT Hub" for the
rights. The vendor's code always stays in ``vendor_code``.
"""

from __future__ import annotations

import json
import re
from email.utils import parsedate_to_datetime

import msgspec

from edgectl.api import (
    AuthError,
    ConflictError,
    LimitError,
    NotFoundError,
    PlanError,
    ProviderError,
    ThrottledError,
    UnreachableError,
)

LOGIN_HINT = (
    "set IOTHUB_CONNECTION_STRING, or run `az login` as somebody with a role on the hub; "
    "`edgectl doctor` checks"
)
EXPIRED_HINT = "log in again (`az login`), then run the command again: it goes on"
CLOCK_HINT = "set this machine's clock, then run the command again"
THROTTLE_HINT = (
    "wait a minute and run the command again: it goes on where it stopped; more units of the hub "
    "(`units` of providers.azure) raise its rates"
)
NOT_TRUSTED = "CERTIFICATE_VERIFY_FAILED"
TRUST_HINT = (
    "its certificate is of an authority that this machine does not trust, as a proxy's or an "
    "emulator's is: name that authority's PEM file in REQUESTS_CA_BUNDLE and SSL_CERT_FILE"
)
ADDRESS_HINT = "check the network, `iot_hub` and `host` of providers.azure; then run it again"
AGAIN_HINT = "Azure failed; run the command again: it goes on"
TIER_HINT = "take a hub of the Standard tier: a Basic hub can be upgraded in the portal"
CHANGED_HINT = "somebody else changed it; try again"
MAX_SKEW_S = 300.0

_CLASSES: dict[str, tuple[type[ProviderError], str]] = {
    "IotHubUnauthorized": (AuthError, LOGIN_HINT),
    "Unauthorized": (AuthError, LOGIN_HINT),
    "IotHubNotFound": (NotFoundError, "check `iot_hub` of providers.azure"),
    "DeviceNotFound": (NotFoundError, ""),
    "ModuleNotFound": (NotFoundError, ""),
    "ConfigurationNotFound": (NotFoundError, ""),
    "JobNotFound": (NotFoundError, ""),
    "NotFound": (NotFoundError, ""),
    "DeviceAlreadyExists": (ConflictError, ""),
    "ModuleAlreadyExistsOnDevice": (ConflictError, ""),
    "ConfigurationAlreadyExists": (ConflictError, ""),
    "PreconditionFailed": (ConflictError, CHANGED_HINT),
    "PreconditionFailedException": (ConflictError, CHANGED_HINT),
    "ConfigurationCountLimitExceeded": (LimitError, "remove deployments that nobody needs"),
    "DeviceMaximumLimitExceeded": (LimitError, ""),
    "IotHubQuotaExceeded": (LimitError, "the hub's messages of today are used up"),
    "ArgumentInvalid": (ProviderError, ""),
    "ServerError": (UnreachableError, AGAIN_HINT),
    "ServiceUnavailable": (UnreachableError, AGAIN_HINT),
    "GatewayTimeout": (UnreachableError, AGAIN_HINT),
}
DENIED = frozenset({"IotHubUnauthorizedAccess", "Forbidden", "AuthorizationFailed"})
_THROTTLED = frozenset(
    {
        "ThrottlingException",
        "ThrottlingBacklogTimeout",
        "ThrottleBacklogLimitExceeded",
        "GenericTooManyRequests",
    }
)
_TIER = frozenset({"OperationNotAllowedInCurrentTier", "OperationNotAvailableInCurrentTier"})
_WORDS = re.compile(r"ErrorCode:\s*(?P<code>[A-Za-z0-9]+)\s*;?\s*(?P<rest>.*)", re.DOTALL)
_EXPIRED = re.compile(r"expired|AADSTS70008|AADSTS70043|AADSTS500133|AADSTS700082", re.IGNORECASE)
_BASIC = re.compile(
    r"not (allowed|available|supported) in (the )?(current|basic|free)", re.IGNORECASE
)
_SIZE = re.compile(
    r"(twin|section|document).{0,40}(size|exceed|large)|exceeds? the maximum", re.IGNORECASE
)
_ACTION = re.compile(r"Microsoft\.Devices/IotHubs/[A-Za-z/]+")
_PERMISSION = re.compile(r"does not allow access for '(\w+)'")
_SECRET = re.compile(r"(SharedAccessKey=|sig=|SharedAccessSignature )[^;&\s\"]+")

# What a call needs: the policy right of a connection string, and the action of a role.
RIGHTS: dict[str, tuple[str, str]] = {
    "configurations.read": ("RegistryRead", "Microsoft.Devices/IotHubs/configurations/read"),
    "configurations.write": ("RegistryWrite", "Microsoft.Devices/IotHubs/configurations/write"),
    "configurations.delete": ("RegistryWrite", "Microsoft.Devices/IotHubs/configurations/delete"),
    "configurations.test": (
        "RegistryWrite",
        "Microsoft.Devices/IotHubs/configurations/testQueries/action",
    ),
    "devices.read": ("RegistryRead", "Microsoft.Devices/IotHubs/devices/read"),
    "devices.write": ("RegistryWrite", "Microsoft.Devices/IotHubs/devices/write"),
    "devices.delete": ("RegistryWrite", "Microsoft.Devices/IotHubs/devices/delete"),
    "twins.read": ("ServiceConnect", "Microsoft.Devices/IotHubs/twins/read"),
    "twins.write": ("ServiceConnect", "Microsoft.Devices/IotHubs/twins/write"),
    "query": ("ServiceConnect", "Microsoft.Devices/IotHubs/twins/read"),
    "methods": ("ServiceConnect", "Microsoft.Devices/IotHubs/directMethods/invoke/action"),
}


def right_of(method: str, path: str) -> str:
    """Return which of ``RIGHTS`` a call of the service API needs."""
    first, _, rest = path.strip("/").partition("/")
    if path.rstrip("/") == "/devices/query":
        return "query"
    if path.rstrip("/") == "/configurations/testQueries":
        return "configurations.test"
    if first == "twins" and rest.endswith("/methods"):
        return "methods"
    if method == "DELETE" and first != "twins":
        return f"{first}.delete"
    return f"{first}.{'read' if method == 'GET' else 'write'}"


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """What the hub said.

    Attributes:
        status: The HTTP status.
        code: Its own code, or "".
        message: Its words, without secrets.
        operation: What was called, a key of ``RIGHTS``.
        policy: Name of the policy that was used, or "" for a login.
        skew_s: How far this machine's clock is before the hub's; None where it is not known.
    """

    status: int
    code: str = ""
    message: str = ""
    operation: str = ""
    policy: str = ""
    skew_s: float | None = None


def read_refusal(
    status: int, body: bytes, headers: dict[str, str], *, operation: str, policy: str, now: float
) -> Refusal:
    """Read the hub's answer to a call that it refused.

    The hub writes ``{"Message": "ErrorCode:Name;words", "ExceptionMessage": "Tracking ID:…"}``,
    some parts of it ``{"errorCode": 400004, "message": …}``, and names the code in a header too.
    """
    lower = {key.lower(): value for key, value in headers.items()}
    text = _message(body)
    match = _WORDS.search(text)
    code = match["code"] if match else lower.get("iothub-errorcode", "")
    said = (match["rest"] if match else text).strip()
    return Refusal(
        status=status,
        code=code,
        message=_SECRET.sub(r"\1…", said.partition("\r\n")[0])[:500],
        operation=operation,
        policy=policy,
        skew_s=_skew(lower.get("date", ""), now),
    )


def _message(body: bytes) -> str:
    try:
        found = json.loads(body)
    except ValueError:
        return body[:500].decode(errors="replace")
    for _ in range(2):
        if isinstance(found, dict):
            lower = {str(key).lower(): value for key, value in found.items()}
            found = lower.get("message") or lower.get("error") or ""
        if isinstance(found, str) and found.lstrip().startswith("{"):
            try:
                found = json.loads(found)
            except ValueError:
                break
    return found if isinstance(found, str) else json.dumps(found)


def _skew(date: str, now: float) -> float | None:
    try:
        return now - parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError):
        return None


def from_refusal(what: str, refusal: Refusal) -> ProviderError | PlanError:
    """Return the error for a call that the hub refused.

    Args:
        what: What was being done, to stand after "cannot".
        refusal: What the hub said.
    """
    code = refusal.code or str(refusal.status)
    said = refusal.message.rstrip(". ") or code
    if refusal.status == 429 or refusal.code in _THROTTLED:
        return ThrottledError(
            f"cannot {what}: IoT Hub asked to slow down, and kept asking ({said})",
            hint=THROTTLE_HINT,
            vendor_code=code,
        )
    if refusal.code in _TIER or _BASIC.search(refusal.message):
        return ProviderError(
            f"cannot {what}: the hub's tier has no edge deployments, twins or methods ({said})",
            hint=TIER_HINT,
            vendor_code=code,
        )
    if refusal.status in {401, 403} and refusal.code not in _CLASSES.keys() - {
        "Unauthorized",
        "IotHubUnauthorized",
    }:
        return _unauthorized(what, refusal, said, code)
    if refusal.status in {400, 413} and _SIZE.search(refusal.message):
        return LimitError(f"cannot {what}: {said}", vendor_code=code)
    kind, hint = _CLASSES.get(refusal.code) or _by_status(refusal.status)
    return kind(f"cannot {what}: {said}", hint=hint, vendor_code=code)


def _by_status(status: int) -> tuple[type[ProviderError], str]:
    if status == 404:
        return NotFoundError, ""
    if status in {409, 412}:
        return ConflictError, CHANGED_HINT
    if status >= 500:
        return UnreachableError, AGAIN_HINT
    return ProviderError, ""


def _unauthorized(what: str, refusal: Refusal, said: str, code: str) -> AuthError:
    if refusal.skew_s is not None and abs(refusal.skew_s) > MAX_SKEW_S:
        side = "ahead of" if refusal.skew_s > 0 else "behind"
        return AuthError(
            f"cannot {what}: this machine's clock is {abs(refusal.skew_s) / 60:.0f} minutes "
            f"{side} the hub's, so what it signs is not valid",
            hint=CLOCK_HINT,
            vendor_code=code,
        )
    if _EXPIRED.search(refusal.message):
        return AuthError(f"cannot {what}: {said}", hint=EXPIRED_HINT, vendor_code=code)
    right, action = RIGHTS.get(refusal.operation, ("", ""))
    if refusal.policy:
        return _policy_refused(what, refusal, right, code)
    if named := _ACTION.search(refusal.message):
        action = named[0]
    if action and (refusal.status == 403 or refusal.code in DENIED):
        return AuthError(
            f"cannot {what}: {action} is not allowed",
            hint="give the role IoT Hub Data Contributor on the hub, or one with this action; "
            "docs/providers/azure.md has the whole role",
            vendor_code=code,
        )
    return AuthError(f"cannot {what}: {said}", hint=LOGIN_HINT, vendor_code=code)


def _policy_refused(what: str, refusal: Refusal, right: str, code: str) -> AuthError:
    """Return the error for a call that was signed with a policy's key."""
    if named := _PERMISSION.search(refusal.message):
        right = named[1]
    elif refusal.status == 401:
        return AuthError(
            f"cannot {what}: the hub does not take the key of its policy '{refusal.policy}'",
            hint="copy the connection string from the hub's shared access policies again: the key "
            "was made anew, or is another hub's",
            vendor_code=code,
        )
    return AuthError(
        f"cannot {what}: the policy '{refusal.policy}' does not have {right}",
        hint=f"take a policy with {right}; docs/providers/azure.md has what each step needs",
        vendor_code=code,
    )


def no_credentials(what: str, said: str) -> AuthError:
    """Return the error for a call that found nobody to call as."""
    first = _SECRET.sub(r"\1…", said.strip()).splitlines()[0] if said.strip() else "none found"
    return AuthError(
        f"cannot {what}: there are no usable Azure credentials ({first.rstrip('.')[:300]})",
        hint=EXPIRED_HINT if _EXPIRED.search(said) else LOGIN_HINT,
        vendor_code=_aadsts(said) or "CredentialUnavailable",
    )


def _aadsts(said: str) -> str:
    match = re.search(r"AADSTS\d+", said)
    return match[0] if match else ""


def bad_connection_string(why: str) -> AuthError:
    """Return the error for a connection string that cannot be read."""
    return AuthError(
        f"IOTHUB_CONNECTION_STRING cannot be read: {why}",
        hint="it is HostName=…;SharedAccessKeyName=…;SharedAccessKey=…, from the hub's shared "
        "access policies",
        vendor_code="BadConnectionString",
    )


def not_reached(what: str, host: str, said: str) -> UnreachableError:
    """Return the error for a call that got no answer."""
    return UnreachableError(
        f"cannot {what}: '{host}' cannot be reached: {said.strip().rstrip('.')[:300]}",
        hint=TRUST_HINT if NOT_TRUSTED in said else ADDRESS_HINT,
        vendor_code="NoAnswer",
    )

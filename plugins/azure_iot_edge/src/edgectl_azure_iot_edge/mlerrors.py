"""What refusals of Azure ML and of its storage mean in edgectl's words: one table, no I/O.

Sources: ARM's common error codes, "Blob service error codes", Microsoft Entra's AADSTS codes. The
vendor's code always stays in ``vendor_code``.
"""

from __future__ import annotations

import re

from edgectl.api import (
    AuthError,
    ConflictError,
    NotFoundError,
    ProviderError,
    ThrottledError,
    UnreachableError,
)
from edgectl_azure_iot_edge.errors import NOT_TRUSTED, TRUST_HINT

LOGIN_HINT = "run `az login`, or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET"
ROLE_HINT = (
    "give the role AzureML Data Scientist on the workspace, and Storage Blob Data Contributor on "
    "its storage account where that takes no keys; docs/providers/azure.md has each step's rights"
)
AGAIN_HINT = "Azure failed; run the command again: it goes on"
PLACE_HINT = "check `subscription_id`, `resource_group` and `workspace` of providers.azure"
QUOTA_HINT = "ask for more quota, or name another `compute` or `instance_type`"
PATH_CHANGED = "Asset paths cannot be updated"
_ACTION = re.compile(r"perform action '([^']+)'")
_PREFIX = re.compile(r"^\([A-Za-z]+\) ")
_SECRET = re.compile(r"(sig=|AccountKey=|SharedAccessSignature=)[^;&\s\"']+")
_KINDS: dict[int, tuple[type[ProviderError], str]] = {
    401: (AuthError, LOGIN_HINT),
    403: (AuthError, ROLE_HINT),
    404: (NotFoundError, PLACE_HINT),
    409: (ConflictError, ""),
    412: (ConflictError, ""),
    429: (ThrottledError, "wait a minute and run the command again"),
}
_PLACES = frozenset({"SubscriptionNotFound", "ResourceGroupNotFound", "ResourceNotFound"})


def plain(said: str) -> str:
    """Return the first line of what Azure said, without its code and secrets."""
    first = next((line for line in said.splitlines() if line.strip()), "")
    first = _PREFIX.sub("", first.strip())
    return _SECRET.sub(r"\1…", first).strip().rstrip(".")[:400]


def from_status(what: str, status: int, code: str, said: str) -> ProviderError:
    """Return the error for a call that was refused.

    Args:
        what: What was being done, to stand after "cannot".
        status: The HTTP status.
        code: Azure's word, or "".
        said: Azure's words.
    """
    text = f"cannot {what}: {plain(said) or status}"
    kind, hint = _kind(status, said)
    action = _ACTION.search(said)
    if kind is AuthError and action is not None:
        text += f"; {action[1]} is missing"
    if status == 404 and code not in _PLACES:
        hint = ""
    return kind(text, hint=hint, vendor_code=code or str(status))


def _kind(status: int, said: str) -> tuple[type[ProviderError], str]:
    if PATH_CHANGED in said:
        return ConflictError, ""
    if status in _KINDS:
        return _KINDS[status]
    if status >= 500:
        return UnreachableError, AGAIN_HINT
    return ProviderError, QUOTA_HINT if "quota" in said.lower() else ""


def no_login(what: str, said: str) -> AuthError:
    """Return the error for a call that found nobody to call as."""
    return AuthError(
        f"cannot {what}: there are no usable Azure credentials ({plain(said)})",
        hint=LOGIN_HINT,
        vendor_code="CredentialUnavailable",
    )


def no_answer(what: str, said: str) -> UnreachableError:
    """Return the error for a call that got no answer."""
    return UnreachableError(
        f"cannot {what}: Azure cannot be reached: {plain(said)}",
        hint=TRUST_HINT
        if NOT_TRUSTED in said
        else "check the network, then run the command again: it goes on",
        vendor_code="NoAnswer",
    )

"""Who may: Shared Key, service SAS and bearer tokens, checked as Blob storage checks them. Pure.

Sources: "Authorize with Shared Key"; "Create a service SAS" (version 2020-12-06 and later).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from edgectl.api import Record
from edgectl_azure_iot_edge.emulator.blob.errors import BlobError

MAX_SKEW = timedelta(minutes=15)
FIRST_VERSION = "2020-12-06"
_SIGNED = (
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
)
_RESPONSE = ("rscc", "rscd", "rsce", "rscl", "rsct")


class Asked(Record, frozen=True, kw_only=True):
    """What of a request is signed.

    Attributes:
        path: As it was sent, with the account as its first part.
        headers: Names in lower case.
        query: Decoded.
    """

    method: str
    path: str
    headers: dict[str, str]
    query: dict[str, str]


def sign(key: str, text: str) -> str:
    """Return the HMAC of a text under an account's key, both in Base64."""
    mac = hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256)
    return base64.b64encode(mac.digest()).decode()


def string_to_sign(asked: Asked, account: str) -> str:
    """Return what a Shared Key signature of a request covers."""
    signed = [asked.headers.get(name, "") for name in _SIGNED]
    if signed[2] == "0":
        signed[2] = ""
    if "x-ms-date" in asked.headers:
        signed[5] = ""
    own = sorted(
        (name for name in asked.headers if name.startswith("x-ms-")),
        key=lambda name: (name.replace("-", ""), name),  # the service passes over hyphens at first
    )
    canonical = "".join(f"{name}:{asked.headers[name].strip()}\n" for name in own)
    resource = f"/{account}{asked.path}"
    for name in sorted(asked.query, key=str.lower):
        resource += f"\n{name.lower()}:{asked.query[name]}"
    return "\n".join([asked.method, *signed]) + "\n" + canonical + resource


def check_shared_key(asked: Asked, authorization: str, key: str, now: datetime) -> None:
    """Check an ``Authorization: SharedKey account:signature`` header.

    Raises:
        BlobError: ``AuthenticationFailed``.
    """
    account, _, signature = authorization.removeprefix("SharedKey ").rpartition(":")
    date = asked.headers.get("x-ms-date") or asked.headers.get("date", "")
    try:
        sent = datetime.strptime(date, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
    except ValueError:
        raise _failed("Missing or malformed date header") from None
    if abs(now - sent) > MAX_SKEW:
        raise _failed(f"Request date header too old: '{date}'")
    if account != asked.path.split("/")[1]:
        raise _failed(f"'{account}' is not the account of the address")
    text = string_to_sign(asked, account)
    if not hmac.compare_digest(sign(key, text), signature):
        shown = text.replace("\n", "\\n")
        raise _failed(
            f"The MAC signature found in the HTTP request '{signature}' is not the same "
            f"as any computed signature. Server used following string to sign: '{shown}'"
        )


def make_sas(
    key: str, account: str, resource: str, *, permissions: str, kind: str, until: datetime
) -> str:
    """Return a service SAS as a query string.

    Args:
        key: The account's key.
        account: The account's name.
        resource: ``/container`` or ``/container/blob``.
        permissions: In the service's order (``racwdl``).
        kind: ``c`` for a container, ``b`` for a blob.
        until: When it ends.
    """
    query = {
        "sp": permissions,
        "se": until.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "spr": "https",
        "sv": FIRST_VERSION,
        "sr": kind,
    }
    query["sig"] = sign(key, _sas_text(query, f"/blob/{account}{resource}"))
    return urlencode(query)


def check_sas(
    query: Mapping[str, str],
    key: str,
    *,
    accounts: tuple[str, ...],
    container: str,
    blob: str,
    needs: str,
    now: datetime,
) -> None:
    """Check a service SAS.

    Args:
        query: The request's parameters.
        key: The account's key.
        accounts: The names that the account goes by.
        container: What is asked for.
        blob: The blob, or "".
        needs: Permissions of which one is enough.
        now: The account's time.

    Raises:
        BlobError: ``AuthenticationFailed`` or ``AuthorizationPermissionMismatch``.
    """
    if query.get("sv", "") < FIRST_VERSION:
        raise _failed(f"sv '{query.get('sv', '')}' is before {FIRST_VERSION}")
    kind = query.get("sr", "")
    if kind not in {"b", "c"}:
        raise _failed(f"sr '{kind}' is neither a blob nor a container")
    if not _moment(query, "se") > now or ("st" in query and _moment(query, "st") > now + MAX_SKEW):
        raise _failed(f"Signature not valid in the specified time frame: expiry '{query['se']}'")
    path = f"/{container}/{blob}" if kind == "b" else f"/{container}"
    signature = query.get("sig", "")
    texts = (_sas_text(query, f"/blob/{account}{path}") for account in accounts)
    if not any(hmac.compare_digest(sign(key, text), signature) for text in texts):
        raise _failed("Signature did not match")
    if kind == "b" and not blob:
        raise _mismatch()
    if not set(needs) & set(query.get("sp", "")):
        raise _mismatch()


def _sas_text(query: Mapping[str, str], resource: str) -> str:
    names = ("si", "sip", "spr", "sv", "sr", "snapshot", "ses", *_RESPONSE)
    parts = [query.get(name, "") for name in ("sp", "st", "se")]
    return "\n".join([*parts, resource, *(query.get(name, "") for name in names)])


def _moment(query: Mapping[str, str], name: str) -> datetime:
    try:
        found = datetime.fromisoformat(query.get(name, ""))
    except ValueError:
        raise _failed(f"{name} is missing or malformed") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _failed(detail: str) -> BlobError:
    return BlobError(
        "AuthenticationFailed",
        "Server failed to authenticate the request. Make sure the value of Authorization header "
        "is formed correctly including the signature.",
        detail=detail,
    )


def _mismatch() -> BlobError:
    return BlobError(
        "AuthorizationPermissionMismatch",
        "This request is not authorized to perform this operation using this permission.",
    )

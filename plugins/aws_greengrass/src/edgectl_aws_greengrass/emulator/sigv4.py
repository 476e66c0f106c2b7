"""Whether a request's signature is good: key, Region, time, session token, body, signature.

botocore's own signer computes what the signature has to be. Words and codes are those of the
services, which differ by protocol (AWS General Reference, signature version 4, troubleshooting).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.core.request import Request

from edgectl.api import Record
from edgectl_aws_greengrass.emulator.wire import ServiceError

MAX_SKEW = timedelta(minutes=5)
"""How far a request's clock may be off; S3 allows 15 minutes."""

S3_MAX_SKEW = timedelta(minutes=15)

_FORMAT = "%Y%m%dT%H%M%SZ"


class Scope(Record, frozen=True, kw_only=True):
    """What a request says of its signature, not yet checked.

    Attributes:
        signing_name: The service in the credential scope.
        presigned: Whether the signature stands in the query.
    """

    access_key_id: str
    day: str
    region: str
    signing_name: str
    signed_headers: tuple[str, ...]
    signature: str
    presigned: bool


class Key(Record, frozen=True, kw_only=True):
    """An access key that the account has given out.

    Attributes:
        token: The session token of temporary credentials.
        expires: When they end.
    """

    secret: str
    token: str | None = None
    expires: datetime | None = None


def scope_of(request: Request) -> Scope | None:
    """Read who signed a request, or None when nobody did.

    Raises:
        ServiceError: ``IncompleteSignature``.
    """
    header = request.headers.get("Authorization", "")
    if header.startswith("AWS4-HMAC-SHA256"):
        fields = dict(
            part.strip().split("=", 1)
            for part in header.removeprefix("AWS4-HMAC-SHA256").split(",")
            if "=" in part
        )
        return _scope(fields, presigned=False)
    if "X-Amz-Signature" in request.args:
        fields = {
            name.removeprefix("X-Amz-"): value
            for name, value in request.args.items()
            if name.startswith("X-Amz-")
        }
        return _scope(fields, presigned=True)
    return None


def _scope(fields: dict[str, str], *, presigned: bool) -> Scope:
    parts = fields.get("Credential", "").split("/")
    if len(parts) != 5 or parts[4] != "aws4_request" or not fields.get("Signature"):
        raise ServiceError("IncompleteSignature", "the Authorization header is not complete", 403)
    return Scope(
        access_key_id=parts[0],
        day=parts[1],
        region=parts[2],
        signing_name=parts[3],
        signed_headers=tuple(fields.get("SignedHeaders", "").split(";")),
        signature=fields["Signature"],
        presigned=presigned,
    )


def check(
    request: Request,
    scope: Scope,
    key: Key | None,
    *,
    region: str,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> None:
    """Check a signature.

    Args:
        request: What was signed.
        scope: What it says of itself.
        key: The key of its access key id, or None when the account has none.
        region: The Region that this endpoint serves.
        now: The clock.

    Raises:
        ServiceError: In the words of the service that the request is for.
    """
    words = _WORDS.get(scope.signing_name, _JSON_WORDS)
    if key is None:
        raise ServiceError(*words["unknown"])
    _check_token(request, scope, key, now(), words)
    if scope.region != region and not (scope.signing_name == "iam" and scope.region == "us-east-1"):
        raise _wrong_region(scope, region, words)
    _check_time(request, scope, now(), words)
    _check_body(request, scope)
    if not hmac.compare_digest(_expected(request, scope, key), scope.signature):
        raise ServiceError(*words["signature"])


def _check_token(
    request: Request, scope: Scope, key: Key, now: datetime, words: dict[str, Any]
) -> None:
    given = (
        request.args.get("X-Amz-Security-Token")
        if scope.presigned
        else request.headers.get("X-Amz-Security-Token")
    )
    if given != key.token:
        raise ServiceError(*words["token"])
    if key.expires is not None and key.expires <= now:
        raise ServiceError(*words["expired"])


def _wrong_region(scope: Scope, region: str, words: dict[str, Any]) -> ServiceError:
    if scope.signing_name == "s3":
        return ServiceError(
            "AuthorizationHeaderMalformed",
            f"The authorization header is malformed; the region '{scope.region}' is wrong; "
            f"expecting '{region}'",
            400,
            Region=region,
        )
    return ServiceError(
        words["signature"][0], "Credential should be scoped to a valid region.", 403
    )


def _check_time(request: Request, scope: Scope, now: datetime, words: dict[str, Any]) -> None:
    text = request.args.get("X-Amz-Date") if scope.presigned else request.headers.get("X-Amz-Date")
    try:
        signed = datetime.strptime(text or "", _FORMAT).replace(tzinfo=UTC)
    except ValueError:
        raise ServiceError("IncompleteSignature", f"no valid X-Amz-Date: '{text}'", 403) from None
    if scope.presigned:
        life = timedelta(seconds=int(request.args.get("X-Amz-Expires", "0")))
        if signed + life < now:
            raise ServiceError("AccessDenied", "Request has expired", 403)
        return
    if scope.signing_name == "s3":
        if abs(now - signed) > S3_MAX_SKEW:
            raise ServiceError(
                "RequestTimeTooSkewed",
                "The difference between the request time and the current time is too large.",
                403,
            )
        return
    late, early = now - MAX_SKEW, now + MAX_SKEW
    if signed < late:
        said = f"Signature expired: {text} is now earlier than {late:{_FORMAT}}"
    elif signed > early:
        said = f"Signature not yet current: {text} is still later than {early:{_FORMAT}}"
    else:
        return
    raise ServiceError(words["signature"][0], f"{said} ({now:{_FORMAT}} 5 min.)", 403)


def _check_body(request: Request, scope: Scope) -> None:
    declared = request.headers.get("X-Amz-Content-SHA256")
    if scope.presigned or declared is None or not _is_digest(declared):
        return
    if hashlib.sha256(request.get_data(cache=True)).hexdigest() != declared:
        raise ServiceError(
            "XAmzContentSHA256Mismatch",
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
            400,
        )


def _is_digest(text: str) -> bool:
    return len(text) == 64 and not set(text) - set("0123456789abcdef")


def _expected(request: Request, scope: Scope, key: Key) -> str:
    credentials = Credentials(scope.access_key_id, key.secret, key.token)
    query = request.query_string.decode()
    if scope.presigned:
        pairs = [(k, v) for k, v in parse_qsl(query, True) if k != "X-Amz-Signature"]
        query = urlencode(pairs)
    url = f"http://{request.headers.get('Host', '')}{request.raw_path}"
    headers = {
        name: request.headers[name] for name in scope.signed_headers if name in request.headers
    }
    signed = AWSRequest(
        method=request.method,
        url=f"{url}?{query}" if query else url,
        data=request.get_data(cache=True),
        headers=headers,
    )
    declared = request.headers.get("X-Amz-Content-SHA256")
    auth: Any
    if scope.presigned and scope.signing_name == "s3":
        auth = S3SigV4QueryAuth(credentials, "s3", scope.region)
    elif scope.signing_name == "s3":
        auth = S3SigV4Auth(credentials, "s3", scope.region)
    else:
        auth = SigV4Auth(credentials, scope.signing_name, scope.region)
    if not scope.presigned and "x-amz-content-sha256" not in scope.signed_headers:
        body = hashlib.sha256(request.get_data(cache=True)).hexdigest()
        signed.headers["X-Amz-Content-SHA256"] = declared or body
    signed.context["timestamp"] = (
        request.args.get("X-Amz-Date") if scope.presigned else request.headers["X-Amz-Date"]
    )
    canonical = _canonical(auth, signed, scope)
    text: str = auth.signature(auth.string_to_sign(signed, canonical), signed)
    return text


def _canonical(auth: Any, signed: AWSRequest, scope: Scope) -> str:
    """Build the canonical request over exactly the headers that were signed."""
    to_sign = auth.headers_to_sign(signed)
    for name in set(to_sign.keys()):
        if name.lower() not in scope.signed_headers:
            del to_sign[name]
    auth.headers_to_sign = lambda _: to_sign
    text: str = auth.canonical_request(signed)
    return text


_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your "
    "AWS Secret Access Key and signing method. Consult the service documentation for details."
)
_JSON_WORDS: dict[str, Any] = {
    "unknown": (
        "UnrecognizedClientException",
        "The security token included in the request is invalid.",
        403,
    ),
    "token": (
        "UnrecognizedClientException",
        "The security token included in the request is invalid.",
        403,
    ),
    "expired": (
        "ExpiredTokenException",
        "The security token included in the request is expired",
        403,
    ),
    "signature": ("InvalidSignatureException", _MISMATCH, 403),
}
_QUERY_WORDS: dict[str, Any] = {
    "unknown": (
        "InvalidClientTokenId",
        "The security token included in the request is invalid.",
        403,
    ),
    "token": (
        "InvalidClientTokenId",
        "The security token included in the request is invalid.",
        403,
    ),
    "expired": ("ExpiredToken", "The security token included in the request is expired", 403),
    "signature": ("SignatureDoesNotMatch", _MISMATCH, 403),
}
_S3_WORDS: dict[str, Any] = {
    "unknown": (
        "InvalidAccessKeyId",
        "The AWS Access Key Id you provided does not exist in our records.",
        403,
    ),
    "token": ("InvalidToken", "The provided token is malformed or otherwise invalid.", 400),
    "expired": ("ExpiredToken", "The provided token has expired.", 400),
    "signature": ("SignatureDoesNotMatch", _MISMATCH, 403),
}
_WORDS = {"s3": _S3_WORDS, "sts": _QUERY_WORDS, "iam": _QUERY_WORDS}

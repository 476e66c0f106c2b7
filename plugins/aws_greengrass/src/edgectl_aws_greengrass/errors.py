"""What AWS's refusals mean in edgectl's words: one table, no I/O.

Sources: the error shapes of botocore's models for greengrassv2, iot, s3, sts and sagemaker, and
"Common errors" of the AWS API references. The vendor's code always stays in ``vendor_code``.
"""

from __future__ import annotations

import re

import msgspec

from edgectl.api import (
    AuthError,
    ConflictError,
    LimitError,
    NotFoundError,
    ProviderError,
    ThrottledError,
    UnreachableError,
)

LOGIN_HINT = "run `aws sso login`, or set AWS_PROFILE or AWS_ACCESS_KEY_ID; `edgectl doctor` checks"
EXPIRED_HINT = "get new credentials (`aws sso login`), then run the command again: it goes on"
CLOCK_HINT = "set this machine's clock (AWS allows 5 minutes), then run the command again"
REGION_HINT = "check `region` and `bucket` of providers.aws: they have to be of one Region"
THROTTLE_HINT = "wait a minute and run the command again: it goes on where it stopped"
ADDRESS_HINT = (
    "check the network, `region` of providers.aws and AWS_ENDPOINT_URL; then run it again"
)

_CLASSES: dict[str, tuple[type[ProviderError], str]] = {
    "ExpiredToken": (AuthError, EXPIRED_HINT),
    "ExpiredTokenException": (AuthError, EXPIRED_HINT),
    "TokenRefreshRequired": (AuthError, EXPIRED_HINT),
    "RequestExpired": (AuthError, CLOCK_HINT),
    "RequestTimeTooSkewed": (AuthError, CLOCK_HINT),
    "InvalidAccessKeyId": (AuthError, LOGIN_HINT),
    "InvalidClientTokenId": (AuthError, LOGIN_HINT),
    "UnrecognizedClientException": (AuthError, LOGIN_HINT),
    "InvalidToken": (AuthError, LOGIN_HINT),
    "MissingAuthenticationToken": (AuthError, LOGIN_HINT),
    "AuthFailure": (AuthError, LOGIN_HINT),
    "SignatureDoesNotMatch": (AuthError, LOGIN_HINT),
    "InvalidSignatureException": (AuthError, LOGIN_HINT),
    "IncompleteSignature": (AuthError, LOGIN_HINT),
    "OptInRequired": (AuthError, "the account is not signed up for this service, or the Region"),
    "NoSuchBucket": (NotFoundError, "make the bucket, or correct `bucket` of providers.aws"),
    "NoSuchKey": (NotFoundError, ""),
    "404": (NotFoundError, ""),
    "NotFound": (NotFoundError, ""),
    "ResourceNotFoundException": (NotFoundError, ""),
    "ResourceNotFound": (NotFoundError, ""),
    "PermanentRedirect": (NotFoundError, REGION_HINT),
    "AuthorizationHeaderMalformed": (NotFoundError, REGION_HINT),
    "IllegalLocationConstraintException": (NotFoundError, REGION_HINT),
    "301": (NotFoundError, REGION_HINT),
    "ConflictException": (ConflictError, ""),
    "ConflictingResourceUpdateException": (ConflictError, "somebody else changed it; try again"),
    "ResourceAlreadyExistsException": (ConflictError, ""),
    "InvalidStateTransitionException": (ConflictError, ""),
    "VersionConflictException": (ConflictError, "somebody else changed it; try again"),
    "PreconditionFailed": (ConflictError, "somebody else changed it; try again"),
    "ConditionalRequestConflict": (ConflictError, "somebody else changed it; try again"),
    "412": (ConflictError, "somebody else changed it; try again"),
    "ServiceQuotaExceededException": (LimitError, "AWS Service Quotas may raise it"),
    "LimitExceededException": (LimitError, "AWS Service Quotas may raise it"),
    "ResourceLimitExceeded": (LimitError, "AWS Service Quotas may raise it"),
    "EntityTooLarge": (LimitError, ""),
    "ServiceUnavailable": (UnreachableError, ADDRESS_HINT),
    "ServiceUnavailableException": (UnreachableError, ADDRESS_HINT),
    "InternalServerException": (UnreachableError, "AWS failed; run the command again: it goes on"),
    "InternalFailureException": (UnreachableError, "AWS failed; run the command again: it goes on"),
    "InternalFailure": (UnreachableError, "AWS failed; run the command again: it goes on"),
    "InternalError": (UnreachableError, "AWS failed; run the command again: it goes on"),
}
DENIED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "UnauthorizedException",
        "NotAuthorized",
        "UnauthorizedOperation",
        "403",
    }
)
_THROTTLED = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "SlowDown",
        "RequestThrottled",
        "ProvisionedThroughputExceededException",
    }
)
_CLOCK = re.compile(r"not yet current|signature expired|is now earlier|is now later", re.IGNORECASE)
_REGION = re.compile(r"valid region|the region '[^']*' is wrong", re.IGNORECASE)
_ACTION = re.compile(r"\b([a-z0-9-]+:[A-Z][A-Za-z0-9]+)\b")


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """What a service said.

    Attributes:
        action: The IAM action of the call, for example ``greengrass:CreateDeployment``.
        bucket: The bucket that the service named, or "".
    """

    code: str
    message: str = ""
    status: int = 0
    action: str = ""
    bucket: str = ""


def from_refusal(what: str, refusal: Refusal) -> ProviderError:
    """Return the error for a call that AWS refused.

    Args:
        what: What was being done, to stand after "cannot".
        refusal: What the service said.
    """
    code, said = refusal.code, refusal.message.strip().rstrip(".")[:400]
    if code in DENIED:
        return _denied(what, refusal)
    if _CLOCK.search(refusal.message):
        return AuthError(f"cannot {what}: {said}", hint=CLOCK_HINT, vendor_code=code)
    if _REGION.search(refusal.message):
        return AuthError(f"cannot {what}: {said}", hint=REGION_HINT, vendor_code=code)
    if code in _THROTTLED or refusal.status == 429:
        return ThrottledError(
            f"cannot {what}: AWS asked to slow down, and kept asking ({said or code})",
            hint=THROTTLE_HINT,
            vendor_code=code,
        )
    kind, hint = _CLASSES.get(code, (ProviderError, ""))
    if kind is ProviderError and refusal.status >= 500:
        kind, hint = UnreachableError, ADDRESS_HINT
    named = f" ('{refusal.bucket}')" if refusal.bucket else ""
    return kind(f"cannot {what}: {said or code}{named}", hint=hint, vendor_code=code)


def _denied(what: str, refusal: Refusal) -> AuthError:
    named = _ACTION.search(refusal.message)
    action = named[1] if named else refusal.action
    return AuthError(
        f"cannot {what}: {action} is not allowed",
        hint=f"add {action} to the policy of the role or user; docs/providers/aws.md has the "
        "whole policy",
        vendor_code=refusal.code,
    )


def no_credentials(what: str, said: str) -> AuthError:
    """Return the error for a call that found no credentials to sign with."""
    return AuthError(
        f"cannot {what}: there are no usable AWS credentials ({said.strip().rstrip('.')})",
        hint=LOGIN_HINT,
        vendor_code="NoCredentials",
    )


def no_region(what: str) -> ProviderError:
    """Return the error for a call that knows no Region."""
    return ProviderError(
        f"cannot {what}: no AWS Region is set",
        hint="set `region` of providers.aws, or AWS_DEFAULT_REGION",
        vendor_code="NoRegion",
    )


def not_reached(what: str, endpoint: str, said: str, code: str) -> UnreachableError:
    """Return the error for a call that got no answer."""
    return UnreachableError(
        f"cannot {what}: '{endpoint}' cannot be reached: {said.strip().rstrip('.')[:300]}",
        hint=ADDRESS_HINT,
        vendor_code=code,
    )

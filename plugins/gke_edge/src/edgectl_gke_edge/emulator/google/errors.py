"""Refusals of Google's APIs: a code, a sentence, and details that programs read (AIP-193)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

IAM_DOMAIN = "iam.googleapis.com"
DOMAIN = "googleapis.com"


class GoogleError(Exception):
    """An API refuses a call.

    Attributes:
        code: The canonical code.
        message: The sentence.
        details: Messages of ``google.rpc`` that are sent with it.
    """

    def __init__(self, code: grpc.StatusCode, message: str, details: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details

    def to_status(self) -> Any:
        """Return the ``google.rpc.Status``."""
        packed = []
        for detail in self.details:
            message = any_pb2.Any()
            message.Pack(detail)
            packed.append(message)
        number: int = self.code.value[0]
        return status_pb2.Status(code=number, message=self.message, details=packed)


def _info(reason: str, domain: str, **metadata: str) -> Any:
    return error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata=metadata)


def unauthenticated() -> GoogleError:
    """The call has no token, or one that is not known or has ended."""
    message = (
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login "
        "cookie or other valid authentication credential. See "
        "https://developers.google.com/identity/sign-in/web/devconsole-project."
    )
    info = _info("ACCESS_TOKEN_TYPE_UNSUPPORTED", DOMAIN)
    return GoogleError(grpc.StatusCode.UNAUTHENTICATED, message, [info])


def permission_denied(permission: str, resource: str) -> GoogleError:
    """The caller lacks a permission on a resource."""
    message = f"Permission '{permission}' denied on resource '{resource}' (or it may not exist)."
    info = _info("IAM_PERMISSION_DENIED", IAM_DOMAIN, permission=permission, resource=resource)
    return GoogleError(grpc.StatusCode.PERMISSION_DENIED, message, [info])


def service_disabled(service: str, project: str) -> GoogleError:
    """The API is not switched on in the project."""
    message = (
        f"{service} has not been used in project {project} before or it is disabled. Enable it, "
        "then retry. If you enabled this API recently, wait a few minutes for the action to "
        "propagate to our systems and retry."
    )
    consumer = f"projects/{project}"
    info = _info("SERVICE_DISABLED", DOMAIN, service=service, consumer=consumer)
    return GoogleError(grpc.StatusCode.PERMISSION_DENIED, message, [info])


def rate_exceeded(service: str, number: str) -> GoogleError:
    """The project calls too often."""
    metric = f"{service}/default_requests"
    message = (
        f"Quota exceeded for quota metric 'Requests' and limit 'Requests per minute' of service "
        f"'{service}' for consumer 'project_number:{number}'."
    )
    consumer = f"projects/{number}"
    info = _info("RATE_LIMIT_EXCEEDED", DOMAIN, service=service, consumer=consumer)
    violation = error_details_pb2.QuotaFailure.Violation(subject=consumer, description=metric)
    failure = error_details_pb2.QuotaFailure(violations=[violation])
    return GoogleError(grpc.StatusCode.RESOURCE_EXHAUSTED, message, [info, failure])


def quota_exceeded(what: str, limit: int) -> GoogleError:
    """The project has as many of something as it may."""
    message = f"Quota exceeded: the project may have {limit} {what}."
    violation = error_details_pb2.QuotaFailure.Violation(subject=what, description=message)
    failure = error_details_pb2.QuotaFailure(violations=[violation])
    return GoogleError(grpc.StatusCode.RESOURCE_EXHAUSTED, message, [failure])


def not_found(name: str, *, gke: bool = False) -> GoogleError:
    """There is no such resource; GKE's own API words it in its way."""
    message = f"Not found: {name}." if gke else f"Resource '{name}' was not found"
    info = error_details_pb2.ResourceInfo(resource_name=name)
    return GoogleError(grpc.StatusCode.NOT_FOUND, message, [] if gke else [info])


def already_exists(name: str, *, gke: bool = False) -> GoogleError:
    """The name is taken."""
    message = f"Already exists: {name}." if gke else f"Resource '{name}' already exists"
    info = error_details_pb2.ResourceInfo(resource_name=name)
    return GoogleError(grpc.StatusCode.ALREADY_EXISTS, message, [] if gke else [info])


def invalid(field: str, why: str) -> GoogleError:
    """A field of the request is wrong."""
    violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=why)
    detail = error_details_pb2.BadRequest(field_violations=[violation])
    return GoogleError(grpc.StatusCode.INVALID_ARGUMENT, f"{field}: {why}", [detail])


def failed_precondition(why: str) -> GoogleError:
    """It cannot be done in the present state."""
    return GoogleError(grpc.StatusCode.FAILED_PRECONDITION, why)

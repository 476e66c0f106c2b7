"""Decides how a failed deployment is told: status, cause, error stack and error types.

The words are the real nucleus's (``DeploymentErrorCode`` and ``DeploymentErrorType`` of
aws-greengrass/aws-greengrass-nucleus, since 2.8): what a plugin maps has to be the same here.
"""

from __future__ import annotations

SUCCESSFUL = "SUCCESSFUL"
NO_STATE_CHANGE = "FAILED_NO_STATE_CHANGE"
ROLLBACK_NOT_REQUESTED = "FAILED_ROLLBACK_NOT_REQUESTED"
ROLLBACK_COMPLETE = "FAILED_ROLLBACK_COMPLETE"
UNABLE_TO_ROLLBACK = "FAILED_UNABLE_TO_ROLLBACK"

_ROOT = "DEPLOYMENT_FAILURE"
_USER_COMPONENT = "USER_COMPONENT_ERROR"
_MAX_DETAIL = 1_024

ERROR_TYPES = {
    "ACCESS_DENIED": "PERMISSION_ERROR",
    "ARTIFACT_CHECKSUM_MISMATCH": "COMPONENT_RECIPE_ERROR",
    "BAD_REQUEST": "NUCLEUS_ERROR",
    "COMPONENT_BOOTSTRAP_ERROR": _USER_COMPONENT,
    "COMPONENT_BOOTSTRAP_TIMEOUT": _USER_COMPONENT,
    "COMPONENT_BROKEN": _USER_COMPONENT,
    "COMPONENT_CIRCULAR_DEPENDENCY_ERROR": "REQUEST_ERROR",
    "COMPONENT_CONFIGURATION_NOT_VALID": _USER_COMPONENT,
    "COMPONENT_UPDATE_ERROR": _USER_COMPONENT,
    "COMPONENT_VERSION_REQUIREMENTS_NOT_MET": "REQUEST_ERROR",
    "CREDENTIAL_ENDPOINT_AUTH_FAILURE": "PERMISSION_ERROR",
    "DEPLOYMENT_DOCUMENT_NOT_VALID": "CLOUD_SERVICE_ERROR",
    "DISK_SPACE_CRITICAL": "DEVICE_ERROR",
    "GET_DEPLOYMENT_CONFIGURATION_ACCESS_DENIED": "PERMISSION_ERROR",
    "HTTP_REQUEST_ERROR": "HTTP_ERROR",
    "IO_WRITE_ERROR": "DEVICE_ERROR",
    "NETWORK_ERROR": "NETWORK_ERROR",
    "NUCLEUS_MISSING_REQUIRED_CAPABILITIES": "REQUEST_ERROR",
    "RECIPE_PARSE_ERROR": "COMPONENT_RECIPE_ERROR",
    "RESOLVE_COMPONENT_CANDIDATES_ACCESS_DENIED": "PERMISSION_ERROR",
    "RESOURCE_NOT_FOUND": "REQUEST_ERROR",
    "S3_ACCESS_DENIED": "PERMISSION_ERROR",
    "S3_BAD_REQUEST": "DEPENDENCY_ERROR",
    "S3_ERROR": "DEPENDENCY_ERROR",
    "S3_HEAD_OBJECT_ACCESS_DENIED": "PERMISSION_ERROR",
    "S3_HEAD_OBJECT_RESOURCE_NOT_FOUND": "REQUEST_ERROR",
    "S3_RESOURCE_NOT_FOUND": "DEPENDENCY_ERROR",
    "S3_SERVER_ERROR": "SERVER_ERROR",
    "SERVER_ERROR": "SERVER_ERROR",
    "THROTTLING_ERROR": "REQUEST_ERROR",
    "UNSUPPORTED_ARTIFACT_SCHEME": "COMPONENT_RECIPE_ERROR",
}
"""The type of each code that this device tells; type NONE is left out, as the nucleus does."""


class DeploymentError(Exception):
    """A deployment cannot go on.

    Attributes:
        codes: From the general to the particular, without DEPLOYMENT_FAILURE.
        detailed: The ``detailed-deployment-status``.
    """

    def __init__(self, message: str, *codes: str, detailed: str = NO_STATE_CHANGE) -> None:
        super().__init__(message)
        self.codes = codes
        self.detailed = detailed

    @property
    def stack(self) -> list[str]:
        """The error stack, general first."""
        return list(dict.fromkeys((_ROOT, *self.codes)))

    @property
    def types(self) -> list[str]:
        """The error types, each once."""
        return list(dict.fromkeys(ERROR_TYPES[code] for code in self.stack if code in ERROR_TYPES))

    def with_status(self, detailed: str) -> DeploymentError:
        """Return the same failure with another detailed status."""
        return DeploymentError(str(self), *self.codes, detailed=detailed)


class CancelledError(Exception):
    """The cloud took the deployment back before anything changed."""


class UnavailableError(Exception):
    """The cloud cannot be reached now; the nucleus tries again, for as long as it takes."""


def job_details(failure: DeploymentError | None) -> dict[str, str]:
    """Return an execution's ``statusDetails``: lists as the nucleus writes them, cut to 1,024."""
    if failure is None:
        return {"detailed-deployment-status": SUCCESSFUL}
    cause = " ".join(str(failure).split())
    return {
        "detailed-deployment-status": failure.detailed,
        "deployment-failure-cause": cause[:_MAX_DETAIL],
        "deployment-error-stack": f"[{', '.join(failure.stack)}]"[:_MAX_DETAIL],
        "deployment-error-types": f"[{', '.join(failure.types)}]"[:_MAX_DETAIL],
    }


def status_details(failure: DeploymentError | None) -> dict[str, object]:
    """Return the same for shadows and fleet status, where lists are lists."""
    if failure is None:
        return {"detailedStatus": SUCCESSFUL}
    return {
        "detailedStatus": failure.detailed,
        "failureCause": str(failure),
        "errorStack": failure.stack,
        "errorTypes": failure.types,
    }


def broken(component: str) -> DeploymentError:
    """Return the failure of a component that came up BROKEN."""
    return DeploymentError(
        f"Service {component} in broken state after deployment",
        "COMPONENT_UPDATE_ERROR",
        "COMPONENT_BROKEN",
    )

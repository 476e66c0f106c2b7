"""What the hub refuses, in the shape of Eclipse hawkBit: class, code, message and HTTP status.

Clients branch on the status and on ``errorCode``; both, and the class names, are hawkBit's
(its spelling included).
"""

from __future__ import annotations

import enum

import msgspec

_PACKAGE = "org.eclipse.hawkbit.repository.exception."


class Fault(enum.Enum):
    """A kind of refusal: HTTP status, error code, exception class."""

    UNAUTHORIZED = (401, "hawkbit.server.error.unauthorized", "InsufficientAuthenticationException")
    FORBIDDEN = (
        403,
        "hawkbit.server.error.insufficientpermission",
        "InsufficientPermissionException",
    )
    READ_ONLY = (403, "hawkbit.server.error.entityreadonly", "EntityReadOnlyException")
    NOT_FOUND = (404, "hawkbit.server.error.repo.entitiyNotFound", "EntityNotFoundException")
    NO_SUCH_PATH = (404, "hawkbit.server.error.notFound", "NoHandlerFoundException")
    METHOD = (
        405,
        "hawkbit.server.error.methodNotAllowed",
        "HttpRequestMethodNotSupportedException",
    )
    NOT_CANCELABLE = (
        405,
        "hawkbit.server.error.action.notCancelable",
        "CancelActionNotAllowedException",
    )
    NOT_FORCE_QUITABLE = (
        405,
        "hawkbit.server.error.action.notForceQuitable",
        "ForceQuitActionNotAllowedException",
    )
    EXISTS = (409, "hawkbit.server.error.repo.entitiyAlreayExists", "EntityAlreadyExistsException")
    GONE = (410, "hawkbit.server.error.action.notActive", "ActionNotActiveException")
    TOO_LARGE = (
        413,
        "hawkbit.server.error.quota.fileSizeExceeded",
        "FileSizeQuotaExceededException",
    )
    MEDIA_TYPE = (
        415,
        "hawkbit.server.error.mediaType",
        "HttpMediaTypeNotSupportedException",
    )
    LOCKED = (423, "hawkbit.server.error.entityLocked", "LockedException")
    QUOTA = (
        429,
        "hawkbit.server.error.quota.tooManyEntries",
        "AssignmentQuotaExceededException",
    )
    BODY = (400, "hawkbit.server.error.rest.body.notReadable", "MessageNotReadableException")
    CONSTRAINT = (
        400,
        "hawkbit.server.error.repo.constraintViolation",
        "ConstraintViolationException",
    )
    ATTRIBUTES = (
        400,
        "hawkbit.server.error.repo.invalidTargetAttributes",
        "InvalidTargetAttributeException",
    )
    CONFIRMATION = (
        400,
        "hawkbit.server.confirmation.feedback.invalid",
        "InvalidConfirmationFeedbackException",
    )
    SORT_SYNTAX = (
        400,
        "hawkbit.server.error.rest.param.sortParamSyntax",
        "SortParameterSyntaxErrorException",
    )
    SORT_FIELD = (
        400,
        "hawkbit.server.error.rest.param.invalidField",
        "SortParameterUnsupportedFieldException",
    )
    SORT_DIRECTION = (
        400,
        "hawkbit.server.error.rest.param.invalidDirection",
        "SortParameterUnsupportedDirectionException",
    )
    QUERY_SYNTAX = (
        400,
        "hawkbit.server.error.rest.param.rsqlParamSyntax",
        "RSQLParameterSyntaxException",
    )
    QUERY_FIELD = (
        400,
        "hawkbit.server.error.rest.param.rsqlInvalidField",
        "RSQLParameterUnsupportedFieldException",
    )
    CHECKSUM = (400, "hawkbit.server.error.artifact.uploadFailed.checksum", "InvalidHashException")
    UPLOAD = (400, "hawkbit.server.error.artifact.uploadFailed", "ArtifactUploadFailedException")
    INCOMPLETE = (
        400,
        "hawkbit.server.error.distributionset.incomplete",
        "IncompleteDistributionSetException",
    )
    INVALID_SET = (
        400,
        "hawkbit.server.error.distributionset.invalid",
        "InvalidDistributionSetException",
    )
    MODULE_TYPE = (
        400,
        "hawkbit.server.error.distributionset.modules.unsupported",
        "UnsupportedSoftwareModuleForThisDistributionSetException",
    )
    ROLLOUT_STATE = (
        400,
        "hawkbit.server.error.rollout.illegalstate",
        "RolloutIllegalStateException",
    )
    CONFIG_KEY = (
        400,
        "hawkbit.server.error.configKeyInvalid",
        "InvalidTenantConfigurationKeyException",
    )
    CONFIG_VALUE = (
        400,
        "hawkbit.server.error.configValueInvalid",
        "TenantConfigurationValidatorException",
    )
    STORAGE = (503, "hawkbit.server.error.repo.genericError", "GenericRepositoryException")
    INTERNAL = (500, "hawkbit.server.error.repo.genericError", "GenericRepositoryException")

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.value[0]


class HubError(Exception):
    """A request that the hub refuses; nothing was changed."""

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(message)
        self.fault = fault
        self.message = message

    def body(self) -> bytes:
        """Return hawkBit's ``ExceptionInfo``."""
        _, code, name = self.fault.value
        return msgspec.json.encode(
            {"exceptionClass": _PACKAGE + name, "errorCode": code, "message": self.message}
        )


def not_found(what: str, key: object) -> HubError:
    """Say that an entity does not exist."""
    return HubError(
        Fault.NOT_FOUND, f"{what} with given identifier '{str(key)[:256]}' does not exist"
    )

"""Refusals of Blob storage, in the service's words.

Source: "Blob service error codes" and "Common REST API error codes" of the Storage REST reference.
"""

from __future__ import annotations

from xml.sax.saxutils import escape

_STATUS = {
    "AuthenticationFailed": 403,
    "AuthorizationFailure": 403,
    "AuthorizationPermissionMismatch": 403,
    "BlobAlreadyExists": 409,
    "BlobNotFound": 404,
    "ConditionNotMet": 412,
    "ContainerAlreadyExists": 409,
    "ContainerNotFound": 404,
    "InternalError": 500,
    "InvalidBlockId": 400,
    "InvalidBlockList": 400,
    "InvalidHeaderValue": 400,
    "InvalidInput": 400,
    "InvalidMetadata": 400,
    "InvalidQueryParameterValue": 400,
    "InvalidRange": 416,
    "InvalidResourceName": 400,
    "InvalidXmlDocument": 400,
    "Md5Mismatch": 400,
    "MissingRequiredHeader": 400,
    "NoAuthenticationInformation": 401,
    "NotImplemented": 501,
    "RequestBodyTooLarge": 413,
    "ResourceNotFound": 404,
    "UnsupportedHttpVerb": 405,
}


class BlobError(Exception):
    """A request that the service refuses.

    Attributes:
        code: Its word for it.
        status: The HTTP status.
        detail: ``AuthenticationErrorDetail``, or "".
    """

    def __init__(
        self, code: str, message: str, *, status: int | None = None, detail: str = ""
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = _STATUS.get(code, 400) if status is None else status
        self.detail = detail

    def body(self) -> bytes:
        """Return the answer's XML."""
        detail = self.detail and (
            f"<AuthenticationErrorDetail>{escape(self.detail)}</AuthenticationErrorDetail>"
        )
        return (
            '<?xml version="1.0" encoding="utf-8"?>'
            f"<Error><Code>{escape(self.code)}</Code><Message>{escape(str(self))}</Message>"
            f"{detail}</Error>"
        ).encode()

"""Refusals of Azure Machine Learning, in Azure Resource Manager's form.

Source: the ARM common API contract ("error" with code, message, details and additionalInfo).
"""

from __future__ import annotations

_STATUS = {
    "AuthorizationFailed": 403,
    "Conflict": 409,
    "ExpiredAuthenticationToken": 401,
    "InvalidApiVersionParameter": 400,
    "InvalidAuthenticationToken": 401,
    "InvalidAuthenticationTokenAudience": 401,
    "InvalidRequestContent": 400,
    "MissingApiVersionParameter": 400,
    "NotFound": 404,
    "ResourceGroupNotFound": 404,
    "ResourceNotFound": 404,
    "SubscriptionNotFound": 404,
    "UserError": 400,
    "ValidationError": 400,
}


class MlError(Exception):
    """A request that the service refuses.

    Attributes:
        code: Its word for it.
        status: The HTTP status.
    """

    def __init__(self, code: str, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status = _STATUS.get(code, 400) if status is None else status

    def document(self) -> dict[str, object]:
        """Return the answer's body."""
        kind = {"type": "ComponentName", "info": {"value": "managementfrontend"}}
        return {
            "error": {
                "code": self.code,
                "message": str(self),
                "details": [],
                "additionalInfo": [kind],
            }
        }


def not_found(what: str) -> MlError:
    """Return the refusal for something that is not there; the service's code is UserError too."""
    return MlError("UserError", f"Not found: {what}", status=404)

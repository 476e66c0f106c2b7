"""The hub's errors: names, numbers, statuses, and the two envelopes that they come in.

The header ``iothub-errorcode`` is what clients should read. Registry, twins and configurations
answer ``{"Message": "ErrorCode:NAME;text", "ExceptionMessage": "Tracking ID:…"}``; modules answer
``{"errorCode": number, …}``; direct methods and queries answer the second as text within the first.
A 429 has no ``Retry-After``; it says in words how long to wait, and closes the connection.

Source: learn.microsoft.com, "Understand and resolve Azure IoT Hub errors", the service's list of
error codes, and reports of a real hub's answers.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec
from werkzeug.wrappers import Response

NUMBERS: Mapping[str, int] = {
    "GenericBadRequest": 400000,
    "InvalidProtocolVersion": 400001,
    "InvalidOperation": 400003,
    "ArgumentInvalid": 400004,
    "ArgumentNull": 400005,
    "IotHubFormatError": 400006,
    "BulkRegistryOperationFailure": 400013,
    "InvalidConfigurationTargetCondition": 400111,
    "InvalidConfigurationContent": 400112,
    "CannotModifyImmutableConfigurationContent": 400113,
    "InvalidConfigurationCustomMetricsQuery": 400114,
    "IotHubUnauthorizedAccess": 401002,
    "IotHubUnauthorized": 401003,
    "JobQuotaExceeded": 403003,
    "OperationNotAvailableInCurrentTier": 403010,
    "DeviceNotFound": 404001,
    "JobNotFound": 404002,
    "ModuleNotFound": 404010,
    "DeviceNotOnline": 404103,
    "ConfigurationNotFound": 404401,
    "DeviceAlreadyExists": 409001,
    "DeviceLocked": 409002,
    "JobAlreadyExists": 409003,
    "ModuleAlreadyExistsOnDevice": 409301,
    "ConfigurationAlreadyExists": 409401,
    "PreconditionFailed": 412001,
    "MessageTooLarge": 413001,
    "TooManyDevices": 413002,
    "TooManyModulesOnDevice": 413003,
    "ConfigurationCountLimitExceeded": 413004,
    "GenericTooManyRequests": 429000,
    "ThrottlingException": 429001,
    "ThrottlingBacklogTimeout": 429003,
    "ThrottlingMaxActiveJobCountExceeded": 429004,
    "GenericServerError": 500000,
    "ServerError": 500001,
    "ServiceUnavailable": 503001,
    "GatewayTimeout": 504101,
}
"""The hub's name of an error → its number; the first three digits are the HTTP status."""

PLAIN, NUMBERED, NESTED = "plain", "numbered", "nested"


class HubError(Exception):
    """What the hub refuses.

    Args:
        code: A name in ``NUMBERS``; another one needs a status.
        message: The hub's sentence.
        status: HTTP status, where it is not the number's.
        envelope: ``PLAIN``, ``NUMBERED`` or ``NESTED``.
    """

    def __init__(
        self, code: str, message: str, *, status: int | None = None, envelope: str = PLAIN
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.number = NUMBERS.get(code, (status or 400) * 1000)
        self.status = status or self.number // 1000
        self.envelope = envelope


def throttled(operation: str) -> HubError:
    """Return the error of a call that is one too many."""
    return HubError(
        "ThrottlingBacklogTimeout",
        "The request has been throttled. Wait 10 seconds and try again. "
        f"Operation type: {operation}",
    )


def render(error: HubError, now: datetime | None = None) -> Response:
    """Write an error as the hub answers it."""
    at = now or datetime.now(UTC)
    tracking = f"{uuid.uuid4().hex.upper()}-G2:-TimeStamp:{at:%Y-%m-%dT%H:%M:%SZ}"
    numbered = {
        "errorCode": error.number,
        "trackingId": tracking,
        "message": error.message,
        "timestampUtc": f"{at:%Y-%m-%dT%H:%M:%S}Z",
    }
    document: dict[str, object] = dict(numbered)
    if error.envelope == NESTED:
        document = {
            "Message": msgspec.json.encode(numbered | {"info": None}).decode(),
            "ExceptionMessage": "",
        }
    elif error.envelope == PLAIN:
        document = {
            "Message": f"ErrorCode:{error.code};{error.message}",
            "ExceptionMessage": f"Tracking ID:{tracking}",
        }
    answer = Response(
        msgspec.json.encode(document),
        status=error.status,
        content_type="application/json; charset=utf-8",
    )
    answer.headers["iothub-errorcode"] = error.code
    if error.status == 429:
        answer.headers["Connection"] = "close"
    return answer

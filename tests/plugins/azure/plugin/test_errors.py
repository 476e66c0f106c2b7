"""What the hub's refusals mean: its own words in, a sentence and a way out of it."""

from __future__ import annotations

import json
from email.utils import formatdate

import pytest

from edgectl.api import (
    AuthError,
    ConflictError,
    LimitError,
    NotFoundError,
    ProviderError,
    ThrottledError,
    UnreachableError,
)
from edgectl_azure_iot_edge.errors import (
    RIGHTS,
    from_refusal,
    no_credentials,
    read_refusal,
    right_of,
)
from edgectl_azure_iot_edge.limits import kind_of

NOW = 1_800_000_000.0


def refused(
    status: int, message: str, *, policy: str = "deploys", skew_s: float = 0, operation: str = ""
) -> ProviderError:
    body = json.dumps({"Message": message, "ExceptionMessage": "Tracking ID:1"}).encode()
    headers = {"Date": formatdate(NOW - skew_s, usegmt=True)}
    refusal = read_refusal(
        status, body, headers, operation=operation or "twins.write", policy=policy, now=NOW
    )
    found = from_refusal("do it", refusal)
    assert isinstance(found, ProviderError)
    return found


@pytest.mark.parametrize(
    ("status", "message", "kind", "code"),
    [
        (
            404,
            "ErrorCode:DeviceNotFound;Unable to find device 'x'",
            NotFoundError,
            "DeviceNotFound",
        ),
        (412, "ErrorCode:PreconditionFailed;Etag mismatch", ConflictError, "PreconditionFailed"),
        (409, "ErrorCode:DeviceAlreadyExists;there", ConflictError, "DeviceAlreadyExists"),
        (429, "ErrorCode:ThrottlingException;slow down", ThrottledError, "ThrottlingException"),
        (429, "", ThrottledError, "429"),
        (
            403,
            "ErrorCode:OperationNotAvailableInCurrentTier;upgrade",
            ProviderError,
            "OperationNotAvailableInCurrentTier",
        ),
        (
            413,
            "ErrorCode:ConfigurationCountLimitExceeded;100",
            LimitError,
            "ConfigurationCountLimitExceeded",
        ),
        (
            400,
            "ErrorCode:ArgumentInvalid;The size of twin tags is 9000, which exceeds the limit",
            LimitError,
            "ArgumentInvalid",
        ),
        (400, "ErrorCode:ArgumentInvalid;what", ProviderError, "ArgumentInvalid"),
        (403, "ErrorCode:IotHubQuotaExceeded;done for today", LimitError, "IotHubQuotaExceeded"),
        (500, "ErrorCode:ServerError;oops", UnreachableError, "ServerError"),
        (503, "", UnreachableError, "503"),
        (418, "teapot", ProviderError, "418"),
    ],
)
def test_each_refusal_is_of_its_kind_with_the_hubs_code(
    status: int, message: str, kind: type[ProviderError], code: str
) -> None:
    found = refused(status, message)
    assert type(found) is kind
    assert found.vendor_code == code
    assert found.message.startswith("cannot do it: ")


def test_a_basic_hub_is_told_what_to_buy() -> None:
    found = refused(403, "ErrorCode:OperationNotAllowedInCurrentTier;no")
    assert "Standard tier" in found.hint


def test_a_missing_right_of_a_policy_is_named() -> None:
    said = "ErrorCode:IotHubUnauthorizedAccess;Authorization rule 'deploys' does not allow access "
    found = refused(401, f"{said}for 'RegistryWrite'")
    assert found.message == "cannot do it: the policy 'deploys' does not have RegistryWrite"


def test_a_key_that_was_made_anew_is_told_as_such() -> None:
    found = refused(401, "ErrorCode:IotHubUnauthorizedAccess;Unauthorized")
    assert "does not take the key of its policy 'deploys'" in found.message


def test_a_missing_action_of_a_role_is_named() -> None:
    said = "ErrorCode:IotHubUnauthorizedAccess;Principal x is not authorized for "
    action = "Microsoft.Devices/IotHubs/configurations/write"
    found = refused(401, f"{said}{action} due to no assigned permissions", policy="")
    assert found.message == f"cannot do it: {action} is not allowed"
    assert "IoT Hub Data Contributor" in found.hint


@pytest.mark.parametrize(("skew_s", "side"), [(900, "ahead of"), (-900, "behind")])
def test_a_clock_that_is_off_is_told_before_anything_else(skew_s: float, side: str) -> None:
    found = refused(401, "ErrorCode:IotHubUnauthorizedAccess;token is expired", skew_s=skew_s)
    assert isinstance(found, AuthError)
    assert f"clock is 15 minutes {side} the hub's" in found.message


def test_an_expired_login_is_told_to_log_in_again() -> None:
    found = no_credentials("do it", "AADSTS700082: The refresh token has expired\nTrace: 1")
    assert found.vendor_code == "AADSTS700082"
    assert "az login" in found.hint
    assert "Trace" not in found.message


def test_no_login_at_all_is_told_with_both_ways() -> None:
    found = no_credentials("do it", "DefaultAzureCredential failed to retrieve a token")
    assert "IOTHUB_CONNECTION_STRING" in found.hint


@pytest.mark.parametrize(
    "body",
    [
        b'{"errorCode": 404010, "message": "Unable to find module"}',
        b'{"Message": "{\\"errorCode\\":400000,\\"message\\":\\"Unable to find module\\"}"}',
        b"Unable to find module",
        b'{"Message": "Unable to find module"}',
    ],
)
def test_every_envelope_of_the_hub_is_read(body: bytes) -> None:
    headers = {"iothub-errorcode": "ModuleNotFound"}
    found = read_refusal(404, body, headers, operation="", policy="", now=NOW)
    assert (found.code, found.message) == ("ModuleNotFound", "Unable to find module")


def test_no_secret_stands_in_an_error() -> None:
    said = "ErrorCode:X;HostName=h;SharedAccessKey=c2VjcmV0 and SharedAccessSignature sr=x&sig=abc"
    assert "c2VjcmV0" not in refused(400, said).message
    assert "abc" not in refused(400, said).message


@pytest.mark.parametrize(
    ("method", "path", "right", "kind"),
    [
        ("GET", "/configurations", "configurations.read", "configurations"),
        ("PUT", "/configurations/x", "configurations.write", "configurations"),
        ("DELETE", "/configurations/x", "configurations.delete", "configurations"),
        ("POST", "/configurations/testQueries", "configurations.test", "configurations"),
        ("POST", "/devices/query", "query", "queries"),
        ("GET", "/devices/x", "devices.read", "registry"),
        ("PUT", "/devices/x", "devices.write", "registry"),
        ("DELETE", "/devices/x", "devices.delete", "registry"),
        ("GET", "/twins/x", "twins.read", "twin-reads"),
        ("PATCH", "/twins/x", "twins.write", "twin-updates"),
        ("POST", "/twins/x/modules/$edgeAgent/methods", "methods", "methods"),
    ],
)
def test_each_call_has_its_right_and_its_rate(
    method: str, path: str, right: str, kind: str
) -> None:
    assert right_of(method, path) == right
    assert right in RIGHTS
    assert kind_of(method, path) == kind

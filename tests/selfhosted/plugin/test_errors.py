from __future__ import annotations

import pytest

from edgectl import api
from edgectl_selfhosted.errors import (
    ExceptionInfo,
    from_refusal,
    from_transport,
    is_quota,
    parse_refusal,
)


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (401, "", api.AuthError),
        (403, "", api.AuthError),
        (403, "hawkbit.server.error.insufficientpermission", api.AuthError),
        (403, "hawkbit.server.error.quota.tooManyEntries", api.LimitError),
        (429, "hawkbit.server.error.quota.tooManyEntries", api.LimitError),
        (429, "", api.ThrottledError),
        (404, "hawkbit.server.error.repo.entitiyNotFound", api.NotFoundError),
        (409, "hawkbit.server.error.repo.entitiyAlreayExists", api.ConflictError),
        (409, "hawkbit.server.error.repo.concurrentModification", api.ConflictError),
        (423, "hawkbit.server.error.entityLocked", api.ConflictError),
        (413, "", api.LimitError),
        (507, "", api.LimitError),
        (503, "", api.UnreachableError),
        (418, "", api.ProviderError),
    ],
)
def test_a_refusal_becomes_the_error_that_callers_know(
    status: int, code: str, expected: type[api.ProviderError]
) -> None:
    error = from_refusal("read it", status, ExceptionInfo(error_code=code, message="no"))
    assert type(error) is expected
    assert error.vendor_code == (code or str(status))
    assert error.message == "cannot read it: no"


def test_a_refusal_without_a_message_says_the_status() -> None:
    assert "the server answered 500" in from_refusal("x", 500, ExceptionInfo()).message


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b"\xff", b'{"errorCode": 5}'])
def test_a_body_that_is_not_hawkbits_is_no_refusal(body: bytes) -> None:
    assert parse_refusal(body) == ExceptionInfo()


def test_a_refusal_is_read() -> None:
    info = parse_refusal(b'{"exceptionClass":"x","errorCode":"c","message":"m","info":{}}')
    assert info == ExceptionInfo(error_code="c", message="m")


def test_a_quota_is_told_from_throttling() -> None:
    assert is_quota(ExceptionInfo(error_code="hawkbit.server.error.quota.tooManyEntries"))
    assert not is_quota(ExceptionInfo())


@pytest.mark.parametrize(
    ("problem", "hint"),
    [
        ("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate", "as `ca`"),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] Hostname mismatch, not valid for 'x'", "that name"),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number", "begins with http://"),
        ("Server disconnected without sending a response.", "begins with https://"),
        ("timed out", "timeout_s"),
        ("[Errno 111] Connection refused", "edgectl hub"),
    ],
)
def test_a_failed_connection_says_what_to_do(problem: str, hint: str) -> None:
    error = from_transport("list the devices", "https://hub", problem)
    assert hint in error.hint
    assert error.message == (f"cannot list the devices: 'https://hub' cannot be reached: {problem}")

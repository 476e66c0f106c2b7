"""A request is served only when its signature is good, in the words of each service."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from edgectl_aws_greengrass.emulator.account import RunningAccount

Clients = Callable[..., Any]


@pytest.mark.parametrize(
    ("service", "operation", "code"),
    [
        ("greengrassv2", "list_components", "UnrecognizedClientException"),
        ("iot", "list_things", "UnrecognizedClientException"),
        ("sagemaker", "list_training_jobs", "UnrecognizedClientException"),
        ("sts", "get_caller_identity", "InvalidClientTokenId"),
        ("s3", "list_buckets", "InvalidAccessKeyId"),
    ],
)
def test_an_unknown_access_key_is_refused(
    clients: Clients, service: str, operation: str, code: str
) -> None:
    client = clients(service, aws_access_key_id="AKIAUNKNOWN", aws_secret_access_key="x")
    with pytest.raises(ClientError) as caught:
        getattr(client, operation)()
    assert caught.value.response["Error"]["Code"] == code


@pytest.mark.parametrize(
    ("service", "operation", "code"),
    [
        ("greengrassv2", "list_components", "InvalidSignatureException"),
        ("iam", "list_users", "SignatureDoesNotMatch"),
        ("s3", "list_buckets", "SignatureDoesNotMatch"),
    ],
)
def test_a_wrong_secret_is_refused(
    clients: Clients, service: str, operation: str, code: str
) -> None:
    client = clients(service, aws_secret_access_key="wrong")
    with pytest.raises(ClientError) as caught:
        getattr(client, operation)()
    assert caught.value.response["Error"]["Code"] == code


def test_keys_with_spaces_plus_signs_and_umlauts_are_signed_as_boto3_does(clients: Clients) -> None:
    s3 = clients("s3")
    s3.create_bucket(Bucket="odd-names")
    key = "a b/ü+%25=&~(1).txt"
    s3.put_object(Bucket="odd-names", Key=key, Body=b"content")
    assert s3.get_object(Bucket="odd-names", Key=key)["Body"].read() == b"content"
    listed = s3.list_objects_v2(Bucket="odd-names", Prefix="a b/ü+")
    assert [entry["Key"] for entry in listed["Contents"]] == [key]


def test_the_buckets_own_host_name_is_served_over_tls(
    account: RunningAccount, clients: Clients
) -> None:
    s3 = clients("s3")
    s3.create_bucket(Bucket="virtual")
    s3.put_object(Bucket="virtual", Key="dir/a b.txt", Body=b"content")
    host = f"virtual.s3.{account.cloud.region}.amazonaws.com"
    key, secret = account.cloud.administrator
    request = AWSRequest(method="GET", url=f"https://{host}/dir/a%20b.txt")
    S3SigV4Auth(Credentials(key, secret), "s3", account.cloud.region).add_auth(request)
    context = ssl.create_default_context(cafile=account.ca_file)
    connection = socket.create_connection(("127.0.0.1", account.data.port), timeout=10)
    with context.wrap_socket(connection, server_hostname=host) as channel:
        lines = [f"{name}: {value}" for name, value in request.headers.items()]
        head = "\r\n".join(["GET /dir/a%20b.txt HTTP/1.1", f"Host: {host}", *lines])
        channel.sendall(f"{head}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: channel.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"content")


def test_a_presigned_address_works_until_it_expires(clients: Clients) -> None:
    s3 = clients("s3", config=Config(signature_version="s3v4"))
    s3.create_bucket(Bucket="presigned")
    s3.put_object(Bucket="presigned", Key="k", Body=b"content")
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "presigned", "Key": "k"})
    with urlopen(url) as answer:
        assert answer.read() == b"content"
    late = url.replace("X-Amz-Expires=3600", "X-Amz-Expires=0")
    assert _status(late) == 403


def test_temporary_credentials_end(account: RunningAccount, clients: Clients) -> None:
    role = _role(clients, "short")
    alive = account.cloud.callers.new_session(role, "test", 900)
    ended = account.cloud.callers.new_session(role, "test", -1)
    assert _identity(clients, alive)["Arn"].endswith(":assumed-role/short/test")
    with pytest.raises(ClientError) as caught:
        _identity(clients, ended)
    assert caught.value.response["Error"]["Code"] == "ExpiredToken"
    with pytest.raises(ClientError) as caught:
        clients("greengrassv2", **_keys(ended)).list_components()
    assert caught.value.response["Error"]["Code"] == "ExpiredTokenException"


def test_a_wrong_session_token_is_refused(account: RunningAccount, clients: Clients) -> None:
    made = account.cloud.callers.new_session(_role(clients, "token"), "test", 900)
    with pytest.raises(ClientError, match="InvalidClientTokenId"):
        clients("sts", **_keys(made) | {"aws_session_token": "other"}).get_caller_identity()


def test_another_region_is_refused_but_s3_sends_the_client_to_the_right_one(
    clients: Clients,
) -> None:
    with pytest.raises(ClientError, match="valid region"):
        clients("iot", region_name="eu-west-1").list_things()
    clients("s3").create_bucket(Bucket="elsewhere")
    assert (
        clients("s3", region_name="eu-west-1").list_objects_v2(Bucket="elsewhere")["KeyCount"] == 0
    )


@pytest.mark.parametrize(
    ("service", "skew", "said"),
    [
        ("iot", timedelta(minutes=-6), "Signature expired"),
        ("iot", timedelta(minutes=6), "Signature not yet current"),
        ("s3", timedelta(minutes=-16), "RequestTimeTooSkewed"),
        ("s3", timedelta(minutes=16), "RequestTimeTooSkewed"),
    ],
)
def test_a_clock_that_is_off_is_refused(
    account: RunningAccount, service: str, skew: timedelta, said: str
) -> None:
    status, body = _send(account, service, datetime.now(UTC) + skew)
    assert (status, said in body) == (403, True)


@pytest.mark.parametrize(("service", "skew"), [("iot", 4), ("iot", -4), ("s3", 14), ("s3", -14)])
def test_a_clock_that_is_off_a_little_is_allowed(
    account: RunningAccount, service: str, skew: int
) -> None:
    status, _ = _send(account, service, datetime.now(UTC) + timedelta(minutes=skew))
    assert status == 200


@pytest.mark.parametrize(("ahead_s", "code"), [(1_000, "Signature"), (-1_000, "Signature")])
def test_the_accounts_clock_can_be_set_off(
    account: RunningAccount, clients: Clients, ahead_s: float, code: str
) -> None:
    _set_clock(account, ahead_s)
    try:
        with pytest.raises(ClientError, match=code):
            clients("iot").list_things()
        with pytest.raises(ClientError, match="RequestTimeTooSkewed"):
            clients("s3").list_buckets()
    finally:
        _set_clock(account, 0)
    clients("iot").list_things()


def _set_clock(account: RunningAccount, ahead_s: float) -> None:
    body = f'{{"ahead_s": {ahead_s}}}'.encode()
    with urlopen(Request(f"{account.url}/_edgectl/clock", data=body, method="PUT")):
        pass


def test_a_body_that_is_not_the_signed_one_is_refused(account: RunningAccount) -> None:
    status, body = _send(account, "s3", datetime.now(UTC), body=b"other", signed_body=b"signed")
    assert (status, "XAmzContentSHA256Mismatch" in body) == (400, True)


def test_a_request_without_a_signature_is_refused(account: RunningAccount) -> None:
    assert _status(f"{account.url}/things") == 403
    assert _status(f"{account.url}/bucket/key?AWSAccessKeyId=a&Signature=b") == 400


def _send(
    account: RunningAccount,
    service: str,
    at: datetime,
    *,
    body: bytes = b"",
    signed_body: bytes | None = None,
) -> tuple[int, str]:
    """Send a request that is signed as of a time; return status and body."""
    key, secret = account.cloud.administrator
    path, method = ("/things", "GET") if service == "iot" else ("/", "GET")
    signed = body if signed_body is None else signed_body
    request = AWSRequest(method=method, url=account.url + path, data=signed)
    text = at.strftime("%Y%m%dT%H%M%SZ")
    auth = SigV4Auth(Credentials(key, secret), service, account.cloud.region)
    request.context["timestamp"] = text
    request.headers["X-Amz-Date"] = text
    if service == "s3":
        request.headers["X-Amz-Content-SHA256"] = auth.payload(request)
    request.headers["Host"] = urlsplit(account.url).netloc
    canonical = auth.canonical_request(request)
    signature = auth.signature(auth.string_to_sign(request, canonical), request)
    auth._inject_signature_to_request(request, signature)
    connection = http.client.HTTPConnection(urlsplit(account.url).netloc)
    connection.request(method, path, body=body, headers=dict(request.headers.items()))
    answer = connection.getresponse()
    found = answer.status, answer.read().decode()
    connection.close()
    return found


def _status(url: str) -> int:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc)
    connection.request("GET", f"{parts.path}?{parts.query}")
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def _role(clients: Clients, name: str) -> str:
    trust = (
        '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", '
        '"Principal": {"Service": "credentials.iot.amazonaws.com"}}]}'
    )
    iam = clients("iam")
    arn: str = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    allow = (
        '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", '
        '"Resource": "*"}]}'
    )
    iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=allow)
    return arn


def _keys(session: Any) -> dict[str, str]:
    return {
        "aws_access_key_id": session.access_key_id,
        "aws_secret_access_key": session.secret,
        "aws_session_token": session.token,
    }


def _identity(clients: Clients, session: Any) -> Any:
    return clients("sts", **_keys(session)).get_caller_identity()

"""S3 keeps only what its checksums say, once, and whole."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

Clients = Callable[..., Any]
BUCKET = "uploads"


@pytest.fixture
def s3(clients: Clients) -> Any:
    client = clients("s3")
    client.create_bucket(Bucket=BUCKET)
    return client


def sha256(content: bytes) -> str:
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


def test_a_checksum_is_kept_and_told(s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="kept", Body=b"content", ChecksumSHA256=sha256(b"content"))
    found = s3.head_object(Bucket=BUCKET, Key="kept", ChecksumMode="ENABLED")
    assert (found["ChecksumSHA256"], found["ContentLength"]) == (sha256(b"content"), 7)


@pytest.mark.parametrize(
    "wrong",
    [
        {"ChecksumSHA256": sha256(b"other")},
        {"ChecksumCRC32": "AAAAAA=="},
        {"ContentMD5": base64.b64encode(bytes(16)).decode()},
    ],
)
def test_content_that_is_not_what_its_checksum_says_is_refused(
    s3: Any, wrong: dict[str, str]
) -> None:
    with pytest.raises(ClientError) as caught:
        s3.put_object(Bucket=BUCKET, Key="wrong", Body=b"content", **wrong)
    assert caught.value.response["Error"]["Code"] == "BadDigest"
    assert s3.list_objects_v2(Bucket=BUCKET, Prefix="wrong")["KeyCount"] == 0


def test_a_large_file_goes_in_parts(s3: Any) -> None:
    content = bytes(range(256)) * 40_000
    extra = {"ChecksumAlgorithm": "SHA256"}
    s3.upload_fileobj(io.BytesIO(content), BUCKET, "large", ExtraArgs=extra)
    assert s3.get_object(Bucket=BUCKET, Key="large")["Body"].read() == content


def test_conditional_writes_let_one_writer_win(s3: Any) -> None:
    made = s3.put_object(Bucket=BUCKET, Key="lock", Body=b"1", IfNoneMatch="*")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.put_object(Bucket=BUCKET, Key="lock", Body=b"2", IfNoneMatch="*")
    s3.put_object(Bucket=BUCKET, Key="lock", Body=b"3", IfMatch=made["ETag"])
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.put_object(Bucket=BUCKET, Key="lock", Body=b"4", IfMatch=made["ETag"])
    assert s3.get_object(Bucket=BUCKET, Key="lock")["Body"].read() == b"3"


def test_a_key_of_1025_bytes_is_too_long(s3: Any) -> None:
    with pytest.raises(ClientError, match="KeyTooLong"):
        s3.put_object(Bucket=BUCKET, Key="k" * 1025, Body=b"")


def test_a_missing_bucket_is_named(s3: Any) -> None:
    with pytest.raises(ClientError) as caught:
        s3.put_object(Bucket="not-there", Key="k", Body=b"")
    assert caught.value.response["Error"]["Code"] == "NoSuchBucket"

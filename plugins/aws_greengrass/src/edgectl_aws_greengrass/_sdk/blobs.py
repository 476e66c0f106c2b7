"""Bringing content to S3 under its digest: once, and compared with what S3 says it has."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from edgectl.api import ConflictError, PackageError, Record
from edgectl_aws_greengrass._sdk.account import Account

PART_BYTES = 64 << 20
"""Up to here an object travels in one piece. S3's checksum of a larger one is over its parts', so
their size is fixed: the same file has the same checksum again."""
CHUNK = 1 << 20


class Content(Record, frozen=True, kw_only=True):
    """Content to bring: ``data``, or a file."""

    key: str
    digest: str
    size: int
    data: bytes | None = None
    path: Path | None = None


def ensure(account: Account, content: Content) -> int:
    """Bring content to its key unless it is there; return how many bytes travelled.

    Raises:
        ConflictError: Something else lies at the key, or arrived there.
        PackageError: The file cannot be read, or is not what its digest says.
    """
    what = f"look for '{content.key}' in bucket '{account.config.bucket}'"
    found = account.find("s3", "HeadObject", what, **_place(account, content.key), **_CHECKED)
    if found is not None:
        _compare(content, found, "holds")
        return 0
    if content.size <= PART_BYTES:
        _put(account, content)
    else:
        _send_parts(account, content)
        found = account.call("s3", "HeadObject", what, **_place(account, content.key), **_CHECKED)
        _compare(content, found, "was left with")
    return content.size


def location(account: Account, key: str) -> str:
    """Return an object's address as recipes write it."""
    return f"s3://{account.config.bucket}/{key}"


_CHECKED = {"ChecksumMode": "ENABLED"}


def _place(account: Account, key: str) -> dict[str, str]:
    return {"Bucket": account.config.bucket, "Key": key}


def _put(account: Account, content: Content) -> None:
    data = content.data if content.data is not None else _read(content)
    checksum = hashlib.sha256(data).digest()
    if f"sha256:{checksum.hex()}" != content.digest:
        raise _changed(content)
    account.call(
        "s3",
        "PutObject",
        f"upload '{content.key}'",
        **_place(account, content.key),
        Body=data,
        ChecksumAlgorithm="SHA256",
        ChecksumSHA256=_b64(checksum),
    )


def _send_parts(account: Account, content: Content) -> None:
    # Heavy, and for large files only.
    from boto3.s3.transfer import TransferConfig, create_transfer_manager  # noqa: PLC0415 - see above

    client: Any = account.client("s3")
    options = TransferConfig(
        multipart_threshold=PART_BYTES,
        multipart_chunksize=PART_BYTES,
        max_concurrency=4,
        # The other one, which boto3 takes on some machines, chooses the size of parts by itself.
        preferred_transfer_client="classic",
    )
    what = f"upload '{content.key}'"
    bucket = account.config.bucket
    extra = {"ChecksumAlgorithm": "SHA256"}

    def send() -> None:
        with create_transfer_manager(client, options) as manager:
            manager.upload(str(content.path), bucket, content.key, extra).result()

    account.translating("s3", "PutObject", what, send)


def _compare(content: Content, found: dict[str, Any], how: str) -> None:
    there = str(found.get("ChecksumSHA256", ""))
    wanted = _checksum(content)
    size = int(found.get("ContentLength", -1))
    if size != content.size or (there and there != wanted):
        raise ConflictError(
            f"the key '{content.key}' {how} other content: {size} bytes, checksum "
            f"'{there or 'none'}', expected {content.size} and '{wanted}'",
            hint="delete that object: its name says which content it should have",
        )


def _checksum(content: Content) -> str:
    """Return what S3 says of an object: its SHA-256, or that of its parts' with their number."""
    if content.size <= PART_BYTES:
        return _b64(bytes.fromhex(content.digest.removeprefix("sha256:")))
    whole, parts = hashlib.sha256(), []
    try:
        with _path(content).open("rb") as file:
            while part := _part(file, whole):
                parts.append(part)
    except OSError as exc:
        raise _unreadable(content, exc) from exc
    if f"sha256:{whole.hexdigest()}" != content.digest:
        raise _changed(content)
    return f"{_b64(hashlib.sha256(b''.join(parts)).digest())}-{len(parts)}"


def _part(file: Any, whole: Any) -> bytes:
    """Return the digest of the next part, or nothing at the end of the file."""
    digest, left, seen = hashlib.sha256(), PART_BYTES, False
    while left and (data := file.read(min(CHUNK, left))):
        digest.update(data)
        whole.update(data)
        left -= len(data)
        seen = True
    return digest.digest() if seen else b""


def _read(content: Content) -> bytes:
    try:
        return _path(content).read_bytes()
    except OSError as exc:
        raise _unreadable(content, exc) from exc


def _path(content: Content) -> Path:
    if content.path is None:
        raise PackageError(f"there is no file for '{content.digest}'")
    return content.path


def _unreadable(content: Content, exc: OSError) -> PackageError:
    return PackageError(
        f"the blob '{content.digest}' cannot be read: {exc.strerror}",
        hint="build or pull the package again",
    )


def _changed(content: Content) -> PackageError:
    return PackageError(f"the content of the blob '{content.digest}' was changed")


def _b64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()

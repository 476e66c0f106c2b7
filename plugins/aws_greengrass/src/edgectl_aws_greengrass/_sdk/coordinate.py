"""``coordinate``: a text in S3, swapped by conditional writes (If-Match, If-None-Match).

An object that holds no text stands for nothing, so taking a text away is a write like any other.
Each write carries a number of its own: whoever writes the same text again has another ETag, and a
writer whose answer got lost knows its own write again.
"""

from __future__ import annotations

import uuid

import msgspec

from edgectl.api import ConflictError, CoordinateRequest, CoordinateResult, NotFoundError, Record
from edgectl_aws_greengrass._sdk.account import Account
from edgectl_aws_greengrass.render import shared_key


class Shared(Record, frozen=True, kw_only=True):
    """What stands in the object."""

    value: str | None = None
    write: str = ""


_SHARED = msgspec.json.Decoder(Shared)


def coordinate(account: Account, request: CoordinateRequest) -> CoordinateResult:
    """Read or swap the text.

    Raises:
        ConflictError: The object is not ours.
    """
    key = shared_key(account.config.prefix, request.application, request.target.name, request.key)
    now, etag = _read(account, key)
    if request.read_only or now.value != request.expect:
        return CoordinateResult(value=now.value)
    if request.value is None and now.value is None:
        return CoordinateResult(swapped=True)
    mine = Shared(value=request.value, write=uuid.uuid4().hex)
    condition = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
    try:
        account.call(
            "s3",
            "PutObject",
            f"write '{request.key}' of target '{request.target.name}'",
            Bucket=account.config.bucket,
            Key=key,
            Body=msgspec.json.encode(mine),
            ContentType="application/json",
            **condition,
        )
    except (ConflictError, NotFoundError) as exc:
        if exc.vendor_code == "NoSuchBucket":
            raise
        now, _ = _read(account, key)
        return CoordinateResult(value=now.value, swapped=now.write == mine.write)
    return CoordinateResult(value=request.value, swapped=True)


def _read(account: Account, key: str) -> tuple[Shared, str]:
    what = f"read '{key}'"
    found = account.find("s3", "GetObject", what, Bucket=account.config.bucket, Key=key)
    if found is None:
        return Shared(), ""
    data = found["Body"].read(4096)
    try:
        return _SHARED.decode(data), str(found["ETag"])
    except msgspec.DecodeError as exc:
        raise ConflictError(f"what stands at '{key}' is not ours: {data[:80]!r}") from exc

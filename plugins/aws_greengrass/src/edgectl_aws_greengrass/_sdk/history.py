"""``history``: the records of an application's releases, newest first."""

from __future__ import annotations

from edgectl.api import HistoryPage, HistoryRequest, ReleaseRecord
from edgectl_aws_greengrass._sdk.account import Account
from edgectl_aws_greengrass.render import MAX_NUMBER, read_record, releases_prefix


def history(account: Account, request: HistoryRequest) -> HistoryPage:
    """Return a page of records; S3 lists them newest first, since their keys count down."""
    answer = account.call(
        "s3",
        "ListObjectsV2",
        f"list the releases of '{request.application}'",
        Bucket=account.config.bucket,
        Prefix=releases_prefix(account.config.prefix, request.application),
        ContinuationToken=request.cursor or None,
    )
    found = (
        read_record(o["Key"], o["LastModified"].timestamp()) for o in answer.get("Contents", ())
    )
    return HistoryPage(
        releases=tuple(record for record in found if record is not None),
        next=str(answer.get("NextContinuationToken") or ""),
    )


def find_record(account: Account, application: str, number: int) -> ReleaseRecord | None:
    """Return the record of one release, or None."""
    prefix = releases_prefix(account.config.prefix, application)
    answer = account.call(
        "s3",
        "ListObjectsV2",
        f"look for release {number} of '{application}'",
        Bucket=account.config.bucket,
        Prefix=f"{prefix}{MAX_NUMBER - 1 - number:016d}.",
        MaxKeys=1,
    )
    for found in answer.get("Contents", ()):
        return read_record(found["Key"], found["LastModified"].timestamp())
    return None

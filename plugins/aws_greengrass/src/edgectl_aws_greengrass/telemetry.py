"""How telemetry lies in S3, and the topic rule that brings it there; pure.

The rule writes each message as an object whose key has the time of its arrival and the thing's
name, so a page needs a window of objects only.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from edgectl.api import Record, end_of_millisecond

_NS = 10**6
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_KEY = re.compile(rf"(\d{{13}})-(.+)-{_UUID}\.json")
_NOT_RULE = re.compile(r"[^a-zA-Z0-9]+")


class Batch(Record, frozen=True, kw_only=True):
    """A message in S3.

    Attributes:
        arrived_ns: By when AWS IoT had it, nanoseconds since 1970 UTC.
    """

    key: str
    thing: str
    arrived_ns: int


def records_prefix(prefix: str, application: str) -> str:
    """Return where an application's messages lie."""
    return f"{prefix}/telemetry/{application}/"


def read_key(key: str) -> Batch | None:
    """Read an object's key; None for one that no rule of ours wrote."""
    match = _KEY.fullmatch(key.rpartition("/")[2])
    if match is None:
        return None
    return Batch(key=key, thing=match[2], arrived_ns=end_of_millisecond(int(match[1])))


def first_key(prefix: str, since_ns: int) -> str:
    """Return a key before all keys of messages that arrived at ``since_ns`` or later."""
    return f"{prefix}{max(since_ns // _NS, 0):013d}"


def rule_name(publisher: str, prefix: str, application: str) -> str:
    """Return the topic rule's name: AWS IoT takes letters, digits and underscores only."""
    unique = hashlib.sha256(f"{publisher} {prefix} {application}".encode()).hexdigest()[:8]
    return f"edgectl_{_NOT_RULE.sub('_', application)[:60]}_{unique}"


def rule_payload(*, bucket: str, prefix: str, application: str, role: str) -> dict[str, Any]:
    """Return the rule: what devices tell of an application becomes objects."""
    key = records_prefix(prefix, application) + "${timestamp()}-${topic(2)}-${newuuid()}.json"
    topic = f"edgectl/+/{application}/telemetry"
    return {
        "sql": f"SELECT * FROM '{topic}'",  # noqa: S608 - a topic filter; names have no quotes
        "description": f"Telemetry of {application} (edgectl)",
        "awsIotSqlVersion": "2016-03-23",
        "ruleDisabled": False,
        "actions": [{"s3": {"roleArn": role, "bucketName": bucket, "key": key}}],
    }


def same_rule(present: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether a rule does what it should; the service adds members of its own."""
    if present.get("sql") != wanted["sql"] or present.get("ruleDisabled"):
        return False
    actions = [action.get("s3") or {} for action in present.get("actions", ())]
    return [_place(action) for action in actions] == [
        _place(action["s3"]) for action in wanted["actions"]
    ]


def _place(action: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(action.get(name, "")) for name in ("roleArn", "bucketName", "key"))

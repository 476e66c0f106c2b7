"""``telemetry``: records read back from S3, and the topic rule that brings them there."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from weakref import WeakKeyDictionary

from edgectl.api import (
    MAX_TELEMETRY_BATCH,
    NotFoundError,
    PlacedRecord,
    ProjectError,
    TelemetryMembers,
    TelemetryPage,
    TelemetryRecord,
    TelemetryRequest,
    first_arrival,
    place_record,
    read_telemetry_batch,
    read_telemetry_cursor,
    record_page,
    records_in_order,
    settled_before,
    settled_records,
)
from edgectl_aws_greengrass._sdk import fleet
from edgectl_aws_greengrass._sdk.account import AT_ONCE, Account
from edgectl_aws_greengrass.render import MADE_BY
from edgectl_aws_greengrass.selector import read_selector
from edgectl_aws_greengrass.telemetry import (
    Batch,
    first_key,
    read_key,
    records_prefix,
    rule_name,
    rule_payload,
    same_rule,
)

CACHED_BATCHES = 4000
MAX_BATCHES_A_PAGE = 1000
"""A page ends here although it is not full, so that a rare kind does not take minutes."""


def telemetry(account: Account, request: TelemetryRequest) -> TelemetryPage:
    """Return one page of records, oldest first.

    Raises:
        ProjectError: No role is set for the topic rule, so nothing was ever written.
    """
    if account.config.telemetry_role is None:
        raise ProjectError(
            "providers.aws.telemetry_role is not set: nothing brings telemetry to the bucket",
            hint="docs/providers/aws.md has the role; the next deploy then makes the topic rule",
        )
    after = read_telemetry_cursor(request.cursor)
    things = _things(account, request)
    if not things:
        return TelemetryPage(records=())
    reader = _Reader(account)
    found: list[PlacedRecord] = []
    read, look_at = 0, AT_ONCE
    for batches in _groups(_batches(account, request, things)):
        for batch, records in zip(batches, account.at_once(reader.read, batches), strict=True):
            found += [place_record(record, batch.arrived_ns) for record in records]
        read += len(batches)
        until = settled_before(batches[-1].arrived_ns)
        # Looking is sorting, so it is done after twice as many each time; and without a place to
        # go on from, reading on is the only way forward.
        if read < look_at or until <= after.time_ns:
            continue
        look_at *= 2
        ordered = records_in_order(found, request, things)
        if read >= MAX_BATCHES_A_PAGE or len(settled_records(ordered, until)) > request.limit:
            return record_page(ordered, request.limit, until)
    return record_page(records_in_order(found, request, things), request.limit, None)


def _things(account: Account, request: TelemetryRequest) -> frozenset[str]:
    """Return whose records are asked for."""
    target = request.target
    members = _MEMBERS.setdefault(account, TelemetryMembers())
    return members.of(request, lambda: fleet.things(account, target, read_selector(target)))


def _batches(
    account: Account, request: TelemetryRequest, things: frozenset[str]
) -> Iterator[Batch]:
    """Yield the messages from a place on, in order of arrival."""
    prefix = records_prefix(account.config.prefix, request.application)
    token: str | None = None
    while True:
        answer = account.call(
            "s3",
            "ListObjectsV2",
            f"list the telemetry of '{request.application}'",
            Bucket=account.config.bucket,
            Prefix=prefix,
            StartAfter=first_key(prefix, first_arrival(request)),
            ContinuationToken=token,
        )
        for entry in answer.get("Contents", ()):
            batch = read_key(str(entry["Key"]))
            if batch is not None and batch.thing in things:
                yield batch
        token = answer.get("NextContinuationToken")
        if not token:
            return


def _groups(batches: Iterator[Batch]) -> Iterator[list[Batch]]:
    group: list[Batch] = []
    for batch in batches:
        group.append(batch)
        if len(group) == AT_ONCE:
            yield group
            group = []
    if group:
        yield group


class _Cache:
    """Messages that were read lately; they never change, and pages overlap."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[str, tuple[TelemetryRecord, ...]] = OrderedDict()

    def get(self, key: str) -> tuple[TelemetryRecord, ...] | None:
        with self._lock:
            return self._known.get(key)

    def put(self, key: str, records: tuple[TelemetryRecord, ...]) -> None:
        with self._lock:
            self._known[key] = records
            while len(self._known) > CACHED_BATCHES:
                self._known.popitem(last=False)


_CACHES: WeakKeyDictionary[Account, _Cache] = WeakKeyDictionary()
_MEMBERS: WeakKeyDictionary[Account, TelemetryMembers] = WeakKeyDictionary()


class _Reader:
    """Reads messages, or takes them from the cache."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._client = account.client("s3")
        self._cache = _CACHES.setdefault(account, _Cache())

    def read(self, batch: Batch) -> tuple[TelemetryRecord, ...]:
        """Return a message's records; none for what is no message of a device of ours."""
        known = self._cache.get(batch.key)
        if known is None:
            known = read_telemetry_batch(self._fetch(batch))
            self._cache.put(batch.key, known)
        return known

    def _fetch(self, batch: Batch) -> bytes:
        def get() -> bytes:
            place = {"Bucket": self._account.config.bucket, "Key": batch.key}
            data: bytes = self._client.get_object(**place)["Body"].read(MAX_TELEMETRY_BATCH + 1)
            return data

        # Not paced: S3 takes thousands a second.
        try:
            what = f"read telemetry '{batch.key}'"
            return self._account.translating("s3", "GetObject", what, get)
        except NotFoundError:  # a lifecycle rule of the bucket was quicker
            return b""


def ensure_rule(account: Account, application: str) -> None:
    """See that the topic rule of an application is there; does nothing where no role is set.

    Asking for a rule that does not exist is refused like one that is forbidden, so the rules are
    listed first.
    """
    config = account.config
    if config.telemetry_role is None:
        return
    name = rule_name(config.publisher, config.prefix, application)
    wanted = rule_payload(
        bucket=config.bucket,
        prefix=config.prefix,
        application=application,
        role=config.telemetry_role,
    )
    topic = f"edgectl/thing/{application}/telemetry"
    what = f"list the topic rules of '{application}'"
    listed = account.pages("iot", "ListTopicRules", what, "rules", topic=topic)
    if not any(rule["ruleName"] == name for rule in listed):
        account.call(
            "iot",
            "CreateTopicRule",
            f"make the topic rule '{name}'",
            ruleName=name,
            topicRulePayload=wanted,
            tags=f"{MADE_BY}=edgectl",
        )
        return
    found = account.call("iot", "GetTopicRule", f"look at the topic rule '{name}'", ruleName=name)
    if not same_rule(found.get("rule", {}), wanted):
        account.call(
            "iot",
            "ReplaceTopicRule",
            f"bring the topic rule '{name}' up to date",
            ruleName=name,
            topicRulePayload=wanted,
        )

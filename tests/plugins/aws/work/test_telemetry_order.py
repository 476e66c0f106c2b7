"""The order in which records are read back, whatever the order in which they came."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl.api import Kind, TelemetryRecord
from edgectl_aws_greengrass import telemetry as order
from edgectl_aws_greengrass.telemetry import Batch, Place

S = 10**9
NOW = 1_790_000_000 * S


def record(name: str, at_ns: int) -> TelemetryRecord:
    return TelemetryRecord(
        id=name, kind=Kind.EVENT, time_unix_ns=at_ns, device="d1", application="plates"
    )


def batch(arrived_ns: int) -> Batch:
    return Batch(key="k", thing="d1", arrived_ns=arrived_ns)


def test_a_key_says_when_and_who() -> None:
    key = f"edgectl/telemetry/plates/1790000000123-lot-7:a_b-{uuid.uuid4()}.json"
    read = order.read_key(key)
    assert read is not None
    assert (read.thing, read.arrived_ns) == ("lot-7:a_b", 1_790_000_000_123_000_000)


@pytest.mark.parametrize("name", ["x.json", "1790000000123-d.json", "", "readme.txt"])
def test_what_no_rule_wrote_is_left_alone(name: str) -> None:
    assert order.read_key(f"edgectl/telemetry/plates/{name}") is None


def test_keys_of_a_time_begin_at_that_time() -> None:
    key = f"p/{NOW // 10**6}-d-{uuid.uuid4()}.json"
    assert order.first_key("p/", NOW) < key
    assert order.first_key("p/", NOW + 10**6) > key


def test_a_record_stands_at_its_own_time() -> None:
    assert order.place_of(record("a", NOW - 9 * S), batch(NOW)).time_ns == NOW - 9 * S


def test_a_record_that_was_long_under_way_stands_where_it_came_in() -> None:
    late = order.place_of(record("a", NOW - 3600 * S), batch(NOW))
    assert late.time_ns == order.settled_before(NOW)


def test_a_record_of_a_clock_that_is_ahead_stands_at_its_arrival() -> None:
    assert order.place_of(record("a", NOW + 3600 * S), batch(NOW)).time_ns == NOW


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 100)), max_size=40))
def test_nothing_that_comes_later_stands_before_what_is_settled(
    told: list[tuple[int, int]],
) -> None:
    """For every record: once arrivals up to T were read, no later one stands before T - slack."""
    for arrived, age in told:
        place = order.place_of(record("a", NOW + (arrived - age) * S), batch(NOW + arrived * S))
        for earlier in range(0, arrived, 7):
            assert place.time_ns >= order.settled_before(NOW + earlier * S)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9)), max_size=30), st.integers(1, 5))
def test_pages_of_any_size_give_the_same_records_once(
    told: list[tuple[int, int]], size: int
) -> None:
    placed = [
        (Place(time_ns=NOW + at, id=str(name)), record(str(name), NOW + at)) for at, name in told
    ]
    whole = [entry.id for _, entry in order.in_order(placed, Place())]
    assert len(whole) == len(set(whole))
    paged: list[str] = []
    after = Place()
    while page := order.in_order(placed, after)[:size]:
        paged += [entry.id for _, entry in page]
        after = order.read_cursor(page[-1][0].cursor())
        assert after == page[-1][0]
    # A duplicate that stands elsewhere is only known within what is looked at together.
    assert list(dict.fromkeys(paged)) == whole


@pytest.mark.parametrize("text", ["", "x", "1", "|", "a|b", "1|" + "x" * 300])
def test_a_cursor_that_is_none_is_the_beginning(text: str) -> None:
    assert order.read_cursor(text) == Place()


def test_rules_of_two_applications_have_names_of_their_own() -> None:
    names = {order.rule_name("edgectl", "edgectl", name) for name in ("a-b", "a_b", "a.b")}
    assert len(names) == 3
    assert all(name.replace("_", "").isalnum() and len(name) <= 128 for name in names)


def test_a_rule_is_the_same_with_what_the_service_adds() -> None:
    wanted = order.rule_payload(bucket="b", prefix="p", application="plates", role="arn:r")
    action = {"s3": {**wanted["actions"][0]["s3"], "cannedAcl": "private"}}
    present = {**wanted, "ruleName": "x", "createdAt": 1, "actions": [action]}
    assert order.same_rule(present, wanted)
    other = order.rule_payload(bucket="c", prefix="p", application="plates", role="arn:r")
    assert not order.same_rule(other, wanted)
    assert not order.same_rule({**present, "ruleDisabled": True}, wanted)

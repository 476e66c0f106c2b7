"""The order in which telemetry is read back, whatever the order in which it came."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_components.contract.telemetry import Kind, TelemetryRecord, to_otlp
from edgectl.readback import (
    MAX_TELEMETRY_BATCH,
    PlacedRecord,
    TelemetryMembers,
    TelemetryPlace,
    end_of_millisecond,
    first_arrival,
    place_record,
    read_telemetry_batch,
    read_telemetry_cursor,
    record_page,
    records_in_order,
    settled_before,
)
from edgectl.records import Target
from edgectl.requests import TelemetryRequest

S = 10**9
NOW = 1_790_000_000 * S
TARGET = Target(name="lots", provider="memory", selector={})


def record(name: str, at_ns: int, **more: Any) -> TelemetryRecord:
    given_ = {"kind": Kind.EVENT, "device": "d1", "application": "plates", **more}
    return TelemetryRecord(id=name, time_unix_ns=at_ns, **given_)


def placed(name: str, at_ns: int, **more: Any) -> PlacedRecord:
    return place_record(record(name, at_ns, **more), at_ns)


def ask(**more: Any) -> TelemetryRequest:
    return TelemetryRequest(target=TARGET, application="plates", **more)


def ids(found: list[PlacedRecord]) -> list[str]:
    return [one.record.id for one in found]


def test_a_record_stands_at_its_own_time() -> None:
    assert place_record(record("a", NOW - 9 * S), NOW).place.time_ns == NOW - 9 * S


def test_a_record_that_was_long_under_way_stands_where_it_came_in() -> None:
    late = place_record(record("a", NOW - 3600 * S), NOW)
    assert late.place.time_ns == settled_before(NOW)


def test_a_record_of_a_clock_that_is_ahead_stands_at_its_arrival() -> None:
    assert place_record(record("a", NOW + 3600 * S), NOW).place.time_ns == NOW


def test_records_keep_their_order_within_the_millisecond_that_a_cloud_dates_them_by() -> None:
    told = {"b": NOW + 200_000, "a": NOW + 700_000, "c": NOW + 1_000_001}
    arrived = {name: end_of_millisecond(at // 10**6) for name, at in told.items()}
    found = [place_record(record(name, told[name]), arrived[name]) for name in ("c", "a", "b")]
    assert ids(records_in_order(found, ask(), {"d1"})) == ["b", "a", "c"]


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 100)), max_size=40))
def test_nothing_that_comes_later_stands_before_what_is_settled(
    told: list[tuple[int, int]],
) -> None:
    """For every record: once arrivals up to T were read, no later one stands before T - slack."""
    for arrived, age in told:
        one = place_record(record("a", NOW + (arrived - age) * S), NOW + arrived * S)
        for earlier in range(0, arrived, 7):
            assert one.place.time_ns >= settled_before(NOW + earlier * S)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9)), max_size=30), st.integers(1, 5))
def test_pages_of_any_size_give_the_same_records_once(
    told: list[tuple[int, int]], size: int
) -> None:
    read = [placed(str(name), NOW + at) for at, name in told]
    whole = ids(records_in_order(read, ask(), {"d1"}))
    assert len(whole) == len(set(whole))
    paged: list[str] = []
    cursor = ""
    while True:
        page = record_page(records_in_order(read, ask(cursor=cursor), {"d1"}), size, None)
        assert len(page.records) <= size
        paged += [one.id for one in page.records]
        cursor = page.next
        if not cursor:
            break
    # A duplicate that stands elsewhere is only known within what is looked at together.
    assert list(dict.fromkeys(paged)) == whole


def test_a_page_ends_before_what_may_still_come_and_the_next_one_begins_there() -> None:
    read = [placed("a", NOW), placed("b", NOW + 5 * S)]
    page = record_page(records_in_order(read, ask(), {"d1"}), 10, NOW + 5 * S)
    assert [one.id for one in page.records] == ["a"]
    read.append(placed("c", NOW + 5 * S))
    rest = record_page(records_in_order(read, ask(cursor=page.next), {"d1"}), 10, None)
    assert [one.id for one in rest.records] == ["b", "c"]
    assert rest.next == ""


def test_only_what_was_asked_for_is_there() -> None:
    read = [
        placed("old", NOW - 60 * S),
        placed("other application", NOW, application="cracks"),
        placed("other device", NOW, device="d2"),
        placed("other kind", NOW, kind=Kind.HEALTH),
        placed("wanted", NOW),
    ]
    request = ask(kind=Kind.EVENT, since_unix_ns=NOW - S)
    assert ids(records_in_order(read, request, {"d1"})) == ["wanted"]


def test_reading_begins_a_little_before_the_time_asked_for_and_never_before_the_cursor() -> None:
    assert first_arrival(ask()) == 0
    assert first_arrival(ask(since_unix_ns=NOW)) == settled_before(NOW)
    cursor = TelemetryPlace(time_ns=NOW + S, id="a").cursor()
    assert first_arrival(ask(since_unix_ns=NOW, cursor=cursor)) == NOW + S


@pytest.mark.parametrize("text", ["", "x", "1", "|", "a|b", "-1|a", "1|" + "x" * 300])
def test_a_cursor_that_is_none_is_the_beginning(text: str) -> None:
    assert read_telemetry_cursor(text) == TelemetryPlace()


@given(st.integers(0, 10**19), st.from_regex(r"[a-z0-9-]{0,40}", fullmatch=True))
def test_a_cursor_is_read_back(time_ns: int, name: str) -> None:
    place = TelemetryPlace(time_ns=time_ns, id=name)
    assert read_telemetry_cursor(place.cursor()) == place


@pytest.mark.parametrize("body", [b"", b"{}", b"not json", b'{"resourceLogs": 3}', b"\xff" * 10])
def test_what_is_no_telemetry_of_ours_has_no_records(body: bytes) -> None:
    assert read_telemetry_batch(body) == ()


def test_a_message_longer_than_devices_send_is_left_out() -> None:
    body = to_otlp([record("a", NOW)])
    assert [one.id for one in read_telemetry_batch(body)] == ["a"]
    assert read_telemetry_batch(body.ljust(MAX_TELEMETRY_BATCH + 1)) == ()


def test_members_are_listed_for_a_read_s_first_page_only() -> None:
    members, listed = TelemetryMembers(), []

    def find() -> list[str]:
        listed.append("")
        return [f"d{len(listed)}", "e"]

    first = TelemetryRequest(target=TARGET, application="plates")
    more = TelemetryRequest(target=TARGET, application="plates", cursor="1|a")
    assert members.of(more, find) == {"d1", "e"}
    assert members.of(more, find) == {"d1", "e"}
    assert members.of(first, find) == {"d2", "e"}
    alone = TelemetryRequest(target=TARGET, application="plates", cursor="1|a", device="e")
    assert members.of(alone, find) == {"e"}
    other = Target(name="roads", provider="memory", selector={})
    elsewhere = TelemetryRequest(target=other, application="plates", cursor="1|a")
    assert members.of(elsewhere, find) == {"d3", "e"}

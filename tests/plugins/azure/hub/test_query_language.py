"""What the query language takes, refuses and answers."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl_azure_iot_edge.emulator.hub.query.evaluate import matches, run
from edgectl_azure_iot_edge.emulator.hub.query.lexer import QueryError
from edgectl_azure_iot_edge.emulator.hub.query.parser import parse_condition, parse_query

DEVICE: dict[str, Any] = {
    "deviceId": "edge-1",
    "tags": {"site": "a", "n": 3, "edgectl": {"my-app": {"release": 7}}, "none": None},
    "properties": {
        "desired": {"$version": 4},
        "reported": {"lastDesiredVersion": 4, "lastDesiredStatus": {"code": 200}},
    },
    "capabilities": {"iotEdge": True},
    "configurations": {"edgectl-lots-r7": {"status": "Applied"}},
}


@pytest.mark.parametrize(
    ("condition", "taken"),
    [
        ("deviceId = 'edge-1'", True),
        ('deviceId="edge-1"', True),
        ("DeviceId IN ['x', 'edge-1']", True),
        ("deviceId NIN ['x', 'edge-1']", False),
        ("tags.site = 'a' and tags.n >= 3", True),
        ("tags.site <> 'a' or tags.n < 3", False),
        ("not tags.site = 'b'", True),
        ("NOT (tags.site = 'a' AND tags.n = 3)", False),
        ("tags.n = 0x3", True),
        ("tags.n = '3'", False),
        ("tags.n != '3'", True),
        ("tags.edgectl.[[my-app]].release = 7", True),
        ("configurations.[[edgectl-lots-r7]].status = 'Applied'", True),
        ("properties.desired.$version = properties.reported.lastDesiredVersion", True),
        ("properties.reported.lastDesiredStatus.code != 200", False),
        ("capabilities.iotEdge = true", True),
        ("is_defined(tags.site)", True),
        ("IS_DEFINED(tags.missing)", False),
        ("not is_defined(tags.missing)", True),
        ("is_defined(tags.none)", True),
        ("tags.none = null", True),
        ("STARTSWITH(deviceId, 'edge')", True),
        ("devices.tags.site = 'a'", True),
        ("tags.site = 'a' or tags.missing = 1", True),
        # undefined is neither equal nor unequal, and stays undefined under NOT
        ("tags.missing = 'x'", False),
        ("tags.missing != 'x'", False),
        ("not tags.missing = 'x'", False),
        ("tags.missing = 'x' or tags.site = 'a'", True),
        ("tags.edgectl = tags.edgectl", False),
        ("tags.site", False),
    ],
)
def test_a_condition_takes_a_device_or_not(condition: str, taken: bool) -> None:
    assert matches(parse_condition(condition), DEVICE) is taken


@pytest.mark.parametrize(
    "text",
    [
        "",
        "select",
        "select * from",
        "select * from twins",
        "select * from devices where",
        "select * from devices where tags.my-tag = 'x'",
        "select * from devices where tags.site == 'x'",
        "select * from devices where tags.site = 'x' and",
        "select * from devices where upper(tags.site) = 'X'",
        "select * from devices where is_defined('x')",
        "select * from devices where deviceId in ('a')",
        "select * from devices where deviceId = 'unclosed",
        "select * from devices order by deviceId",
        "select *, deviceId from devices",
        "select deviceId, count() as n from devices",
        "select * from devices group by tags.site",
        "select deviceId from devices.jobs",
        "select top x * from devices",
        "select * from devices where " + "(" * 100 + "tags.a = 1" + ")" * 100,
    ],
)
def test_what_the_language_does_not_have_is_refused(text: str) -> None:
    with pytest.raises(QueryError):
        parse_query(text)


def rows(text: str, *documents: dict[str, Any]) -> list[dict[str, Any]]:
    return list(run(parse_query(text), documents))


def test_columns_have_their_names_and_leave_out_what_is_not_there() -> None:
    text = "SELECT deviceId, tags.edgectl.[[my-app]].release AS r, tags.missing FROM devices"
    assert rows(text, DEVICE) == [{"deviceId": "edge-1", "r": 7}]


@pytest.mark.parametrize("place", ["deviceId", "devices.deviceId", "devices.modules.deviceId"])
def test_the_collections_words_may_stand_before_a_property(place: str) -> None:
    condition = parse_condition(f"{place} = 'd' and devices.modules.properties.modules = 1")
    document = {"deviceId": "d", "properties": {"modules": 1}}
    assert matches(condition, document, "devices.modules")


def test_groups_are_counted() -> None:
    documents = [{"tags": {"s": s, "n": n}} for s, n in (("a", 1), ("b", 2), ("a", 3))]
    text = "select tags.s as s, count() as c, sum(tags.n) as n from devices group by tags.s"
    assert rows(text, *documents) == [{"s": "a", "c": 2, "n": 4}, {"s": "b", "c": 1, "n": 2}]


def test_a_count_of_nothing_is_nought() -> None:
    assert rows("select count() as c from devices") == [{"c": 0}]


def test_top_ends_the_answer() -> None:
    assert len(rows("select top 2 * from devices", DEVICE, DEVICE, DEVICE)) == 2


def test_escapes_in_texts_are_understood() -> None:
    assert matches(parse_condition(r"tags.a = 'it\'s A'"), {"tags": {"a": "it's A"}})


@given(st.text("sel*ct fromdvi.wha=<>!'\"[]()$0x,-in and or not \\", max_size=60))
def test_any_text_is_a_query_or_a_query_error(text: str) -> None:
    for parse in (parse_query, parse_condition):
        with contextlib.suppress(QueryError):
            parse(text)


OPERAND = st.sampled_from(["tags.a = 1", "tags.b != 'x'", "is_defined(tags.c)", "tags.d > 2"])
CONDITION = st.recursive(
    OPERAND,
    lambda inner: (
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(
            lambda found: f"({found[0]} {found[1]} {found[2]})"
        )
        | inner.map(lambda found: f"not ({found})")
    ),
    max_leaves=6,
)
TAGS = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 3) | st.just("x"), max_size=4)


@given(CONDITION, TAGS)
def test_a_condition_and_its_opposite_never_both_take_a_device(
    condition: str, tags: dict[str, Any]
) -> None:
    document = {"tags": tags}
    both = [matches(parse_condition(f"{turn}({condition})"), document) for turn in ("", "not ")]
    assert both != [True, True]

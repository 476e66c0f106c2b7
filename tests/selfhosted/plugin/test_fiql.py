from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl.api import ProjectError, Target
from edgectl_selfhosted import fiql
from edgectl_selfhosted.hub.fiql import Both, Comparison, parse

printable = st.text(st.characters(exclude_categories=("C", "Z"), include_characters=" "))


def target(**selector: object) -> Target:
    return Target(name="lots", provider="selfhosted", selector=selector)  # type: ignore[arg-type]  # wrong kinds on purpose


@given(printable.filter(bool))
def test_any_value_is_read_as_one_comparison_with_this_text(value: str) -> None:
    node = parse(fiql.equal("name", value))
    assert isinstance(node, Comparison)
    assert node.values[0].replace("\\*", "*") == value
    assert node.values[0].replace("\\*", "").count("*") == 0


@given(st.lists(printable.filter(bool), min_size=1, max_size=5))
def test_a_list_of_values_keeps_its_number_and_order(values: list[str]) -> None:
    node = parse(fiql.one_of("controllerid", values))
    assert isinstance(node, Comparison)
    assert [value.replace("\\*", "*") for value in node.values] == values


@pytest.mark.parametrize("value", ["a;name==*", "a,id==b", 'x" or name=="*', "(a)", "a\\", "'"])
def test_a_value_cannot_add_a_condition(value: str) -> None:
    node = parse(fiql.selector_query(target(tags={"city": value})))
    assert isinstance(node, Comparison)
    assert node.field == "tag"


def test_a_control_character_is_refused() -> None:
    with pytest.raises(ProjectError, match="cannot stand in a query"):
        fiql.quoted("a\nb")


def test_all_parts_of_a_selector_have_to_hold() -> None:
    query = fiql.selector_query(
        target(
            tags={"city": "baltimore", "tier": "1"},
            tag="canary",
            attributes={"os": "linux"},
            ids=["a", "b"],
            q="name==x,name==y",
        )
    )
    assert query == (
        'tag=="city=baltimore";tag=="tier=1";tag==canary;attribute.os==linux;'
        "controllerid=in=(a,b);(name==x,name==y)"
    )
    assert isinstance(parse(query), Both)


def test_an_empty_selector_finds_every_device() -> None:
    assert fiql.selector_query(target()) == ""


def test_tags_may_be_a_list_of_names() -> None:
    assert fiql.selector_query(target(tags=["east", "edge"])) == "tag==east;tag==edge"


@pytest.mark.parametrize(
    ("selector", "key"),
    [
        ({"thing_group": "x"}, "unknown key 'thing_group'"),
        ({"tags": "x"}, r"selector\.tags"),
        ({"tag": ["x"]}, r"selector\.tag"),
        ({"attributes": "x"}, r"selector\.attributes"),
        ({"ids": "x"}, r"selector\.ids"),
        ({"ids": []}, r"selector\.ids"),
        ({"q": "  "}, r"selector\.q"),
    ],
)
def test_a_selector_that_is_not_understood_names_its_key(
    selector: dict[str, object], key: str
) -> None:
    with pytest.raises(ProjectError, match=key):
        fiql.selector_query(target(**selector))


def test_an_attribute_key_cannot_carry_a_condition() -> None:
    with pytest.raises(ProjectError, match="attribute 'a==b;x'"):
        fiql.selector_query(target(attributes={"a==b;x": "1"}))


def test_many_devices_are_named_in_conditions_of_bounded_length() -> None:
    devices = [f"camera-{n:05d}" for n in range(2000)]
    chunks = list(fiql.device_chunks(devices))
    assert max(map(len, chunks)) < 4100
    found = [value for chunk in chunks for value in parse(chunk).values]  # type: ignore[union-attr]  # each is one comparison
    assert found == devices


@pytest.mark.parametrize(
    ("tag", "label"),
    [("city=x", ("city", "x")), ("a=b=c", ("a", "b=c")), ("x", None), ("=x", None)],
)
def test_a_tag_with_a_key_is_a_label(tag: str, label: tuple[str, str] | None) -> None:
    assert fiql.tag_label(tag) == label

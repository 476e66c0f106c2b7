"""Names in the hub, and whom a selector means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl.api import ProjectError, Target
from edgectl_azure_iot_edge.limits import chunks
from edgectl_azure_iot_edge.names import (
    Given,
    configuration_id,
    given_patch,
    given_tags,
    read_given,
    release_of,
    shared_identity,
    tag_key,
)
from edgectl_azure_iot_edge.selector import Selector, id_list, quoted, read_selector

NAME = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)


def target(**selector: object) -> Target:
    return Target(name="lots", provider="azure", selector=selector)  # type: ignore[arg-type]  # wrong ones too


@given(NAME, NAME, st.integers(1, 10**12))
def test_a_deployment_is_known_again_by_its_id(app: str, name: str, number: int) -> None:
    found = configuration_id(app, name, number)
    assert len(found) <= 128
    assert found == found.lower()
    assert release_of(found, app, name) == number


@given(NAME, NAME, NAME, NAME)
def test_no_two_targets_or_applications_share_an_id(a: str, b: str, c: str, d: str) -> None:
    if (a, b) != (c, d):
        assert release_of(configuration_id(a, b, 7), c, d) is None


def test_names_that_join_to_the_same_text_are_kept_apart() -> None:
    assert configuration_id("a", "b-c", 1) != configuration_id("c-a", "b", 1)
    assert release_of(configuration_id("a", "b-r1", 2), "a", "b-r1") == 2


@given(NAME, st.integers(1, 10**12), st.integers(0, 10**12))
def test_a_tag_says_what_was_written(app: str, release: int, before: int) -> None:
    wanted = Given(release=release, before=before, target="lots", at=1.0)
    tags = given_tags({"site": "dc"}, app, wanted)
    assert read_given(tags, app) == wanted
    patch = given_patch(app, wanted)["tags"]
    assert isinstance(patch, dict)
    assert patch["edgectl"] == tags["edgectl"]
    assert given_tags(tags, app, None) == {"site": "dc"}
    assert "-" not in tag_key(app)


@pytest.mark.parametrize(
    "tags",
    [None, {}, {"edgectl": 3}, {"edgectl": {"app": 3}}, {"edgectl": {"app": {"release": "x"}}}],
)
def test_tags_of_others_count_as_nothing_given(tags: object) -> None:
    assert read_given(tags, "app") == Given()


def test_a_shared_identity_fits_into_a_device_id() -> None:
    assert shared_identity("app", "lots") == "edgectl.lots.app"
    assert len(shared_identity("a" * 63, "b" * 63)) <= 128
    assert shared_identity("a" * 63, "b" * 63) != shared_identity("a" * 62 + "c", "b" * 63)


def test_tags_become_a_condition() -> None:
    found = read_selector(target(tags={"site": "dc", "place.city": "it's"}))
    assert found.condition == "tags.place.city = 'it\\'s' AND tags.site = 'dc'"
    assert found.query_condition == f"capabilities.iotEdge = true AND ({found.condition})"


def test_devices_are_listed() -> None:
    assert read_selector(target(devices=["b", "a", "b"])).condition == "deviceId IN ['b', 'a']"


def test_a_condition_is_taken_as_it_stands_and_a_star_means_every_edge_device() -> None:
    assert read_selector(target(condition=" tags.a = 1 ")).condition == "tags.a = 1"
    everybody = read_selector(target(condition="*"))
    assert everybody.query_condition == "capabilities.iotEdge = true"


@pytest.mark.parametrize(
    ("selector", "said"),
    [
        ({"group": "x"}, "unknown key 'group'"),
        ({}, "give either"),
        ({"tags": {"a": "b"}, "condition": "x"}, "give either"),
        ({"tags": {}}, "selector.tags: expected"),
        ({"tags": {"a b": "c"}}, "'a b' is none"),
        ({"tags": {"edgectl.app": "c"}}, "tags of your own"),
        ({"devices": []}, "selector.devices: expected"),
        ({"devices": ["a/b"]}, "'a/b' is none"),
        ({"devices": [f"device-{n:04}" for n in range(500)]}, "does not fit into a query"),
        ({"condition": "  "}, "selector.condition: expected"),
        ({"condition": ["x"]}, "selector.condition: expected"),
    ],
)
def test_a_wrong_selector_is_refused_with_its_key(selector: dict[str, object], said: str) -> None:
    with pytest.raises(ProjectError, match=said):
        read_selector(target(**selector))


@given(st.lists(st.from_regex(r"[A-Za-z0-9'._-]{1,128}", fullmatch=True), unique=True))
def test_lists_of_devices_keep_within_the_room_that_a_query_has(ids: list[str]) -> None:
    groups = list(chunks(ids, 1000))
    assert [one for group in groups for one in group] == ids
    for group in groups:
        assert len(id_list(group)) <= 1000 + len("deviceId IN []") or len(group) == 1


def test_quotes_in_values_stay_values() -> None:
    assert quoted("a' OR 1=1 --") == "'a\\' OR 1=1 --'"
    assert isinstance(read_selector(target(tags={"a": "' OR true"})), Selector)

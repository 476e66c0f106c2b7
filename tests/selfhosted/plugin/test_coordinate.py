from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl import api
from edgectl_selfhosted._sdk import coordinate as coordinate_module
from edgectl_selfhosted._sdk.coordinate import describe, read_description, tag_prefix
from edgectl_selfhosted._sdk.tags import create_tag


@pytest.fixture
def swap(provider: api.Provider, unique: str) -> Callable[..., api.CoordinateResult]:
    target = api.Target(name=f"lots-{unique}", provider="selfhosted")

    def swapped(**values: Any) -> api.CoordinateResult:
        request = {"target": target, "application": "plates", "key": "lease", **values}
        return provider.coordinate(api.CoordinateRequest(**request))

    return swapped


def test_nothing_stands_there_at_first(swap: Any, wire: Any) -> None:
    assert swap(read_only=True) == api.CoordinateResult()
    assert wire.writes == []


def test_a_text_is_written_changed_and_removed(swap: Any) -> None:
    assert swap(value="one") == api.CoordinateResult(value="one", swapped=True)
    assert swap(read_only=True).value == "one"
    assert swap(expect="one", value="two") == api.CoordinateResult(value="two", swapped=True)
    assert swap(expect="two") == api.CoordinateResult(value=None, swapped=True)
    assert swap(read_only=True).value is None
    assert swap(value="three") == api.CoordinateResult(value="three", swapped=True)


def test_a_wrong_expectation_changes_nothing(swap: Any, wire: Any) -> None:
    swap(value="one")
    wire.clear()
    assert swap(expect="other", value="two") == api.CoordinateResult(value="one")
    assert swap(value="two") == api.CoordinateResult(value="one")
    assert wire.writes == []


def test_keys_targets_and_applications_are_apart(swap: Any) -> None:
    swap(value="one")
    assert swap(key="control", read_only=True).value is None
    assert swap(application="faces", read_only=True).value is None
    other = api.Target(name="elsewhere", provider="selfhosted")
    assert swap(target=other, read_only=True).value is None


def test_of_many_swaps_at_once_exactly_one_wins(swap: Any) -> None:
    expect = None
    for turn in range(5):

        def attempt(number: int, turn: int = turn, expect: str | None = expect) -> str | None:
            value = f"{turn}-{number}"
            return value if swap(expect=expect, value=value).swapped else None

        with ThreadPoolExecutor(4) as pool:
            winners = [value for value in pool.map(attempt, range(4)) if value is not None]
        assert len(winners) == 1
        assert swap(read_only=True).value == winners[0]
        expect = winners[0]


def test_the_text_is_never_missing_while_it_is_renewed(swap: Any) -> None:
    swap(value="0")

    def renew() -> None:
        for number in range(12):
            assert swap(expect=str(number), value=str(number + 1)).swapped

    with ThreadPoolExecutor(2) as pool:
        renewing = pool.submit(renew)
        while not renewing.done():
            assert swap(read_only=True).value is not None
            assert not swap(value="thief").swapped
        renewing.result()


def test_few_tags_stay_behind(swap: Any, server: Any, unique: str) -> None:
    for number in range(6):
        swap(expect=None if number == 0 else str(number - 1), value=str(number))
    with server.operator() as operator:
        query = {"q": f'name=="{tag_prefix("plates", f"lots-{unique}", "lease")}*"'}
        found = operator.get("/rest/v1/targettags", params=query).json()
    assert found["total"] == 2


def test_a_text_of_400_characters_with_markup_fits(swap: Any) -> None:
    text = '{"who":"a@b","why":"<b>ä"}'.ljust(400, "ö")
    assert swap(value=text).swapped
    assert swap(read_only=True).value == text


def test_a_text_that_is_too_long_is_refused(swap: Any) -> None:
    with pytest.raises(api.LimitError, match="512"):
        swap(value="x" * 600)


@given(st.text(st.characters(exclude_categories=("Cs", "Co")), max_size=400))
def test_every_text_is_read_back(text: str) -> None:
    if len(text.encode("utf-16-le")) // 2 > 510:
        return
    description = describe(text)
    assert read_description(description) == text
    assert not set("<>&\n") & set(description)
    assert description == description.strip()


@pytest.mark.parametrize("description", [None, "", "none", "[", "written by hand"])
def test_anything_else_is_nothing(description: str | None) -> None:
    assert read_description(description) is None


def test_names_cannot_run_into_each_other() -> None:
    assert tag_prefix("a/b", "c", "lease") != tag_prefix("a", "b/c", "lease")


def test_a_writer_that_slept_through_several_swaps_loses(
    swap: Any, monkeypatch: pytest.MonkeyPatch, server: Any, unique: str
) -> None:
    swap(value="1")

    def late(client: Any, name: str, description: str) -> Any:
        monkeypatch.undo()
        for number in range(1, 4):
            assert swap(expect=str(number), value=str(number + 1)).swapped
        return create_tag(client, name, description)

    monkeypatch.setattr(coordinate_module, "create_tag", late)
    assert swap(expect="1", value="late") == api.CoordinateResult(value="4")
    with server.operator() as operator:
        query = {"q": f'name=="{tag_prefix("plates", f"lots-{unique}", "lease")}*"'}
        found = operator.get("/rest/v1/targettags", params=query).json()["content"]
    assert "[late]" not in {tag["description"] for tag in found}

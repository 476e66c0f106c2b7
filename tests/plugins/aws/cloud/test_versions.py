"""Version requirements mean what npm's do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl_aws_greengrass.emulator.greengrass.versions import Version, parse, satisfies


@pytest.mark.parametrize(
    ("version", "requirement", "fits"),
    [
        ("1.2.3", "^1.2", True),
        ("2.0.0", "^1.2", False),
        ("0.2.5", "^0.2.3", True),
        ("0.3.0", "^0.2.3", False),
        ("0.0.4", "^0.0.3", False),
        ("1.2.9", "~1.2.3", True),
        ("1.3.0", "~1.2", False),
        ("1.9.9", "~1", True),
        ("1.5.0", "1.x", True),
        ("1.0.0", ">=1.0.0 <2.0.0", True),
        ("1.0.0", ">= 1.0.0   < 2.0.0", True),
        ("2.0.0", ">=1.0.0 <2.0.0", False),
        ("1.2.9", ">1.2", False),
        ("1.3.0", ">1.2", True),
        ("1.2.9", "<=1.2", True),
        ("1.3.0", "<=1.2", False),
        ("3.0.0", "1.0.0 || >=3.0.0", True),
        ("2.0.0", "1.0.0 || >=3.0.0", False),
        ("1.5.0", "1.0.0 - 2", True),
        ("2.9.9", "1.0.0 - 2", True),
        ("3.0.0", "1.0.0 - 2", False),
        ("9.9.9", "*", True),
        ("5.0.0", "5.0.0", True),
        ("1.0.0+build", "1.0.0", True),
        # a pre-release only where the requirement names one of the same three numbers
        ("0.1.0-dev.h1", ">=0.1.0-0 <1.0.0", True),
        ("0.1.0-dev.h1", ">=0.1.0 <1.0.0", False),
        ("0.1.1-dev.h1", ">=0.1.0-0 <1.0.0", False),
        ("2.0.0-rc.1", "<2.0.0", False),
        ("1.0.0-rc.1", "*", False),
    ],
)
def test_a_version_satisfies_a_requirement(version: str, requirement: str, *, fits: bool) -> None:
    assert satisfies(parse(version), requirement) is fits


@pytest.mark.parametrize("text", ["1", "1.2", "01.2.3", "1.2.3-", "v1.2.3", "1.2.3-01", "9" * 70])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no semantic version"):
        parse(text)


@pytest.mark.parametrize("text", ["one", ">=1.0.0 <", "^^1.0.0", "1.2.3.4"])
def test_what_is_no_requirement_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no version"):
        satisfies(parse("1.0.0"), text)


def test_precedence_is_semvers_own_example() -> None:
    texts = ["alpha", "alpha.1", "alpha.beta", "beta", "beta.2", "beta.11", "rc.1"]
    versions = [parse(f"1.0.0-{text}") for text in texts] + [parse("1.0.0")]
    assert versions == sorted(versions)


numbers = st.tuples(*[st.integers(0, 4)] * 3)


@given(numbers, numbers)
def test_a_caret_keeps_the_first_number_that_is_not_zero(
    wanted: tuple[int, int, int], found: tuple[int, int, int]
) -> None:
    kept = next((i for i, n in enumerate(wanted) if n), 2)
    expected = found >= wanted and found[: kept + 1] == wanted[: kept + 1]
    text = "^" + ".".join(map(str, wanted))
    assert satisfies(Version(found), text) is expected


@given(numbers, numbers, numbers)
def test_a_range_is_an_interval(
    low: tuple[int, int, int], high: tuple[int, int, int], found: tuple[int, int, int]
) -> None:
    text = f">={Version(low)!r} <{Version(high)!r}"
    assert satisfies(Version(found), text) is (low <= found < high)

"""Which devices get the release together."""

from __future__ import annotations

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from edgectl.rollout.policy import parse_waves
from edgectl.rollout.waves import choose_waves, wave_order

names = st.sets(st.text(min_size=1, max_size=8), max_size=60)
sizes = st.sampled_from([[1, "10%", "100%"], ["50%"], [3], ["1%", 2, "90%"], [1, 2, 3, 4]])


@given(sizes, names)
def test_every_device_is_in_exactly_one_wave_and_none_is_empty(
    wanted: list[int | str], devices: set[str]
) -> None:
    waves = choose_waves(parse_waves(wanted), "plates", devices)
    assert sorted(d for wave in waves for d in wave) == sorted(devices)
    assert all(waves)


def test_waves_are_cumulative_slices() -> None:
    devices = [f"d{n}" for n in range(20)]
    waves = choose_waves(parse_waves([1, "25%", "100%"]), "plates", devices)
    assert [len(wave) for wave in waves] == [1, 4, 15]


def test_rest_follows_a_last_wave_below_everything() -> None:
    assert [len(w) for w in choose_waves(parse_waves([2]), "plates", "abcde")] == [2, 3]


def test_size_that_adds_nothing_makes_no_wave() -> None:
    assert [len(w) for w in choose_waves(parse_waves([5, "10%", "100%"]), "p", "abcdefg")] == [5, 2]


def test_order_is_the_same_in_every_interpreter() -> None:
    # Pinned: another order would move devices between waves of rollouts that are under way.
    devices = [f"lot-{n}" for n in range(6)]
    code = "from edgectl.rollout.waves import wave_order; print(wave_order('plates', %r))"
    other = subprocess.run(
        [sys.executable, "-c", code % (devices[::-1],)],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "7"},
    ).stdout.strip()
    assert other == str(wave_order("plates", devices))


def test_another_application_starts_with_other_devices() -> None:
    devices = [f"lot-{n}" for n in range(50)]
    assert wave_order("plates", devices) != wave_order("faces", devices)


@given(sizes, names, st.text(min_size=1, max_size=8))
def test_device_that_joins_moves_at_most_one_other_over_each_boundary(
    wanted: list[int | str], devices: set[str], newcomer: str
) -> None:
    devices.discard(newcomer)
    parsed = parse_waves(wanted)
    before = wave_order("p", devices)
    after = [d for d in wave_order("p", {*devices, newcomer}) if d != newcomer]
    assert before == after
    for size in parsed:
        old = set(before[: size.of(len(devices))])
        new = set(wave_order("p", {*devices, newcomer})[: size.of(len(devices) + 1)])
        assert len(old ^ (new - {newcomer})) <= 1

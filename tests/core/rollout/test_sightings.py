"""When a state began, for providers that do not say it."""

from __future__ import annotations

from edge_components.contract.state import State
from edgectl.records import DeviceStatus
from edgectl.rollout.sightings import fill_since


def status(state: State, since: float | None = None) -> DeviceStatus:
    return DeviceStatus(device="a", state=state, release=1, since=since)


def test_what_the_provider_says_stands() -> None:
    first = fill_since([status(State.HEALTHY, 5.0)], {}, 10.0)
    assert fill_since([status(State.HEALTHY, 7.0)], first, 20.0)["a"].since == 7.0


def test_state_that_goes_on_keeps_its_first_sight() -> None:
    first = fill_since([status(State.HEALTHY)], {}, 10.0)
    assert fill_since([status(State.HEALTHY)], first, 20.0)["a"].since == 10.0


def test_new_state_begins_now() -> None:
    first = fill_since([status(State.VERIFYING)], {}, 10.0)
    assert fill_since([status(State.HEALTHY)], first, 20.0)["a"].since == 20.0

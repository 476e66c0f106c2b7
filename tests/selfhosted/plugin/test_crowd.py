"""Pretended devices: they are enrolled as real ones are, and say what real ones say."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgectl import api
from edgectl.api import State
from edgectl_selfhosted.emulator.crowd.enroll import add_crowd, crowd_tags, read_crowd
from edgectl_selfhosted.emulator.crowd.member import Known, Member
from edgectl_selfhosted.emulator.crowd.wire import Line, RefusedError

HARDWARE = "x86-64-cpu"
RELEASE_TYPE = "application/vnd.edgectl.release.v1+json"


@pytest.fixture
def wire() -> None:
    """Nobody counts here: a crowd uses more of our own hub than the provider does of any server."""


@pytest.fixture
def crowd(fleet: Any, server: Any, tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Enrol pretended devices in the fleet; returns their tokens by name."""

    def enrolled(*names: str) -> dict[str, str]:
        login = (server.username, server.password)
        tags = crowd_tags(fleet.target, HARDWARE)
        whole = [fleet.name(name) for name in names]
        add_crowd(server.url, login, tmp_path / "crowd", names=whole, tags=tags)
        return read_crowd(tmp_path / "crowd")

    return enrolled


@pytest.fixture
def bring(fleet: Any, shop: Any) -> Callable[[int], api.Release]:
    """Bring a release whose envelope a device can read."""

    def brought(number: int) -> api.Release:
        package = shop.package(seed=str(number))
        release = shop.release(number, package)
        payload = base64.b64encode(release.document.to_bytes()).decode()
        envelope = {
            "payload": payload,
            "payloadType": RELEASE_TYPE,
            "signatures": [{"sig": "AA=="}],
        }
        release = msgspec.structs.replace(release, envelope=json.dumps(envelope).encode())
        fleet.provider.package(
            api.PackageRequest(target=fleet.target, package=package, release=release)
        )
        return release

    return brought


def take_turns(url: str, members: list[Member], times: int = 2) -> None:
    """Have each device poll so often, one after the other."""

    async def run() -> None:
        line = Line(url)
        for _ in range(times):
            for member in members:
                await member.turn(line)
        line.close()

    asyncio.run(run())


def test_a_crowd_is_found_as_its_target_finds_devices_and_keeps_its_tokens(
    fleet: Any, crowd: Callable[..., dict[str, str]]
) -> None:
    first = crowd("one", "two")
    assert crowd("one", "two", "three").items() >= first.items()
    found = fleet.inventory()
    assert sorted(found) == sorted(map(fleet.name, ("one", "two", "three")))
    assert {device.hardware for device in found.values()} == {HARDWARE}


def test_a_crowd_takes_a_release_and_those_that_fail_say_why(
    fleet: Any,
    server: Any,
    crowd: Callable[..., dict[str, str]],
    bring: Callable[[int], api.Release],
    deploy: Callable[..., Any],
) -> None:
    known = Known()
    members = [
        Member(name, token, HARDWARE, known, fails=name.startswith("bad"))
        for name, token in crowd("good", "bad").items()
    ]
    take_turns(server.url, members)
    release = bring(1)
    deploy(release, "good", "bad")
    assert {s.state for s in fleet.observe(1).values()} == {State.PENDING}
    take_turns(server.url, members)
    seen = fleet.observe(1)
    assert (seen["good"].state, seen["good"].active_package) == (
        State.HEALTHY,
        release.document.package,
    )
    assert (seen["bad"].state, seen["bad"].reason) == (State.FAILED, api.Reason.GOLDEN_FAILED)
    assert {s.state for s in fleet.observe().values()} == {State.HEALTHY, State.FAILED}


def test_a_crowd_gives_up_what_is_taken_back(
    fleet: Any,
    server: Any,
    crowd: Callable[..., dict[str, str]],
    bring: Callable[[int], api.Release],
    deploy: Callable[..., Any],
) -> None:
    ((name, token),) = crowd("one").items()
    member = Member(name, token, HARDWARE, Known(), fails=False)
    deploy(bring(1), "one")
    fleet.provider.withdraw(
        api.WithdrawRequest(target=fleet.target, application=fleet.application, release=1)
    )
    take_turns(server.url, [member])
    assert fleet.observe(1) == {}


def test_a_device_that_the_hub_does_not_know_is_refused(server: Any) -> None:
    stranger = Member("nobody", "0" * 32, HARDWARE, Known(), fails=False)
    with pytest.raises(RefusedError, match="401"):
        take_turns(server.url, [stranger])


def test_a_crowd_needs_a_target_that_finds_devices_by_tags() -> None:
    target = api.Target(name="lots", provider="selfhosted", selector={"ids": ["one"]})
    with pytest.raises(api.ProviderError, match="no tags for a crowd"):
        crowd_tags(target, HARDWARE)

"""A rollout to many things keeps below AWS's documented request rates, as the account counts."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
THINGS = 150
READS = ("Get", "List", "Describe", "Head")


def test_a_rollout_to_many_things_is_never_throttled_and_a_second_one_writes_nothing(
    site: Any,
) -> None:
    site.waves = "[1, 10%, 100%]"
    with site.account(0, "--crowd", str(THINGS), "all"):
        site.build("1", 1.0)
        site.forget_calls()
        said = site.run("deploy", "--poll", "0.2")
        assert said == f"all: healthy - {THINGS} of {THINGS} devices are healthy\n"

        limits, counted = site.steer("GET", "rates"), site.calls()
        assert limits["greengrassv2"] == 30.0
        assert limits["greengrassv2.CreateComponentVersion"] == 1.0
        peaks = counted["peak_per_second"]
        above = {name: peak for name, peak in peaks.items() if peak > limits.get(name, peak)}
        assert (above, counted["throttled"]) == ({}, {})
        # the rollout did put things into groups and did make both components, so rates were tried
        assert counted["total"]["iot.AddThingToThingGroup"] >= THINGS // 10
        assert counted["total"]["greengrassv2.CreateComponentVersion"] == 2

        site.forget_calls()
        assert "have release 1 already" in site.run("deploy")
        called = site.calls()["total"]
        assert [name for name in called if not name.split(".")[1].startswith(READS)] == []

"""A rollout to 1,000 devices keeps below the hub's documented rates, as the hub itself counts."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
DEVICES = 1000
A_MINUTE = {"rate.Configuration": 20, "rate.Query": 20}
READS = ("Get", "List", "Query", "Test")


def test_a_rollout_in_four_waves_is_never_throttled_and_a_second_one_writes_nothing(
    site: Any,
) -> None:
    site.waves, site.units = "[1, 10%, 50%, 100%]", 1
    with site.account(0, "--crowd", str(DEVICES), "all"):
        site.build("1", 1.0)
        site.forget_calls()
        said = site.run("deploy", "--poll", "1")
        assert f"all: healthy - {DEVICES} of {DEVICES} devices are healthy" in said
        counted = site.calls()
        assert sum(counted["throttled"].values()) == 0
        peaks = counted["peak_per_minute"]
        for kind, limit in A_MINUTE.items():
            assert 0 < peaks[kind] <= limit, peaks
        assert counted["total"]["hub.UpdateTwin"] < 1.2 * DEVICES

        site.forget_calls()
        assert "have release 1 already" in site.run("deploy")
        made = [
            name.removeprefix("hub.") for name in site.calls()["total"] if name.startswith("hub.")
        ]
        assert [name for name in made if not name.startswith(READS)] == []

"""Rollouts that wait: for approval after a wave, and for maintenance windows."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

PAUSES = "{waves: [1, 3, 100%], pause_after: [1, 2]}"


def active(site: Any) -> int:
    rows = json.loads(site.run("-o", "json", "status").stdout)
    return sum(1 for row in rows if row["active"] == 1)


def test_a_rollout_waits_for_approval_after_each_wave_that_wants_it(site: Any) -> None:
    site.build(rollout=PAUSES)
    done = site.run("deploy", "--poll", "0.05")
    assert done.stdout == "all: waits for approval after wave 1\n"
    assert "`edgectl resume -t all --approve` lets it go on" in done.stderr
    assert active(site) == 1
    done = site.run("resume", "--approve", "--poll", "0.05")
    assert done.stdout == "all: waits for approval after wave 2\n"
    assert active(site) == 3
    done = site.run("resume", "--approve", "--poll", "0.05")
    assert done.stdout == "all: healthy - 6 of 6 devices are healthy\n"
    rows = json.loads(site.run("-o", "json", "journal", "show").stdout)
    approved = [row["detail"]["wave"] for row in rows if row["action"] == "approve"]
    assert approved == ["1", "2"]


def test_without_approval_nothing_goes_on(site: Any) -> None:
    site.build(rollout=PAUSES)
    site.run("deploy", "--poll", "0.05")
    for again in ("deploy", "resume"):
        done = site.run(again, "--poll", "0.05")
        assert done.stdout == "all: waits for approval after wave 1\n"
    assert active(site) == 1


def test_approving_what_does_not_wait_is_refused(site: Any) -> None:
    site.build(rollout=PAUSES)
    site.run("deploy", "--no-wait")
    done = site.run("resume", "--approve", code=1)
    assert "waits for no approval" in done.stderr


def windowed(site: Any, begin: datetime, end: datetime) -> None:
    window = f'{{from: "{begin:%H:%M}", to: "{end:%H:%M}"}}'
    file = site.folder / "edgectl.yaml"
    text = file.read_text().replace("{provider: memory}", f"{{provider: memory, window: {window}}}")
    file.write_text(text)


def test_outside_of_its_window_a_device_gets_nothing(site: Any) -> None:
    site.build(rollout="{timeout: 1s}")
    now = datetime.now(UTC)
    windowed(site, now + timedelta(hours=2), now + timedelta(hours=3))
    done = site.run("deploy", "--poll", "0.05", code=5)
    assert "waits for the window of 6 devices, in 1h" in done.stderr
    assert active(site) == 0


def test_within_its_window_a_device_gets_the_release(site: Any) -> None:
    site.build()
    now = datetime.now(UTC)
    windowed(site, now - timedelta(hours=1), now + timedelta(hours=1))
    site.run("deploy", "--poll", "0.05")
    assert active(site) == 6


def test_the_plan_shows_by_which_clock_a_device_goes(site: Any) -> None:
    site.build()
    windowed(site, datetime.now(UTC), datetime.now(UTC) + timedelta(hours=1))
    found = json.loads(site.run("-o", "json", "plan").stdout)
    assert {device["timezone"] for device in found["targets"][0]["devices"]} == {"UTC"}

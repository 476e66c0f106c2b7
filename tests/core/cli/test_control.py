"""Pause, resume and abort: with a driver elsewhere, without one, and for several targets."""

from __future__ import annotations

import json
from typing import Any


def test_resume_leaves_the_verdict_to_the_driver_that_was_paused(site: Any) -> None:
    # Only a look moves the devices on, and two seconds lie between looks.
    slow = '{devices: 6, behaviours: {"*": {observations: 3}}}'
    site.build(memory=slow, rollout="{waves: [100%]}")
    with site.start("deploy", "--poll", "2") as running:
        running.wait_for("wave 1 of 1: giving it to")
        site.run("pause")
        running.wait_for("an operator paused the rollout")
        done = site.run("resume")
        assert done.stdout == "all: release 1 goes on\n"
        assert f"(process {running.pid}) drives it" in done.stderr
        code, _ = running.end()
    assert code == 0


def test_a_rollout_that_nobody_drives_is_aborted_for_good(site: Any) -> None:
    site.build()
    site.run("deploy", "--no-wait")
    site.run("abort")
    assert site.run("deploy", "--poll", "0.05").stdout.startswith("all: healthy")


def test_a_driver_that_was_killed_in_the_last_soak_is_followed_by_one_that_ends_it(
    site: Any,
) -> None:
    site.build(rollout="{waves: [100%], soak: 600s}")
    with site.start("deploy", "--poll", "0.05") as running:
        running.wait_for("wave 1 soaks")
        running.kill()
    site.write(rollout="{waves: [100%], soak: 0s}")
    assert "rollout of release 1 is in 'run'" in site.run("status").stderr
    assert site.run("deploy", "--poll", "0.05").stdout.startswith("all: healthy")
    assert "rollout of release 1" not in site.run("status").stderr


def test_what_is_said_of_several_targets_is_one_json_array(site: Any) -> None:
    site.build()
    path = site.folder / "edgectl.yaml"
    text = path.read_text().replace(
        "  all: {provider: memory}", "  all: {provider: memory}\n  some: {provider: memory}"
    )
    path.write_text(text)
    site.run("deploy", "-t", "all", "--no-wait")
    site.run("deploy", "-t", "some", "--no-wait", "--new-release")
    for command in ("pause", "abort"):
        found = json.loads(site.run("-o", "json", command).stdout)
        assert [row["target"] for row in found] == ["all", "some"]


def test_a_release_that_is_not_there_is_named(site: Any) -> None:
    site.build()
    site.run("deploy", "--poll", "0.05")
    assert "target 'all' knows no release 9" in site.run("rollback", "--to", "9", code=1).stderr

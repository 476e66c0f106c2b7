"""Deploying from the command line to the memory provider: verdicts, exit codes, restarts."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

BAD = '{{devices: 6, behaviours: {{"{device}": {{end: {end}, versions: ["2"]}}}}}}'


def rows(site: Any, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(site.run("-o", "json", *arguments).stdout)
    return found


def active(site: Any) -> set[tuple[int, str]]:
    return {(row["active"], row["digest"]) for row in rows(site, "status")}


def test_the_main_line_ends_healthy_and_a_second_deploy_writes_nothing(site: Any) -> None:
    site.build()
    done = site.run("deploy", "--poll", "0.05")
    assert done.stdout == "all: healthy - 6 of 6 devices are healthy\n"
    before = (site.folder / ".edgectl/memory/fleet.json").read_text()
    again = site.run("deploy")
    assert again.stdout == "all: healthy - all 6 devices have release 1 already\n"
    assert (site.folder / ".edgectl/memory/fleet.json").read_text() == before


def test_a_bad_release_is_rolled_back_and_everybody_has_the_old_package(site: Any) -> None:
    site.build()
    site.run("deploy", "--poll", "0.05")
    ((_, good),) = active(site)
    memory = BAD.format(device="*", end="failed")
    site.build(version="2", scale=0.9, memory=memory)
    done = site.run("deploy", "--poll", "0.05", code=6)
    assert "rolled_back - wave 1" in done.stdout
    assert "failed, golden-failed" in done.stdout
    assert {digest for _, digest in active(site)} == {good}
    lines = rows(site, "journal", "show")
    assert (lines[-1]["action"], lines[-1]["result"]) == ("rollout-end", "rolled_back")
    assert (lines[-1]["from"], lines[-1]["to"] != good) == (good, True)
    site.run("journal", "verify")


def test_a_first_release_that_fails_stops_because_there_is_nothing_to_return_to(
    site: Any,
) -> None:
    site.build(version="2", memory=BAD.format(device="*", end="failed"))
    done = site.run("deploy", "--poll", "0.05", code=4)
    assert "there is no earlier release to return to" in done.stdout


def test_on_failure_pause_stops_where_it_is(site: Any) -> None:
    site.build()
    site.run("deploy", "--poll", "0.05")
    site.build(
        version="2",
        scale=0.9,
        memory=BAD.format(device="*", end="rolled_back"),
        rollout="{waves: [2, 100%], on_failure: pause}",
    )
    done = site.run("deploy", "--poll", "0.05", code=4)
    assert "all: stopped" in done.stdout
    assert {release for release, _ in active(site)} == {1}


def test_a_silent_device_makes_the_verdict_partly(site: Any) -> None:
    site.build(
        version="2",
        memory=BAD.format(device="device-0002", end="unreachable"),
        rollout="{unreachable_grace: 0.2s}",
    )
    done = site.run("deploy", "--poll", "0.05", code=3)
    assert done.stdout == ("all: partly - 5 of 6 devices are healthy\n  device-0002: unreachable\n")


def test_a_rollout_that_takes_too_long_times_out(site: Any) -> None:
    memory = '{devices: 6, behaviours: {"*": {observations: 1000000}}}'
    site.build(memory=memory, rollout="{timeout: 0.3s}")
    done = site.run("deploy", "--poll", "0.05", code=5)
    assert "all: timed_out" in done.stdout


def test_killed_in_the_middle_the_same_command_finishes_the_same_waves(site: Any) -> None:
    slow = '{devices: 12, behaviours: {"*": {observations: 8}}}'
    site.build(memory=slow, rollout="{waves: [2, 50%, 100%]}")
    plan = json.loads(site.run("-o", "json", "plan").stdout)
    waves = {d["device"]: d["wave"] for d in plan["targets"][0]["devices"]}
    with site.start("deploy", "--poll", "0.1") as running:
        running.wait_for("wave 2 of 3: giving it to")
        running.kill()
    given = {row["device"] for row in rows(site, "status") if row["release"] == 1}
    assert {waves[device] for device in given} <= {1, 2}
    done = site.run("deploy", "--poll", "0.05")
    assert done.stdout == "all: healthy - 12 of 12 devices are healthy\n"
    assert {row["active"] for row in rows(site, "status")} == {1}


def test_killed_while_rolling_back_the_same_command_finishes_the_rollback(site: Any) -> None:
    site.build()
    site.run("deploy", "--poll", "0.05")
    ((_, good),) = active(site)
    memory = '{devices: 6, behaviours: {"*": {end: failed, observations: 6, versions: ["2"]}}}'
    site.build(version="2", scale=0.9, memory=memory)
    with site.start("deploy", "--poll", "0.1") as running:
        running.wait_for("rolling back to")
        running.kill()
    site.run("deploy", "--poll", "0.05", code=6)
    assert {digest for _, digest in active(site)} == {good}


def test_a_second_operator_who_is_refused_leaves_no_release_behind(site: Any) -> None:
    site.build(memory='{devices: 6, behaviours: {"*": {observations: 1000000}}}')
    with site.start("deploy", "--poll", "0.1") as running:
        running.wait_for("giving it to")
        site.build(version="2", scale=0.9)
        site.run("deploy", code=1)
    fleet = json.loads((site.folder / ".edgectl/memory/fleet.json").read_text())
    assert [release["number"] for release in fleet["releases"]["tiny"]] == [1]


def test_ctrl_c_says_so_and_frees_the_target(site: Any) -> None:
    site.build(memory='{devices: 6, behaviours: {"*": {observations: 1000000}}}')
    with site.start("deploy", "--poll", "100") as running:
        running.wait_for("devices of wave 1 have not settled")
        running.signal(signal.SIGINT)
        code, rest = running.end()
    assert code == 130
    assert rest.endswith("interrupted\n")
    assert '"lease"' not in (site.folder / ".edgectl/memory/fleet.json").read_text()
    site.write()
    site.run("deploy", "--poll", "0.05")


def test_pause_from_elsewhere_holds_and_resume_finishes(site: Any) -> None:
    site.build(memory='{devices: 6, behaviours: {"*": {observations: 5}}}')
    with site.start("deploy", "--poll", "0.3") as running:
        running.wait_for("wave 1 of 3: giving it to")
        site.run("pause")
        running.wait_for("an operator paused the rollout")
        running.kill()
    assert "rollout of release 1 is in 'pause'" in site.run("status").stderr
    done = site.run("resume", "--poll", "0.05")
    assert done.stdout == "all: healthy - 6 of 6 devices are healthy\n"


def test_abort_from_elsewhere_ends_the_driver(site: Any) -> None:
    site.build(memory='{devices: 6, behaviours: {"*": {observations: 1000000}}}')
    with site.start("deploy", "--poll", "0.1") as running:
        running.wait_for("wave 1 of 3: giving it to")
        site.run("abort")
        code, _ = running.end()
    assert code == 4
    assert site.run("resume", code=1).stderr.startswith("error: no rollout is under way")


def test_rollback_by_hand_makes_a_higher_release_of_the_older_package(site: Any) -> None:
    site.build()
    site.run("deploy", "--poll", "0.05")
    ((_, old),) = active(site)
    site.build(version="2", scale=0.9)
    site.run("deploy", "--poll", "0.05")
    ((release, new),) = active(site)
    assert (release, new != old) == (2, True)
    site.run("rollback", "--poll", "0.05")
    assert active(site) == {(3, old)}
    assert "no release to return to" in site.run("rollback", code=1).stderr
    site.run("rollback", "--to", "2", "--poll", "0.05")
    assert active(site) == {(4, new)}


def test_rollback_by_hand_goes_by_what_the_target_was_given(site: Any) -> None:
    def in_two_halves() -> None:
        path = site.folder / "edgectl.yaml"
        halves = "".join(
            f"  {name}: {{provider: memory, selector: {{ids: [{ids}]}}}}\n"
            for name, ids in (("a", "device-0001"), ("b", "device-0002"))
        )
        path.write_text(path.read_text().replace("  all: {provider: memory}\n", halves))

    site.build()
    in_two_halves()
    site.run("deploy", "--poll", "0.05")
    site.build(version="2", scale=0.9)
    in_two_halves()
    site.run("deploy", "--poll", "0.05")
    site.run("rollback", "-t", "a", "--poll", "0.05")
    assert {release for release, _ in active(site)} == {3, 2}
    site.run("rollback", "-t", "b", "--poll", "0.05")
    assert {release for release, _ in active(site)} == {3}


def test_failed_devices_try_again_only_with_a_new_release(site: Any) -> None:
    tolerant = "{failure_threshold: {percent: 50}}"
    memory = BAD.format(device="device-0003", end="failed")
    site.build(version="2", memory=memory, rollout=tolerant)
    site.run("deploy", "--poll", "0.05", code=3)
    site.run("deploy", "--poll", "0.05", code=3)
    site.write(version="2", rollout=tolerant)
    site.run("deploy", "--poll", "0.05", "--new-release")
    assert {release for release, _ in active(site)} == {2}


def test_without_wait_the_first_wave_begins_and_the_rest_is_left(site: Any) -> None:
    site.build()
    done = site.run("deploy", "--no-wait")
    assert done.stdout == "all: release 1 has begun\n"
    assert sum(1 for row in rows(site, "status") if row["release"] == 1) == 1


def test_json_output_has_the_verdict(site: Any) -> None:
    site.build()
    (result,) = json.loads(site.run("-o", "json", "deploy", "--poll", "0.05").stdout)
    assert result["verdict"]["outcome"] == "healthy"
    assert result["verdict"]["counts"] == {"healthy": 6}
    assert result["package"].startswith("sha256:")


def test_no_device_matches(site: Any) -> None:
    site.build(memory="{devices: 0}")
    done = site.run("deploy", code=1)
    assert done.stderr.splitlines()[0].endswith(
        "error: no device matches target 'all' on provider 'memory'"
    )


def test_a_package_of_another_version_is_not_deployed_by_accident(site: Any) -> None:
    site.build()
    site.write(version="2")
    done = site.run("deploy", code=1)
    assert done.stderr.startswith("error: the last package is version 1, edgectl.yaml says 2\n")


@pytest.mark.parametrize("command", ["plan", "deploy"])
def test_a_device_that_is_too_small_is_refused_at_plan_time(site: Any, command: str) -> None:
    site.build(memory="{devices: 2, max_package_bytes: 100}")
    done = site.run(command, code=1)
    assert "provider 'memory' takes at most 100" in done.stderr

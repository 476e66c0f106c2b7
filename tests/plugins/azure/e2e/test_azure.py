"""The main job on provider azure, end to end: a real hub's calls, edgeAgents, modules, sockets."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(600)  # processes that start slowly on a slow machine
READS = ("Get", "List", "Query", "Test")


def writes(site: Any) -> list[str]:
    """Return what was called at the hub that changes something, but by devices."""
    called = site.calls()["total"]
    return [
        name
        for name in called
        if name.startswith("hub.") and not name.removeprefix("hub.").startswith(READS)
    ]


def test_a_release_is_answered_by_every_device_and_a_bad_one_by_none(site: Any) -> None:
    with site.account(2):
        good = site.build("1", 1.0)
        said = site.run("deploy", "--poll", "0.5")
        assert said == "all: healthy - 2 of 2 devices are healthy\n"
        rows = site.rows()
        assert {(r["state"], r["active"], r["digest"]) for r in rows.values()} == {
            ("healthy", 1, good)
        }
        assert site.answers() == {(1, 1, 1, 1)}

        site.forget_calls()
        assert "have release 1 already" in site.run("deploy")
        assert writes(site) == []

        site.write("2", 2.0)
        site.run("train")
        site.run("register", "--provider", "selfhosted")
        site.spoil_golden()
        site.run("package")
        said = site.run("deploy", "--poll", "0.5", code=6)
        assert "golden-failed" in said
        assert {r["digest"] for r in site.rows().values()} == {good}
        assert site.answers() == {(1, 1, 1, 1)}
        site.run("journal", "verify")


@pytest.mark.slow
def test_rolling_back_by_hand_brings_the_version_before_back(site: Any) -> None:
    with site.account(2):
        good = site.build("1", 1.0)
        site.run("deploy", "--poll", "0.5")
        newer = site.build("2", 3.0)
        site.run("deploy", "--poll", "0.5")
        assert {r["digest"] for r in site.rows().values()} == {newer}
        assert site.answers() == {(3, 3, 3, 3)}
        site.run("rollback", "--poll", "0.5")
        assert {r["digest"] for r in site.rows().values()} == {good}
        assert site.answers() == {(1, 1, 1, 1)}


@pytest.mark.slow
def test_a_rollout_is_paused_gone_on_with_and_aborted_from_another_place(
    site: Any, until: Callable[[Callable[[], bool]], None]
) -> None:
    site.waves = "[1, 100%]"
    with site.account(0, "--crowd", "4", "all"):
        site.build("1", 1.0)
        with deploying(site) as process:
            until(lambda: len(site.given()) == 1)
            site.run("pause")
            until(lambda: "paused" in progress(site))
            assert len(site.given()) == 1
            site.run("resume")
            assert process.wait(120) == 0
        assert set(site.given().values()) == {1}

        site.build("2", 2.0)
        with deploying(site) as process:
            until(lambda: 2 in site.given().values())
            site.run("abort")
            assert process.wait(120) != 0
        assert set(site.given().values()) == {1, 2}


def deploying(site: Any) -> subprocess.Popen[bytes]:
    """Begin a deploy that soaks long enough to be met in the middle of it."""
    file = site.folder / "edgectl.yaml"
    file.write_text(file.read_text().replace("soak: 0s", "soak: 20s"))
    with (site.folder / "deploy.log").open("wb") as log:
        return subprocess.Popen(
            site.command("deploy", "--poll", "0.5"),
            cwd=site.folder,
            env=site.env,
            stdout=log,
            stderr=log,
        )


def progress(site: Any) -> str:
    found: str = (site.folder / "deploy.log").read_text()
    return found


@pytest.mark.slow
def test_what_devices_saw_is_read_back(
    site: Any, until: Callable[[Callable[[], bool]], None]
) -> None:
    with site.account(1):
        site.build("1", 1.0)
        site.run("deploy", "--poll", "0.5")
        assert site.answers() == {(1, 1, 1, 1)}

        def kinds() -> set[str]:
            return {row["kind"] for row in json.loads(site.run("-o", "json", "telemetry"))}

        until(lambda: {"prediction", "health"} <= kinds())

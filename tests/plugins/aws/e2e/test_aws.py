"""The main job on provider aws, end to end: real API calls, nuclei, runtimes and sockets."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(600)  # processes that start slowly on a slow machine


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
        reads = ("Get", "List", "Describe", "Head")
        called = site.calls()["total"]
        assert [name for name in called if not name.split(".")[1].startswith(reads)] == []

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
        kinds = {row["kind"] for row in json.loads(site.run("-o", "json", "telemetry"))}
        assert "prediction" in kinds


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

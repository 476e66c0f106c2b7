"""The main job on provider gke, end to end: real API calls, kubelets, runtimes and sockets."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(600)  # processes that start slowly on a slow machine


def test_a_release_is_answered_by_every_node_and_a_bad_one_by_none(site: Any) -> None:
    with site.clusters(1, 2):
        good = site.build("1", 1.0)
        said = site.run("deploy", "--poll", "0.5")
        assert said == "all: healthy - 2 of 2 devices are healthy\n"
        rows = site.rows()
        assert {(r["state"], r["active"], r["digest"]) for r in rows.values()} == {
            ("healthy", 1, good)
        }
        assert site.answers() == {(1, 1, 1, 1)}
        assert "have release 1 already" in site.run("deploy")

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
        assert json.loads(site.run("-o", "json", "devices", "list"))

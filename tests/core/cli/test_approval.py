"""Versions that nobody approved, or that were rejected, do not go out by themselves."""

from __future__ import annotations

import json
from typing import Any


def journal(site: Any) -> list[dict[str, Any]]:
    text = (site.folder / ".edgectl/journal.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_a_version_that_needs_an_operators_word_waits_for_it(site: Any) -> None:
    site.write()
    path = site.folder / "edgectl.yaml"
    path.write_text(path.read_text().replace("model:\n", "model:\n  approval: manual\n"))
    done = site.run("run", code=1)
    assert "tiny 1 is pending at provider 'memory'" in done.stderr
    assert "edgectl register --approve" in done.stderr
    assert "assign" not in {entry["action"] for entry in journal(site)}
    site.run("register", "--approve")
    site.run("deploy")


def test_a_rejected_version_goes_out_only_by_force_and_the_journal_says_so(site: Any) -> None:
    site.build()
    site.run("register", "--reject")
    assert "is rejected" in site.run("deploy", code=1).stderr
    site.run("deploy", "--force-unapproved")
    forced = [entry for entry in journal(site) if entry["action"] == "force-unapproved"]
    assert [entry["approval"] for entry in forced] == ["rejected"]


def test_an_approved_version_leaves_no_line_about_force(site: Any) -> None:
    site.build()
    site.run("deploy", "--force-unapproved")
    assert "force-unapproved" not in {entry["action"] for entry in journal(site)}

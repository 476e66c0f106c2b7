"""Ten edge devices: from training to answers in one command, and a bad model that none keeps."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def of_others(site: Any) -> dict[str, Any]:
    """Return the hub's deployments that edgectl did not make, but for counts."""
    found = site.hub("GET", "/configurations")
    return {
        one["id"]: {key: one[key] for key in ("content", "priority", "targetCondition", "etag")}
        for one in found
        if not one["id"].startswith("edgectl-")
    }


def test_one_command_goes_from_training_to_ten_devices_that_answer(site: Any) -> None:
    site.waves, site.trainer = "[1, 50%, 100%]", "azure"
    site.write()
    with site.account(10):
        others = of_others(site)
        assert len(others) == 2
        said = site.run("run", "--provider", "azure", "--poll", "0.5")
        assert "all: healthy - 10 of 10 devices are healthy" in said
        rows = site.rows()
        assert len(rows) == 10
        assert {(r["state"], r["active"]) for r in rows.values()} == {("healthy", 1)}
        digests = {r["digest"] for r in rows.values()}
        assert site.answers() == {(1, 1, 1, 1)}

        plan = json.loads(site.run("-o", "json", "plan"))
        notes = plan["targets"][0]["notes"]
        assert [note for note in notes if "stays as it is" in note] == [
            f"stays as it is: deployment '{name}' on 10 devices" for name in sorted(others)
        ]

        site.write("2", 2.0)
        site.run("train", "--provider", "azure")
        site.run("register", "--provider", "selfhosted")
        site.spoil_golden()
        site.run("package")
        assert "golden-failed" in site.run("deploy", "--poll", "0.5", code=6)
        assert {r["digest"] for r in site.rows().values()} == digests
        assert site.answers() == {(1, 1, 1, 1)}
        assert of_others(site) == others
        site.run("journal", "verify")

    # The same project trained on this machine and packaged for the team's own machines.
    site.trainer = "selfhosted"
    (site.folder / ".edgectl" / "store").rename(site.folder / "store-of-azure")
    assert {site.build("1", 1.0)} == digests

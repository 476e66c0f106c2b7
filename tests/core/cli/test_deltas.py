"""``package --delta-from``: which earlier package is meant, and what is said of what was made."""

from __future__ import annotations

import json
from typing import Any

import pytest


@pytest.mark.slow
def test_an_earlier_package_is_found_by_release_version_and_digest(site: Any) -> None:
    site.build("1", 1.0)
    site.run("deploy")
    first = json.loads(site.run("-o", "json", "package").stdout)["digest"]
    site.write("2.0", 2.0)
    site.run("train")
    site.run("register")
    wishes = [word for name in ("1", first, "1") for word in ("--delta-from", name)]
    made = json.loads(site.run("-o", "json", "package", *wishes).stdout)
    assert [one["package"] for one in made["deltas"]] == [first] * 3
    # The model is too small to be worth a delta.
    assert made["deltas"][0] == {"package": first, "version": "1", "files": [], "made": None}
    said = site.run("package", "--delta-from", "1").stdout
    assert f"from 1  {first}\n  no file that is worth a delta has changed\n" in said
    said = site.run("package", "--delta-from", "9.9", code=1).stderr
    assert "there is no release, version or package '9.9' of 'tiny'" in said
    said = site.run("package", "--delta-from", "2.0", code=1).stderr
    assert "is the one that a delta is wanted to" in said
    said = site.run("package", "--delta-from", "sha256:" + "0" * 64, code=1).stderr
    assert "is not in the local store" in said

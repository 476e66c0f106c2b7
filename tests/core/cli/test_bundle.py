"""``edgectl package --bundle`` from the command line."""

from __future__ import annotations

import json
from typing import Any


def test_bundle_is_written_as_the_release_that_a_deploy_then_rolls_out(site: Any) -> None:
    site.build()
    done = site.run("package", "--bundle", "one.bundle")
    size = (site.folder / "one.bundle").stat().st_size
    assert done.stdout.endswith(f"  release 1  {size} bytes in one.bundle\n")
    assert "no device was given it" in done.stderr
    done = site.run("deploy", "--poll", "0.05")
    assert "as release 1: 6 devices change" in done.stderr
    again = json.loads(site.run("-o", "json", "package", "--bundle", "b", "--release", "1").stdout)
    assert (again["release"], again["bundle_bytes"]) == (1, size)
    assert (site.folder / "b").read_bytes() == (site.folder / "one.bundle").read_bytes()


def test_options_of_a_bundle_without_one_are_a_usage_error(site: Any) -> None:
    site.write()
    assert "are for --bundle" in site.run("package", "--release", "1", code=2).stderr
    both = ("--bundle", "b", "--release", "1", "--release-number", "2")
    assert "for a new one" in site.run("package", *both, code=2).stderr

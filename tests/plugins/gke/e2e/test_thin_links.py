"""Pods whose link is closed by day: they say so, fail nothing, and fetch when they may."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]


def limit(site: Any, network: str, timeout: str = "5m") -> None:
    """Give the target's network limits, and the rollout a time."""
    site.write("1", 1.0)
    file = site.folder / "edgectl.yaml"
    text = file.read_text().replace("hardware: x86-64-cpu,", f"network: {network},")
    file.write_text(text.replace("soak: 0s,", f"soak: 0s, timeout: {timeout},"))


def shut() -> str:
    """Return a window of the devices' own clock that opens in six hours."""
    begins = datetime.now().astimezone() + timedelta(hours=6)
    ends = begins + timedelta(hours=1)
    return f'{{download_window: {{from: "{begins:%H:%M}", to: "{ends:%H:%M}"}}}}'


def test_a_pod_that_waits_for_its_window_is_told_of_and_fetches_when_it_may(site: Any) -> None:
    with site.clusters(1, 1):
        site.build("1", 1.0)
        limit(site, shut(), "45s")
        done = site.attempt("-o", "json", "deploy", "--poll", "0.5")
        assert done.returncode == 5, (done.stdout, done.stderr)
        verdict = json.loads(done.stdout)[0]["verdict"]
        assert "1 waits for its download window until " in verdict["why"]
        (row,) = site.rows().values()
        assert (row["state"], row["reason"]) == ("downloading", "download-window")
        limit(site, "{bandwidth: 2MB/s}")
        site.run("deploy", "--poll", "0.5")
        assert site.answers() == {(1, 1, 1, 1)}

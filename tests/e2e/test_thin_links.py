"""A fleet whose link is closed by day: nothing is fetched, everybody says why, and answers."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

pytestmark = pytest.mark.slow

TARGET = "selector: {tags: {site: test}}"


def limit(site: Any, network: str, timeout: str = "5m") -> None:
    """Give the target's network limits, and the rollout a time."""
    file = site.folder / "edgectl.yaml"
    head, _, rest = file.read_text().partition("  all: ")
    tail = rest.partition("\n")[2]
    rollout = f"rollout: {{waves: [1, 100%], soak: 0s, unreachable_grace: 15s, timeout: {timeout}}}"
    tail = rollout + "\n" + tail.partition("\n")[2]
    file.write_text(f"{head}  all: {{provider: selfhosted, {TARGET}, network: {network}}}\n{tail}")


def shut() -> str:
    """Return a window of the devices' own clock that opens in six hours."""
    begins = datetime.now().astimezone() + timedelta(hours=6)
    ends = begins + timedelta(hours=1)
    return f'{{download_window: {{from: "{begins:%H:%M}", to: "{ends:%H:%M}"}}}}'


def test_a_closed_window_holds_a_rollout_back_and_everybody_says_so(site: Any) -> None:
    with site.fleet(2):
        site.build("1", 1.0)
        site.run("deploy", "--poll", "0.2")
        site.build("2", 2.0)
        limit(site, shut(), "15s")
        verdict = json.loads(site.run("-o", "json", "deploy", "--poll", "0.2", code=5))[0]
        assert "1 waits for its download window until " in verdict["verdict"]["why"]
        assert verdict["verdict"]["failed"] == []
        (waits,) = [row for row in site.rows().values() if row["reason"] == "download-window"]
        assert waits["state"] == "downloading"
        assert waits["detail"].startswith("waits for its download window until ")
        for device in site.devices:
            assert site.answer(device) == [1.0] * 4
        limit(site, "{bandwidth: 2MB/s}")
        site.run("deploy", "--poll", "0.2")
        for device in site.devices:
            assert site.answer(device) == [2.0] * 4

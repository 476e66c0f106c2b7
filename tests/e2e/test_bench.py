"""From a bench on a device to the operator's terminal, through agent, queue and hub."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def test_a_bench_beside_the_serving_runtime_is_shown_by_devices_show(site: Any) -> None:
    with site.fleet(1):
        site.build("1", 1.0)
        site.run("deploy", "--poll", "0.2")
        (name,) = site.devices
        (config,) = (site.folder / "fleet").rglob("device.toml")
        done = subprocess.run(
            [
                *(sys.executable, "-m", "edge_components.runtime.main", "bench"),
                *("--config", str(config), "--seconds", "0.1", "--nice", "5", "-o", "json"),
            ],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        measured = json.loads(done.stdout)
        assert measured["release"] == 1
        assert site.answer(name) == [1, 1, 1, 1]
        assert list((Path(config).parent).rglob("store/bench.json"))

        deadline = time.monotonic() + 60
        while True:
            row = json.loads(site.run("-o", "json", "devices", "show", name))
            if row["bench"] is not None and row["health"]:
                break
            assert time.monotonic() < deadline, "the report did not come up"
        assert row["bench"]["rows"] == measured["rows"]
        assert row["health"]["memory_total_bytes"] > 0

        site.run("telemetry", "plot", "--file", "t.png")
        assert (site.folder / "t.png").read_bytes().startswith(b"\x89PNG")
        (whole, device) = json.loads(site.run("-o", "json", "telemetry", "--summary"))
        assert (whole["device"], device["device"]) == ("", name)

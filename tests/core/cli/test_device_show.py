"""``edgectl devices show``: state, the machine's health, and the last bench."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from edge_components.contract.bench import BenchReport, BenchRow
from edge_components.contract.telemetry import Kind, TelemetryRecord, Value

CPU = "CPUExecutionProvider"


def bench(median_ms: float, at_unix_s: float = 1_790_000_000.0) -> dict[str, Value]:
    row = BenchRow(
        precision="int8",
        provider=CPU,
        used=CPU,
        ok=True,
        load_s=0.25,
        median_ms=median_ms,
        p95_ms=2 * median_ms,
        throughput=1000 / median_ms,
        peak_bytes=64 << 20,
    )
    missing = BenchRow(
        precision="int8", provider="CUDAExecutionProvider", detail="is not in this ONNX Runtime"
    )
    report = BenchReport(
        model="tiny",
        version="1",
        hardware="x86-64-cpu",
        engine="onnxruntime 1.30",
        at_unix_s=at_unix_s,
        rows=(row, missing),
    )
    return report.to_attributes()


@pytest.fixture
def say(site: Any, tell: Any) -> Any:
    site.build(memory="{devices: 2}")
    site.run("deploy")
    (name, *_) = [
        row["device"] for row in json.loads(site.run("devices", "list", "-o", "json").stdout)
    ]

    def say(kind: Kind, age_s: float, attributes: dict[str, Value], body: str = "") -> None:
        tell(
            site,
            TelemetryRecord(
                id=f"{kind}-{age_s}",
                kind=kind,
                time_unix_ns=time.time_ns() - int(age_s * 1e9),
                device=name,
                application="tiny",
                body=body,
                attributes=attributes,
            ),
        )

    say.name = name  # type: ignore[attr-defined]  # the device that it speaks for
    return say


def test_the_last_bench_and_the_newest_health_are_shown(site: Any, say: Any) -> None:
    say(Kind.EVENT, 5 * 86_400, bench(9.0))
    say(Kind.EVENT, 4 * 86_400, bench(1.5))
    say(Kind.EVENT, 10, {}, body="something else")
    say(Kind.HEALTH, 60, {"temperature_c": 40.0, "requests": 3})
    say(Kind.HEALTH, 30, {"temperature_c": 61.5, "memory_total_bytes": 2 << 30, "requests": 4})
    text = site.run("devices", "show", say.name).stdout
    assert "temperature_c            61.5" in text
    assert "2,048 MiB" in text
    assert "bench of tiny 1, 2026-09-21T14:13:20Z, onnxruntime 1.30" in text
    (best,) = [line for line in text.splitlines() if line.strip().startswith("*")]
    assert best.split()[1:5] == ["int8", "CPU", "1.5", "ms"]
    assert "is not in this ONNX Runtime" in text
    row = json.loads(site.run("devices", "show", say.name, "-o", "json").stdout)
    assert row["bench"]["rows"][0]["median_ms"] == 1.5
    assert row["health"]["temperature_c"] == 61.5
    assert row["state"] == "healthy"


def test_a_device_that_told_nothing_is_shown_with_its_state(site: Any, say: Any) -> None:
    row = json.loads(site.run("devices", "show", say.name, "-o", "json").stdout)
    assert (row["health"], row["bench"], row["state"]) == (None, None, "healthy")
    assert "bench" not in site.run("devices", "show", say.name).stdout


def test_what_is_no_report_and_an_impossible_time_do_no_harm(site: Any, say: Any) -> None:
    say(Kind.EVENT, 10, {"bench.report": "{"})
    assert "bench" not in site.run("devices", "show", say.name).stdout
    say(Kind.EVENT, 5, bench(1.0, at_unix_s=1e200))
    assert "an unknown time" in site.run("devices", "show", say.name).stdout

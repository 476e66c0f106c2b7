"""Drift beside a server: sampling, golden sets, what telemetry makes of it."""

from __future__ import annotations

import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from edge_components.contract.device import DriftSection
from edge_components.contract.package import TensorSpec
from edge_components.contract.telemetry import Kind, TelemetryRecord
from edge_components.drift.watch import DriftWatch
from edge_components.telemetry.privacy import Policy
from edge_components.telemetry.queue import TelemetryQueue
from edge_components.telemetry.recorder import Recorder, Subject

SPECS = (TensorSpec(name="y", datatype="FP32", shape=(-1, 2)),)
SETTINGS = DriftSection(window_rows=40, min_rows=20, rate_per_s=100)
PACKAGE = "sha256:a"


def model(package: str = PACKAGE) -> Any:
    identity = SimpleNamespace(name="m", version="1", release=1, package=package, precision="fp32")
    return SimpleNamespace(identity=identity)


def ask(watch: DriftWatch, x: float, package: str = PACKAGE) -> None:
    question, answer = np.full((1, 2), x, np.float32), np.array([[x, -x]], np.float32)
    watch.take(model(package).identity, {"x": question}, SPECS, [answer])


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    path = tmp_path / "golden.npz"
    x = np.random.default_rng(3).normal(size=(64, 2)).astype(np.float32)
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in {"input.x": x, "output.y": np.stack([x[:, 0], -x[:, 0]], 1)}.items():
            with archive.open(f"{name}.npy", "w") as stream:
                np.lib.format.write_array(stream, array)
    return path


def test_a_window_of_other_inputs_is_reported_as_drift(golden: Path) -> None:
    watch = DriftWatch(SETTINGS)
    watch.follow(PACKAGE, golden)
    for _ in range(40):
        ask(watch, 5.0)
    report = watch.collect(1.0)
    assert report is not None
    assert {"input.x", "input.x[0]"} <= set(report.crossed)


def test_answers_of_another_package_are_not_compared(golden: Path) -> None:
    watch = DriftWatch(SETTINGS)
    watch.follow(PACKAGE, golden)
    for _ in range(60):
        ask(watch, 5.0, "sha256:old")
    assert watch.collect(1.0) is None
    assert watch.health() == {}


def test_sampling_is_bounded_and_goes_on_with_time(golden: Path) -> None:
    watch = DriftWatch(msgspec.structs.replace(SETTINGS, rate_per_s=10))
    watch.follow(PACKAGE, golden)
    watch.collect(0.0)
    for _ in range(1000):
        ask(watch, 0.1)
    watch.collect(0.5)
    assert watch.health()["confidence.samples"] == 10
    for _ in range(1000):
        ask(watch, 0.1)
    watch.collect(1.0)
    assert watch.health()["confidence.samples"] == 5


def test_a_rate_below_one_a_second_samples_now_and_then(golden: Path) -> None:
    watch = DriftWatch(msgspec.structs.replace(SETTINGS, rate_per_s=0.5))
    watch.follow(PACKAGE, golden)
    for second in range(9):
        watch.collect(float(second))
        ask(watch, 0.1)
    watch.collect(9.0)
    assert watch.health()["confidence.samples"] == 4


def test_without_a_golden_set_there_is_confidence_but_no_drift() -> None:
    watch = DriftWatch(SETTINGS)
    watch.follow(PACKAGE, None)
    for number in range(60):
        ask(watch, number / 10)
    assert watch.collect(1.0) is None
    assert watch.trouble
    found = watch.health()
    assert (found["confidence.samples"], found["confidence.p50"]) == (60, pytest.approx(2.95))


def test_a_golden_set_that_cannot_be_read_costs_drift_only(tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"
    path.write_bytes(b"no zip")
    watch = DriftWatch(SETTINGS)
    watch.follow(PACKAGE, path)
    ask(watch, 1.0)
    assert watch.collect(1.0) is None
    assert "zip" in watch.trouble


def recorded(tmp_path: Path, golden: Path, policy: Policy) -> list[TelemetryRecord]:
    """Let a recorder see forty shifted inputs; return the drift records."""
    queue = TelemetryQueue(tmp_path / "q.db", max_bytes=1 << 20, ttl_s=60)
    recorder = Recorder(queue, Subject(), drift=DriftWatch(SETTINGS))
    recorder.about(Subject(device="d", package=PACKAGE), 1.0, policy=policy, golden=golden)
    for _ in range(40):
        x = np.full((1, 2), 5.0, np.float32)
        recorder.prediction(model(), 0.001, SPECS, [x], "http", inputs={"x": x})
    recorder.start()
    recorder.stop()
    found = [item.record for item in queue.peek(max_records=1000, max_bytes=1 << 30)]
    queue.close()
    return [record for record in found if record.kind is Kind.DRIFT]


def test_drift_becomes_one_record_a_window_with_a_warning(tmp_path: Path, golden: Path) -> None:
    (record,) = recorded(tmp_path, golden, Policy())
    assert record.severity == 13
    assert record.body.startswith("drift of ")
    assert record.attributes["crossed"] is True
    assert record.attributes["rows"] == 40
    assert record.attributes["input.x.psi"] > 1
    assert record.attributes["worst_psi"] == max(
        value for name, value in record.attributes.items() if name.endswith(".psi")
    )
    assert str(record.attributes["worst"]) in record.body


def test_what_is_redacted_is_not_in_a_drift_record_either(tmp_path: Path, golden: Path) -> None:
    (record,) = recorded(tmp_path, golden, Policy(redact=("input.x", "output.*")))
    assert not [name for name in record.attributes if name.startswith(("input", "output"))]
    assert "worst" not in record.attributes
    assert record.attributes["worst_psi"] == 0
    assert (record.severity, record.body) == (9, "no drift")


def test_drift_is_measured_also_where_no_prediction_is_recorded(
    tmp_path: Path, golden: Path
) -> None:
    (record,) = recorded(tmp_path, golden, Policy("none"))
    assert record.attributes["crossed"] is True

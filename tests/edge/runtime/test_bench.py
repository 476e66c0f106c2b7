"""``edge-runtime bench``: what it measures, prints, keeps and sends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_components.contract.bench import BenchReport, from_attributes, parse_bench
from edge_components.contract.telemetry import Kind
from edge_components.telemetry.queue import TelemetryQueue

CPU = "CPUExecutionProvider"
AZURE = "AzureExecutionProvider"

CONFIG = """
[device]
id = "lot-7"
application = "plates"
hardware = "x86-64-cpu"
state_dir = "{state}"

[trust]
publishers = []
"""

CRASHING = """
import os, signal
import onnxruntime
class Session(onnxruntime.InferenceSession):
    def __init__(self, path, *args, **more):
        if "int8" in path:
            os.kill(os.getpid(), signal.SIGSEGV)
        super().__init__(path, *args, **more)
onnxruntime.InferenceSession = Session
"""


def bench(*arguments: str | Path, code: int = 0, env: dict[str, str] | None = None) -> Any:
    command = [sys.executable, "-m", "edge_components.runtime.main", "bench"]
    done = subprocess.run(
        [*command, *map(str, arguments), "--seconds", "0.1", "--nice", "0"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, **(env or {})},
    )
    assert done.returncode == code, done.stderr
    return done


def report_of(*arguments: str | Path, **more: Any) -> BenchReport:
    return parse_bench(bench(*arguments, "-o", "json", **more).stdout.encode())


@pytest.fixture
def version(make_version: Any, build: Any) -> Path:
    folder: Path = make_version(
        3,
        {
            "fp32": lambda path: build.scaling(path, 2.0),
            "int8": lambda path: build.scaling(path, 3.0),
        },
        golden=build.scaling_golden(2.0),
    )
    return folder


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Path]:
    state = tmp_path / "state"
    (state / "store").mkdir(parents=True)
    path = tmp_path / "device.toml"
    path.write_text(CONFIG.format(state=state))
    yield path


def test_every_variant_is_measured_and_a_broken_golden_set_is_said(version: Path) -> None:
    report = report_of(version)
    rows = {row.precision: row for row in report.rows}
    assert set(rows) == {"fp32", "int8"}
    assert (rows["fp32"].ok, rows["int8"].ok) == (True, False)
    assert "int8" in rows["int8"].detail
    for row in report.rows:
        assert (row.provider, row.used) == (CPU, CPU)
        assert row.median_ms is not None
        assert row.p95_ms is not None
        assert 0 < row.median_ms <= row.p95_ms
        assert (row.throughput or 0) > 0
        assert row.load_s > 0
        assert row.peak_bytes > 10 << 20
        assert sum(row.nodes.values()) == row.nodes[CPU] == 1
    assert rows["fp32"].max_abs_error == 0.0
    assert report.best == rows["fp32"]
    assert (report.release, report.model, report.hardware) == (3, "plates", "x86-64-cpu")
    assert report.engine.startswith("onnxruntime ")


def test_the_table_marks_the_best_and_names_units(version: Path) -> None:
    lines = bench(version).stdout.splitlines()
    assert lines[0].startswith("plates 1.3.0 on x86-64-cpu, onnxruntime ")
    assert lines[1].split() == [
        *("PRECISION", "PROVIDER", "MEDIAN", "P95"),
        *("SAMPLES/S", "LOAD", "PEAK", "GOLDEN"),
    ]
    (best,) = [line for line in lines if line.startswith("*")]
    assert best.split()[1:3] == ["fp32", "CPU"]
    assert best.endswith("holds")


def test_a_provider_that_takes_no_node_is_not_the_best_and_says_where_it_ran(
    version: Path,
) -> None:
    # The Azure provider is in every ONNX Runtime and runs no node of an ordinary model.
    done = bench(version, "--provider", "Azure", "--provider", "CPU", "-o", "json")
    report = parse_bench(done.stdout.encode())
    row = next(r for r in report.rows if r.precision == "fp32" and r.provider == AZURE)
    assert (row.used, row.ok, row.is_as_asked) == (CPU, True, False)
    assert report.best is not None
    assert report.best.provider == CPU
    assert "Azure (ran on CPU)" in bench(version, "--provider", "Azure", code=1).stdout


def test_a_provider_that_is_not_here_is_a_row_that_says_so(version: Path) -> None:
    report = report_of(version, "--hardware", "jetson-orin")
    missing = [row for row in report.rows if row.provider == "TensorrtExecutionProvider"]
    assert {row.detail for row in missing} == {"is not in this ONNX Runtime"}
    assert report.best is not None
    assert report.best.provider == CPU


def test_a_variant_that_crashes_costs_its_row_only(version: Path, tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(CRASHING)
    path = os.pathsep.join([str(hook), os.environ.get("PYTHONPATH", "")])
    report = report_of(version, env={"PYTHONPATH": path})
    rows = {row.precision: row for row in report.rows}
    assert rows["int8"].detail == f"ended by signal {int(signal.SIGSEGV)}"
    assert rows["fp32"].ok


def test_a_model_that_never_ends_is_ended(build: Any, tmp_path: Path) -> None:
    model = build.endless(tmp_path / "m.onnx")
    done = bench(model, "--timeout", "3", "-o", "json", code=1)
    (row,) = parse_bench(done.stdout.encode()).rows
    assert row.detail == "gave no result in 3 s"


def test_a_plain_model_file_is_measured_with_and_without_a_golden_set(
    build: Any, tmp_path: Path
) -> None:
    model = build.scaling(tmp_path / "m.onnx", 2.0)
    (row,) = report_of(model).rows
    assert (row.ok, row.detail) == (True, "no golden set")
    golden = tmp_path / "g.npz"
    golden.write_bytes(build.scaling_golden(5.0))
    (row,) = parse_bench(
        bench(model, "--golden", golden, "-o", "json", code=1).stdout.encode()
    ).rows
    assert not row.ok
    assert row.max_abs_error is not None


def test_every_process_of_it_gives_way_to_others(build: Any, tmp_path: Path) -> None:
    model = build.endless(tmp_path / "m.onnx")
    command = [sys.executable, "-m", "edge_components.runtime.main", "bench", str(model)]
    with subprocess.Popen([*command, "--timeout", "60"], stdout=subprocess.DEVNULL) as parent:

        def measuring() -> int:
            children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
            lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children]
            found = [pid for pid, line in zip(children, lines, strict=True) if b"bench" in line]
            return int(found[0]) if found else 0

        child = build.until(measuring)
        assert os.getpriority(os.PRIO_PROCESS, parent.pid) == 19
        assert os.getpriority(os.PRIO_PROCESS, child) == 19
        parent.kill()
        parent.wait(10)

        def is_gone() -> bool:
            try:
                return b"bench" not in Path(f"/proc/{child}/cmdline").read_bytes()
            except OSError:
                return True

        build.until(is_gone)


def test_the_report_is_kept_and_waits_in_the_queue_where_nobody_serves(
    version: Path, config: Path
) -> None:
    done = bench(version, "--config", config)
    assert "goes up when a runtime runs" in done.stderr
    state = config.parent / "state"
    kept = parse_bench((state / "store" / "bench.json").read_bytes())
    queue = TelemetryQueue(state / "runtime" / "telemetry.db", max_bytes=1 << 20, ttl_s=3600)
    (item,) = queue.peek(max_records=9, max_bytes=1 << 20)
    queue.close()
    assert (item.record.kind, item.record.device, item.record.release) == (Kind.EVENT, "lot-7", 3)
    assert from_attributes(item.record.attributes) == kept
    assert item.record.attributes["bench.precision"] == "fp32"


def test_a_runtime_that_serves_takes_the_report_into_its_telemetry(
    version: Path, config: Path, start: Any, build: Any, tmp_path: Path
) -> None:
    state = config.parent / "state"
    out = tmp_path / "t.jsonl"
    served = start(
        *("--version-dir", version, "--precision", "fp32"),
        *("--control-socket", state / "runtime.sock", "--state-dir", state / "runtime"),
        *("--telemetry-url", f"file://{out}", "--telemetry-interval-s", "0.1"),
    )
    done = bench(version, "--config", config)
    assert "goes up with the runtime's telemetry" in done.stderr
    assert served.infer([1.0, 2.0, 3.0, 4.0]) == [2.0, 4.0, 6.0, 8.0]
    build.until(lambda: out.exists() and b"bench.report" in out.read_bytes())


def test_nothing_is_sent_or_kept_without_a_configuration_or_where_it_is_not_wanted(
    version: Path, config: Path
) -> None:
    bench(version, "--config", config, "--no-send")
    state = config.parent / "state"
    assert (state / "store" / "bench.json").exists()
    assert not (state / "runtime").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name a version's folder"),
        (("/none",), "'/none' is not there"),
        (("/", "--config", "/none.toml"), "cannot be read"),
        (("/", "--hardware", "toaster"), "unknown hardware 'toaster'"),
    ],
)
def test_wrong_usage_says_what_is_missing(arguments: tuple[str, ...], message: str) -> None:
    code = 1 if "toaster" in arguments else 2
    assert message in bench(*arguments, code=code).stderr


def test_a_device_without_a_release_says_so(config: Path) -> None:
    assert "no release is active" in bench("--config", config, code=2).stderr


def test_the_report_is_json_that_others_can_read(version: Path) -> None:
    plain = json.loads(bench(version, "-o", "json").stdout)
    assert {"precision", "provider", "median_ms", "p95_ms"} <= set(plain["rows"][0])

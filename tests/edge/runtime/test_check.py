"""``edge-runtime check``: its verdict, its reasons, and models that crash or hang."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

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


def check(
    folder: Path, *more: str, env: dict[str, str] | None = None, code: int | None = None
) -> Any:
    command = [sys.executable, "-m", "edge_components.runtime.main", "check", str(folder)]
    done = subprocess.run(
        [*command, "--hardware", "x86-64-cpu", *more],
        capture_output=True,
        env=env,
        timeout=60,
        check=False,
    )
    report = json.loads(done.stdout)
    assert done.returncode == (0 if report["ok"] else 1)
    return report


@pytest.fixture
def good(make_version: Any, build: Any) -> Path:
    folder: Path = make_version(
        1, {"fp32": lambda path: build.scaling(path, 2.0)}, golden=build.scaling_golden(2.0)
    )
    return folder


def test_a_version_that_holds_is_ok_with_its_measurements(good: Path) -> None:
    report = check(good)
    assert report["ok"] is True
    assert report["precision"] == "fp32"
    assert report["provider"] == "CPUExecutionProvider"
    assert report["samples"] == 40
    assert report["max_abs_error"] == 0.0
    assert report["label_agreement"] == 1.0
    assert report["seconds"] > 0
    assert report["reason"] == ""


def test_a_version_off_its_golden_set_fails_with_the_numbers(make_version: Any, build: Any) -> None:
    folder = make_version(
        1, {"fp32": lambda path: build.scaling(path, 2.5)}, golden=build.scaling_golden(2.0)
    )
    report = check(folder)
    assert (report["ok"], report["reason"]) == (False, "golden-failed")
    assert report["max_abs_error"] > 0.1
    assert "off by" in report["detail"]


def test_nan_is_never_within_the_tolerance(make_version: Any, build: Any) -> None:
    folder = make_version(
        1,
        {"fp32": lambda path: build.scaling(path, float("nan"))},
        golden=build.scaling_golden(2.0),
        atol=1e9,
    )
    report = check(folder)
    assert (report["ok"], report["reason"]) == (False, "golden-failed")


def test_labels_must_agree_where_the_variant_asks(make_version: Any, build: Any) -> None:
    folder = make_version(
        1,
        {"int8": lambda path: build.scaling(path, -2.0)},
        golden=build.scaling_golden(2.0),
        atol=1e9,
        min_label_agreement=0.9,
    )
    report = check(folder)
    assert (report["ok"], report["reason"]) == (False, "golden-failed")
    assert "label agreement" in report["detail"]


def test_the_next_precision_is_tried_where_one_fails(make_version: Any, build: Any) -> None:
    folder = make_version(
        1,
        {
            "int8": lambda path: build.scaling(path, 2.5),
            "fp32": lambda path: build.scaling(path, 2.0),
        },
        golden=build.scaling_golden(2.0),
    )
    assert check(folder)["precision"] == "fp32"
    required = check(folder, "--precision", "int8")
    assert (required["ok"], required["precision"]) == (False, "int8")


def test_a_crashing_variant_costs_its_process_only(
    make_version: Any, build: Any, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(CRASHING)
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    models = {name: lambda path: build.scaling(path, 2.0) for name in ("int8", "fp32")}
    folder = make_version(1, models, golden=build.scaling_golden(2.0))
    assert check(folder, env=env)["precision"] == "fp32"
    report = check(folder, "--precision", "int8", env=env)
    assert (report["ok"], report["reason"]) == (False, "load-failed")
    assert "SIGSEGV" in report["detail"]


def test_a_hanging_model_is_ended_at_the_deadline(make_version: Any, build: Any) -> None:
    folder = make_version(1, {"fp32": build.endless}, golden=build.scaling_golden(1.0))
    start = time.monotonic()
    report = check(folder, "--timeout", "2")
    assert (report["ok"], report["reason"]) == (False, "golden-failed")
    assert "no answer in 2 s" in report["detail"]
    assert time.monotonic() - start < 20


def test_a_file_that_is_no_model_fails_to_load(good: Path) -> None:
    (good / "package/model/fp32.onnx").write_bytes(b"\x00" * 100)
    assert check(good)["reason"] == "load-failed"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--precision", "fp16"), "hardware-mismatch"),
        (("--hardware", "abacus"), "hardware-mismatch"),
    ],
)
def test_what_does_not_fit_the_hardware_is_said(
    good: Path, arguments: tuple[str, ...], reason: str
) -> None:
    assert check(good, *arguments)["reason"] == reason


def test_a_missing_folder_is_a_bad_package(tmp_path: Path) -> None:
    assert check(tmp_path / "none")["reason"] == "bad-package"


def test_a_pickled_golden_set_is_not_loaded(make_version: Any, build: Any) -> None:
    golden = build.golden(
        {"input.x": np.array([{"a": 1}], dtype=object), "output.y": np.zeros((1, 4))}
    )
    folder = make_version(1, {"fp32": lambda path: build.scaling(path, 2.0)}, golden=golden)
    report = check(folder)
    assert report["reason"] == "golden-failed"
    assert "not taken" in report["detail"]


def test_a_package_without_a_golden_set_is_only_loaded(make_version: Any, build: Any) -> None:
    folder = make_version(1, {"fp32": lambda path: build.scaling(path, 2.0)})
    report = check(folder)
    assert report["ok"] is True
    assert report["samples"] == 0

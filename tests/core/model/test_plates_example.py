"""The example trains, reaches its gate, and its int8 variant keeps its accuracy."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgectl.model.prepare import PrepareSpec, VariantSpec, prepare_version
from edgectl.model.signature import read_signature
from edgectl.records import TrainedModel

EXAMPLE = Path(__file__).parents[3] / "examples" / "plates"


def train(folder: Path, **environment: str) -> Path:
    """Run the training as its own process in ``folder`` and return where it left things."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLE / "train.py")],
        cwd=folder,
        env={**os.environ, **environment},
        check=True,
        timeout=100,
    )
    return folder / "out"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("plates"))


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


def test_model_has_the_interface_that_the_pipeline_feeds(out: Path) -> None:
    signature = read_signature(out / "model.onnx")
    assert [(s.name, s.datatype, s.shape) for s in (*signature.inputs, *signature.outputs)] == [
        ("image", "FP32", (-1, 64)),
        ("probabilities", "FP32", (-1, 10)),
    ]
    assert signature.opset == {"ai.onnx": 17}


def test_training_again_gives_the_same_bytes_where_edgectl_asks_for_them(
    out: Path, tmp_path: Path
) -> None:
    train(
        tmp_path,
        EDGECTL_OUTPUT_MODEL=str(tmp_path / "x" / "model.onnx"),
        EDGECTL_OUTPUT_METRICS=str(tmp_path / "x" / "metrics.json"),
    )
    assert digests(tmp_path / "x") == digests(out)
    assert not (tmp_path / "out").exists()


def test_version_passes_its_gate_and_int8_keeps_its_accuracy(out: Path, tmp_path: Path) -> None:
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["accuracy"] >= 0.96
    prepared = prepare_version(
        PrepareSpec(
            name="parking-plates",
            version="1.0.0",
            model=out / "model.onnx",
            golden=out / "golden.npz",
            evaluation=out / "evaluation.npz",
            gates={"accuracy": ">= 0.95"},
            variants=(
                VariantSpec(precision="fp32"),
                VariantSpec(
                    precision="int8", calibration=out / "calibration.npz", max_accuracy_drop=0.01
                ),
            ),
            trained=TrainedModel(model=out / "model.onnx", metrics=metrics),
        ),
        tmp_path,
        lambda _: None,
    )
    fp32, int8 = prepared.version.variants
    assert fp32.accuracy == pytest.approx(metrics["accuracy"])
    assert int8.size_bytes < 0.5 * fp32.size_bytes
    assert prepared.evaluation["evaluation"]["samples"] == 450


@pytest.mark.slow
def test_your_own_images_can_stand_in(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    labels = np.arange(400) % 10
    images = random.integers(0, 40, (400, 8, 8))
    images[np.arange(400), labels % 8, labels // 8] = 255
    archive: dict[str, Any] = {"images": images.astype(np.uint8), "labels": labels}
    np.savez(tmp_path / "mine.npz", **archive)
    out = train(tmp_path, EDGECTL_INPUT_DATA=str(tmp_path / "mine.npz"))
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics == {"accuracy": pytest.approx(1.0, abs=0.1), "held_out_samples": 100}


def test_project_file_is_valid_and_names_what_training_leaves(out: Path) -> None:
    from edgectl.project.load import load_project  # noqa: PLC0415 - only this test reads it

    project = load_project(EXAMPLE / "edgectl.yaml")
    model = project.spec.model
    named = [model.path, model.golden, model.evaluation]
    named += [variant.calibration for variant in model.variants]
    assert {Path(name).name for name in named if name} <= {p.name for p in out.iterdir()}
    assert [t.provider for t in project.spec.targets.values()] == ["selfhosted", "selfhosted"]
    assert len((EXAMPLE / "labels.txt").read_text().split()) == 10

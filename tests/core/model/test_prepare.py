"""From a trained model to a version: sets are found, accuracy measured, gates asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from onnx import TensorProto, helper

from edge_components.contract.digest import sha256_digest
from edge_components.contract.jsonio import canonical_json
from edge_components.golden import compare, read_golden
from edgectl.errors import GateError, ModelError
from edgectl.model.golden import GoldenSet, complete_golden
from edgectl.model.parity import classes
from edgectl.model.prepare import PreparedModel, PrepareSpec, VariantSpec, prepare_version
from edgectl.model.signature import read_signature
from edgectl.records import TrainedModel

Make = Callable[..., Any]
Prepare = Callable[..., PreparedModel]


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def prepare(classifier_file: Path, tmp_path: Path, lines: list[str]) -> Prepare:
    def run(work: str = "work", **more: Any) -> PreparedModel:
        spec = {"name": "plates", "version": "1", "model": classifier_file, **more}
        return prepare_version(PrepareSpec(**spec), tmp_path / work, lines.append)

    return run


@pytest.fixture
def labelled(classifier_file: Path, save_npz: Make, rows: Make) -> Path:
    """An evaluation set on which the classifier is right nine times out of ten."""
    whole = complete_golden(read_signature(classifier_file), GoldenSet(inputs={"x": rows(100)}))
    labels = classes(whole.outputs)
    assert labels is not None
    labels[:10] = (labels[:10] + 1) % 4
    path: Path = save_npz({"input.x": rows(100), "labels": labels}, "evaluation.npz")
    return path


def test_everything_comes_together(
    prepare: Prepare, labelled: Path, save_npz: Make, rows: Make, classifier_file: Path
) -> None:
    trained = TrainedModel(model=classifier_file, metrics={"loss": 0.25})
    prepared = prepare(
        golden=save_npz({"x": rows(20)}, "golden.npz"),
        evaluation=labelled,
        gates={"accuracy": ">= 0.9", "loss": "< 1"},
        variants=(VariantSpec(precision="fp32"), VariantSpec(precision="fp16")),
        trained=trained,
    )
    version = prepared.version
    assert version.metrics == {"loss": 0.25, "accuracy": 0.9, "evaluation_accuracy": 0.9}
    assert [one.precision for one in version.variants] == ["fp32", "fp16"]
    assert set(prepared.files) == {"model/fp32/model.onnx", "model/fp16/model.onnx"}
    assert version.digest == read_signature(classifier_file).digest
    assert prepared.golden is not None
    assert version.golden_digest == sha256_digest(prepared.golden.read_bytes())
    assert prepared.evaluation["golden"] == {"samples": 20, "origin": "supplied"}
    assert prepared.evaluation["gates"]["accuracy"] == {"gate": ">= 0.9", "measured": 0.9}
    assert version.trained == trained


def test_two_runs_give_equal_records_and_bytes(prepare: Prepare, labelled: Path) -> None:
    spec = (VariantSpec(precision="fp32"), VariantSpec(precision="int8", calibration=labelled))
    first, second = (prepare(work, evaluation=labelled, variants=spec) for work in ("a", "b"))
    assert first.version == second.version
    assert canonical_json(first.evaluation) == canonical_json(second.evaluation)
    assert str(first.golden).replace("/a/", "/b/") == str(second.golden)
    for path, file in first.files.items():
        assert file.read_bytes() == second.files[path].read_bytes()


def test_the_report_is_plain_json_without_local_paths(prepare: Prepare, tmp_path: Path) -> None:
    report = canonical_json(prepare().evaluation)
    assert str(tmp_path).encode() not in report
    assert msgspec.json.decode(report)["variants"]["fp32"]["made"] == "original"


def test_the_device_side_takes_the_golden_set(prepare: Prepare, labelled: Path) -> None:
    prepared = prepare(evaluation=labelled)
    assert prepared.golden is not None
    golden = read_golden(prepared.golden)
    assert golden.samples == 64
    variant = prepared.version.variants[0]
    same = compare(golden.outputs, golden.outputs, atol=variant.atol, rtol=variant.rtol)
    assert same.holds(variant.min_label_agreement)
    wrong = {"p": golden.outputs["p"][::-1]}
    other = compare(wrong, golden.outputs, atol=variant.atol, rtol=variant.rtol)
    assert not other.holds(variant.min_label_agreement)


def test_a_gate_that_fails_stops_with_the_measured_number(
    prepare: Prepare, labelled: Path, tmp_path: Path
) -> None:
    with pytest.raises(GateError, match=r"'accuracy' is 0\.9, the gate is '>= 0\.95'"):
        prepare(evaluation=labelled, gates={"accuracy": ">= 0.95"})
    assert not (tmp_path / "work").exists()


def test_training_metrics_stand_beside_our_own_measure(
    prepare: Prepare, labelled: Path, classifier_file: Path
) -> None:
    trained = TrainedModel(model=classifier_file, metrics={"accuracy": 0.99})
    metrics = prepare(evaluation=labelled, trained=trained).version.metrics
    assert metrics == {"accuracy": 0.99, "evaluation_accuracy": 0.9}
    with pytest.raises(GateError, match=r"'evaluation_accuracy' is 0\.9"):
        prepare(evaluation=labelled, trained=trained, gates={"evaluation_accuracy": "> 0.95"})


def test_labels_of_the_golden_set_measure_accuracy_without_an_evaluation_set(
    prepare: Prepare, labelled: Path
) -> None:
    assert prepare(golden=labelled).version.metrics["accuracy"] == 0.9


def test_an_evaluation_set_without_labels_is_refused(
    prepare: Prepare, save_npz: Make, rows: Make
) -> None:
    with pytest.raises(ModelError, match=r"evaluation set .*set\.npz' has no 'labels'"):
        prepare(evaluation=save_npz({"x": rows(3)}))


def test_without_sets_the_golden_set_is_random_and_says_so(
    prepare: Prepare, lines: list[str]
) -> None:
    prepared = prepare()
    assert prepared.evaluation["golden"] == {"samples": 8, "origin": "random"}
    assert any("random inputs" in line for line in lines)


def test_calibration_inputs_make_a_golden_set(prepare: Prepare, save_npz: Make, rows: Make) -> None:
    spec = VariantSpec(precision="int8", calibration=save_npz({"x": rows(100)}))
    report = prepare(variants=(spec,)).evaluation
    assert report["golden"] == {"samples": 64, "origin": "calibration"}


def test_a_model_without_a_batch_axis_gets_no_made_golden_set_and_refuses_one(
    onnx_file: Make,
    make_model: Make,
    make_io: Make,
    save_npz: Make,
    prepare: Prepare,
    lines: list[str],
) -> None:
    nodes = [helper.make_node("Gather", ["x", "i"], ["y"])]
    inputs = [make_io("x", [9]), make_io("i", [2], TensorProto.INT64)]
    model = onnx_file(make_model(nodes, inputs, [make_io("y", [2])]), "odd.onnx")
    prepared = prepare(model=model)
    assert (prepared.golden, prepared.version.golden_digest) == (None, "")
    assert any("no common batch axis" in line for line in lines)
    arrays = {"x": np.ones(9, np.float32), "i": np.zeros(2, np.int64)}
    with pytest.raises(ModelError, match="devices cannot run the golden set"):
        prepare(model=model, golden=save_npz(arrays))


def test_a_model_that_cannot_be_loaded_is_refused_before_anything_is_written(
    onnx_file: Make, make_model: Make, make_io: Make, prepare: Prepare, tmp_path: Path
) -> None:
    nodes = [helper.make_node("Relu", ["nowhere"], ["y"])]
    broken = onnx_file(make_model(nodes, [make_io("x", [2])], [make_io("y", [2])]), "broken.onnx")
    with pytest.raises(ModelError, match="failed 'check'"):
        prepare(model=broken)
    assert not (tmp_path / "work").exists()


def test_random_inputs_that_the_model_refuses_point_to_the_golden_set(
    onnx_file: Make, make_model: Make, make_io: Make, prepare: Prepare
) -> None:
    # One sample that varies must have 3 columns, which the signature does not say.
    weights = {"w": np.ones((3, 1), np.float32)}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    proto = make_model(
        nodes, [make_io("x", [None, None])], [make_io("y", [None, 1])], weights=weights
    )
    with pytest.raises(ModelError, match="does not run on the given inputs") as caught:
        prepare(model=onnx_file(proto, "free.onnx"))
    assert "model.golden" in caught.value.hint

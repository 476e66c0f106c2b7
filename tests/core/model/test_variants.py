"""Variants: made, measured, held against what they may lose; the same bytes each time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge_components.contract.package import Variant
from edgectl.errors import GateError, ModelError
from edgectl.model.golden import GoldenSet, complete_golden
from edgectl.model.parity import Parity, classes
from edgectl.model.quantize import flatten_biases
from edgectl.model.ranges import round_out
from edgectl.model.signature import ModelSignature, read_signature
from edgectl.model.variants import (
    BuiltVariant,
    VariantSpec,
    build_variants,
    round_error,
    tolerances,
)

Make = Callable[..., Any]
Build = Callable[..., tuple[BuiltVariant, ...]]
FP32, FP16 = VariantSpec(precision="fp32"), VariantSpec(precision="fp16")


@pytest.fixture
def build(tmp_path: Path, rows: Make) -> Build:
    """Build variants of a model on seeded samples, labelled with the model's own classes."""

    def run(model: ModelSignature, *specs: VariantSpec, folder: str = "w", **more: Any) -> Any:
        golden = more.get("golden") or complete_golden(model, GoldenSet(inputs={"x": rows(100)}))
        labels = classes(golden.outputs)
        golden = GoldenSet(inputs=golden.inputs, outputs=golden.outputs, labels=labels)
        return build_variants(
            model, specs, golden, golden, work_dir=tmp_path / folder, progress=lambda _: None
        )

    return run


@pytest.fixture
def signature(classifier_file: Path) -> ModelSignature:
    return read_signature(classifier_file)


@pytest.fixture
def calibration(save_npz: Make, rows: Make) -> Path:
    path: Path = save_npz({"input.x": rows(200, seed=9)}, "calibration.npz")
    return path


def kinds(path: Path) -> set[str]:
    return {node.op_type for node in onnx.load(path).graph.node}


def test_fp32_is_the_original_itself(signature: ModelSignature, build: Build) -> None:
    (built,) = build(signature, FP32)
    assert built.files == {"model/fp32/model.onnx": signature.path}
    assert built.variant == Variant(
        precision="fp32",
        path="model/fp32/model.onnx",
        files=("model/fp32/model.onnx",),
        size_bytes=signature.size_bytes,
        atol=1e-4,
        rtol=1e-3,
        accuracy=1.0,
        min_label_agreement=0.98,
    )


def test_fp16_halves_the_weights_and_keeps_the_interface(
    onnx_file: Make, make_classifier: Make, build: Build
) -> None:
    model = read_signature(onnx_file(make_classifier(hidden=400)))
    (built,) = build(model, FP16)
    path = built.files["model/fp16/model.onnx"]
    assert built.variant.size_bytes < 0.55 * model.size_bytes
    assert read_signature(path).inputs == model.inputs
    assert read_signature(path).outputs[0].datatype == "FP32"
    assert 0 < built.variant.max_abs_error < 0.01


def test_static_int8_halves_the_weights_at_least_within_its_drop(
    onnx_file: Make, make_classifier: Make, calibration: Path, build: Build
) -> None:
    model = read_signature(onnx_file(make_classifier(hidden=800)))
    spec = VariantSpec(precision="int8", calibration=calibration, max_accuracy_drop=0.05)
    (built,) = build(model, spec)
    variant = built.variant
    assert built.kind == "int8-static"
    assert variant.size_bytes < 0.5 * model.size_bytes
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds(built.files[variant.path])
    assert variant.accuracy is not None
    assert variant.accuracy >= 0.95
    assert variant.max_abs_error < variant.atol <= 2 * variant.max_abs_error + 0.01
    assert 0.8 < variant.min_label_agreement < 1


def test_int8_without_calibration_is_dynamic(
    onnx_file: Make, make_classifier: Make, build: Build
) -> None:
    model = read_signature(onnx_file(make_classifier(hidden=400)))
    (built,) = build(model, VariantSpec(precision="int8"))
    assert built.kind == "int8-dynamic"
    assert "DynamicQuantizeLinear" in kinds(built.files[built.variant.path])
    assert built.variant.size_bytes < 0.5 * model.size_bytes


def test_two_runs_give_the_same_bytes(
    signature: ModelSignature, calibration: Path, build: Build
) -> None:
    specs = (FP16, VariantSpec(precision="int8", calibration=calibration))
    first, second = (build(signature, *specs, folder=name) for name in ("one", "two"))
    assert [one.variant for one in first] == [two.variant for two in second]
    for one, two in zip(first, second, strict=True):
        for name, file in one.files.items():
            assert file.read_bytes() == two.files[name].read_bytes()


def test_dynamic_int8_twice_gives_the_same_bytes(signature: ModelSignature, build: Build) -> None:
    spec = VariantSpec(precision="int8", kind="dynamic")
    (first,), (second,) = (build(signature, spec, folder=name) for name in ("one", "two"))
    path = first.variant.path
    assert first.files[path].read_bytes() == second.files[path].read_bytes()


def test_external_data_stays_external_in_every_variant(
    onnx_file: Make, make_classifier: Make, calibration: Path, build: Build
) -> None:
    model = read_signature(onnx_file(make_classifier(hidden=256), "big/m.onnx", external="w.bin"))
    specs = (FP32, FP16, VariantSpec(precision="int8", calibration=calibration))
    fp32, fp16, int8 = build(model, *specs)
    assert fp32.variant.files == ("model/fp32/model.onnx", "model/fp32/w.bin")
    for built in (fp16, int8):
        assert any(name.endswith("model.onnx.data") for name in built.files)
        assert built.variant.size_bytes == sum(f.stat().st_size for f in built.files.values())
    assert {file.name for file in model.path.parent.iterdir()} == {"m.onnx", "w.bin"}


def test_a_convolution_is_quantised_with_calibration_only(
    onnx_file: Make, make_model: Make, make_io: Make, save_npz: Make, build: Build
) -> None:
    random = np.random.default_rng(1)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], kernel_shape=[3, 3]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["g"]),
        helper.make_node("Flatten", ["g"], ["y"]),
    ]
    weights = {"w": random.normal(size=(5, 1, 3, 3)).astype(np.float32)}
    shape = [None, 1, 8, 8]
    proto = make_model(nodes, [make_io("x", shape)], [make_io("y", [None, 5])], weights=weights)
    model = read_signature(onnx_file(proto))
    images = random.random((20, 1, 8, 8)).astype(np.float32)
    golden = complete_golden(model, GoldenSet(inputs={"x": images}))
    spec = VariantSpec(precision="int8", calibration=save_npz({"x": images}))
    (built,) = build(model, spec, golden=golden)
    assert "QuantizeLinear" in kinds(built.files[built.variant.path])
    with pytest.raises(ModelError, match="no weight of the model became int8") as caught:
        build(model, VariantSpec(precision="int8"), golden=golden)
    assert "calibration set" in caught.value.hint


def test_a_variant_that_loses_too_much_is_stopped_with_the_numbers(
    signature: ModelSignature, save_npz: Make, rows: Make, build: Build
) -> None:
    # Calibrated on a thousandth of the real range, everything saturates.
    narrow = save_npz({"x": rows(50) / 1000})
    spec = VariantSpec(precision="int8", calibration=narrow, max_accuracy_drop=0.01)
    pattern = r"int8 variant loses 0\.\d{4} of accuracy \(1\.0000 → 0\.\d{4}\), at most 0\.01"
    with pytest.raises(GateError, match=pattern):
        build(signature, spec)


def test_without_labels_the_changed_classes_count_as_lost(
    signature: ModelSignature, save_npz: Make, rows: Make, tmp_path: Path
) -> None:
    golden = complete_golden(signature, GoldenSet(inputs={"x": rows(100)}))
    spec = VariantSpec(
        precision="int8", calibration=save_npz({"x": rows(50) / 1000}), max_accuracy_drop=0.01
    )
    with pytest.raises(GateError, match="no labels: the share of classes that changed"):
        build_variants(
            signature, (spec,), golden, golden, work_dir=tmp_path, progress=lambda _: None
        )


def test_a_drop_that_nobody_can_measure_is_refused(
    onnx_file: Make, make_model: Make, make_io: Make, build: Build
) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    proto = make_model(nodes, [make_io("x", [None])], [make_io("y", [None])])
    model = read_signature(onnx_file(proto))
    golden = complete_golden(model, GoldenSet(inputs={"x": np.ones(3, np.float32)}))
    with pytest.raises(ModelError, match="max_accuracy_drop of fp32 cannot be measured"):
        build(model, VariantSpec(precision="fp32", max_accuracy_drop=0.1), golden=golden)


def test_fp16_that_overflows_is_refused(
    onnx_file: Make, make_model: Make, make_io: Make, build: Build
) -> None:
    weights = {"w": np.full((2, 2), 6e4, np.float32)}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    proto = make_model(nodes, [make_io("x", [None, 2])], [make_io("y", [None, 2])], weights=weights)
    model = read_signature(onnx_file(proto))
    golden = complete_golden(model, GoldenSet(inputs={"x": np.full((3, 2), 9, np.float32)}))
    with pytest.raises(ModelError, match=r"'y' reaches 1\.08e\+06, half precision ends at 65504"):
        build(model, FP16, golden=golden)


def test_static_int8_of_an_old_opset_says_what_it_needs(
    onnx_file: Make, make_model: Make, make_io: Make, calibration: Path, build: Build
) -> None:
    weights = {"w": np.ones((16, 4), np.float32)}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["p"])]
    proto = make_model(
        nodes, [make_io("x", [None, 16])], [make_io("p", [None, 4])], weights=weights,
        opsets=[("", 11)],
    )  # fmt: skip
    with pytest.raises(ModelError, match="int8 needs opset 13 or later, the model has 11"):
        build(
            read_signature(onnx_file(proto)),
            VariantSpec(precision="int8", calibration=calibration),
        )


@pytest.mark.parametrize("specs", [(), (FP32, FP32)])
def test_no_variant_and_one_twice_are_refused(
    specs: tuple[VariantSpec, ...], signature: ModelSignature, build: Build
) -> None:
    with pytest.raises(ModelError, match="a precision of its own"):
        build(signature, *specs)


def test_static_without_calibration_is_refused(signature: ModelSignature, build: Build) -> None:
    with pytest.raises(ModelError, match="static int8 needs a calibration set"):
        build(signature, VariantSpec(precision="int8", kind="static"))


def test_calibration_that_does_not_fit_names_the_file(
    signature: ModelSignature, save_npz: Make, build: Build
) -> None:
    bad = save_npz({"x": np.ones((3, 7), np.float32)})
    with pytest.raises(ModelError, match=r"set\.npz': 'x' has the shape"):
        build(signature, VariantSpec(precision="int8", calibration=bad))


@pytest.mark.parametrize("samples", [1, 2, 64])
@pytest.mark.parametrize("agreement", [None, 1.0, 0.5, 0.0])
def test_tolerances_let_the_measured_variant_pass(agreement: float | None, samples: int) -> None:
    parity = Parity(max_abs_error=0.03, max_rel_error=0.1, agreement=agreement, scale=1.0)
    atol, rtol, share = tolerances("int8", parity, samples)
    assert atol >= 0.06
    assert rtol > 0
    assert share >= 0
    assert agreement is None or share <= max(agreement, 1e-4)


@pytest.mark.parametrize(
    ("value", "rounded"),
    [(0.0, 0.0), (1e-7, 0.0), (0.0123, 0.013), (0.012, 0.012), (5.0, 5.0), (123.0, 130.0)],
)
def test_errors_are_rounded_up_to_two_digits(value: float, rounded: float) -> None:
    assert round_error(value) == rounded


@pytest.mark.parametrize(
    ("value", "up", "rounded"),
    [(1.23456, True, 1.235), (1.23456, False, 1.234), (-1.23456, False, -1.235), (0.0, True, 0.0)],
)
def test_calibrated_ranges_are_rounded_outwards(value: float, up: bool, rounded: float) -> None:
    found = round_out(np.array([value], np.float32), up=up)
    assert found.dtype == np.float32
    assert found.item() == pytest.approx(rounded, rel=1e-6)


def test_row_biases_are_flattened_unless_shared(make_model: Make, make_io: Make) -> None:
    weights = {
        "w": np.ones((4, 4), np.float32),
        "b": np.ones((1, 4), np.float32),
        "s": np.ones((1, 4), np.float32),
    }
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"]),
        helper.make_node("Gemm", ["h", "w", "s"], ["i"]),
        helper.make_node("Add", ["i", "s"], ["y"]),
    ]
    proto = make_model(nodes, [make_io("x", [1, 4])], [make_io("y", [1, 4])], weights=weights)
    flatten_biases(proto)
    shapes = {tensor.name: list(tensor.dims) for tensor in proto.graph.initializer}
    assert (shapes["b"], shapes["s"]) == ([4], [1, 4])
    onnx.checker.check_model(proto, full_check=True)
    assert proto.graph.initializer[1].data_type == TensorProto.FLOAT

"""Golden sets: checked against the model, completed by it, cut to size, written the same."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from onnx import TensorProto, helper

from edgectl.errors import ModelError
from edgectl.model.golden import (
    GoldenSet,
    complete_golden,
    limit_golden,
    load_golden,
    random_golden,
    write_golden,
)
from edgectl.model.signature import ModelSignature, read_signature

Make = Callable[..., Any]


@pytest.fixture
def signature(classifier_file: Path) -> ModelSignature:
    return read_signature(classifier_file)


@pytest.mark.parametrize("key", ["input.x", "x"])
def test_inputs_are_found_under_both_names(
    key: str, signature: ModelSignature, save_npz: Make, rows: Make
) -> None:
    golden = load_golden(save_npz({key: rows(5), "labels": np.arange(5) % 4}), signature)
    assert golden.inputs["x"].shape == (5, 16)
    assert golden.outputs == {}
    assert golden.labels is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input.x": None}, "no values for the input 'x'"),
        ({"input.y": np.ones(3)}, "'input.y' is no tensor of the model"),
        ({"output.x": np.ones(3)}, "'output.x' is no tensor of the model"),
        ({"x": np.ones((3, 16), np.float32)}, "gives the tensor 'x' twice"),
        (
            {"input.x": np.ones((3, 16))},
            "'input.x' has the type float64, the model's 'x' is float32",
        ),
        ({"input.x": np.ones((3, 16), np.int64)}, "has the type int64"),
        ({"input.x": np.array([["a"] * 16] * 3)}, "has the type <U1"),
        ({"input.x": np.ones((3, 15), np.float32)}, r"'input.x' has the shape \[3, 15\]"),
        ({"input.x": np.ones((48,), np.float32)}, r"'input.x' has the shape \[48\]"),
        ({"input.x": np.ones((0, 16), np.float32)}, "'input.x' holds no sample"),
        ({"output.p": np.ones((2, 4), np.float32)}, "'output.p' has 2 rows, expected 3"),
        ({"output.p": np.ones((3, 5), np.float32)}, r"'output.p' has the shape \[3, 5\]"),
        ({"labels": np.arange(4)}, "'labels' has .* expected 3 whole numbers"),
        ({"labels": np.ones(3)}, "'labels' has the type float64"),
    ],
)
def test_what_does_not_fit_the_model_names_file_and_key(
    change: dict[str, Any],
    message: str,
    signature: ModelSignature,
    save_npz: Make,
    rows: Make,
) -> None:
    arrays = {"input.x": rows(3), **change}
    path = save_npz({key: value for key, value in arrays.items() if value is not None})
    with pytest.raises(ModelError, match=message) as caught:
        load_golden(path, signature)
    assert str(path) in caught.value.message


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("key", ["input.x", "output.p"])
def test_nan_and_infinity_are_refused_with_their_place(
    key: str, bad: float, signature: ModelSignature, save_npz: Make, rows: Make
) -> None:
    arrays = {"input.x": rows(3), "output.p": np.ones((3, 4), np.float32)}
    arrays[key][2, 1] = bad
    with pytest.raises(ModelError, match=rf"'{key}' holds NaN or infinity at \[2, 1\]"):
        load_golden(save_npz(arrays), signature)


def test_answers_come_from_the_model(signature: ModelSignature, rows: Make) -> None:
    golden = complete_golden(signature, GoldenSet(inputs={"x": rows(300)}))
    assert golden.outputs["p"].shape == (300, 4)
    np.testing.assert_allclose(golden.outputs["p"].sum(axis=1), 1, rtol=1e-5)
    again = complete_golden(signature, GoldenSet(inputs={"x": rows(300)}))
    assert again.outputs["p"].tobytes() == golden.outputs["p"].tobytes()


def test_supplied_answers_are_kept_when_the_model_gives_them(
    signature: ModelSignature, rows: Make
) -> None:
    whole = complete_golden(signature, GoldenSet(inputs={"x": rows(4)}))
    near = {"p": whole.outputs["p"] + np.float32(1e-6)}
    kept = complete_golden(signature, msgspec.structs.replace(whole, outputs=near))
    assert kept.outputs["p"].tobytes() == near["p"].tobytes()


def test_supplied_answers_that_the_model_does_not_give_are_refused(
    signature: ModelSignature, rows: Make
) -> None:
    whole = complete_golden(signature, GoldenSet(inputs={"x": rows(4)}))
    wrong = whole.outputs["p"].copy()
    wrong[3, 0] += 0.25
    with pytest.raises(ModelError, match=r"'p' is not what the model gives.*up to 0\.25"):
        complete_golden(signature, msgspec.structs.replace(whole, outputs={"p": wrong}))


def test_a_model_that_answers_with_nan_is_refused(
    onnx_file: Make, make_model: Make, make_io: Make
) -> None:
    nodes = [helper.make_node("Log", ["x"], ["y"])]
    proto = make_model(nodes, [make_io("x", [None])], [make_io("y", [None])])
    with pytest.raises(ModelError, match="NaN or infinity in 'y'"):
        complete_golden(
            read_signature(onnx_file(proto)),
            GoldenSet(inputs={"x": np.array([-1.0], np.float32)}),
        )


def test_fixed_batches_are_run_one_after_the_other(
    onnx_file: Make, make_classifier: Make, save_npz: Make, rows: Make, signature: ModelSignature
) -> None:
    fixed = read_signature(onnx_file(make_classifier(batch=2), "fixed.onnx"))
    golden = complete_golden(fixed, load_golden(save_npz({"x": rows(6)}), fixed))
    free = complete_golden(signature, GoldenSet(inputs={"x": rows(6)}))
    np.testing.assert_allclose(golden.outputs["p"], free.outputs["p"], rtol=1e-5)
    with pytest.raises(ModelError, match="one number of samples"):
        load_golden(save_npz({"x": rows(5)}), fixed)


def test_a_sequence_is_not_cut_into_samples(
    onnx_file: Make, make_model: Make, make_io: Make
) -> None:
    nodes = [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)]
    proto = make_model(nodes, [make_io("x", ["length"])], [make_io("y", [])])
    signature = read_signature(onnx_file(proto))
    values = np.arange(1000, dtype=np.float32)
    golden = complete_golden(signature, GoldenSet(inputs={"x": values}))
    assert golden.outputs["y"] == values.sum()
    assert limit_golden(golden, signature).inputs["x"].shape == (1000,)


def test_text_goes_in_and_comes_out(
    onnx_file: Make, make_model: Make, make_io: Make, save_npz: Make
) -> None:
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    kind = TensorProto.STRING
    proto = make_model(nodes, [make_io("x", [None], kind)], [make_io("y", [None], kind)])
    signature = read_signature(onnx_file(proto))
    golden = load_golden(save_npz({"x": np.array(["übel", "b"])}), signature)
    assert complete_golden(signature, golden).outputs["y"].tolist() == ["übel", "b"]


def test_limit_takes_samples_evenly_and_keeps_rows_together(
    signature: ModelSignature, rows: Make
) -> None:
    whole = complete_golden(signature, GoldenSet(inputs={"x": rows(100)}, labels=np.arange(100)))
    part = limit_golden(whole, signature, samples=10)
    assert part.labels is not None
    picked = part.labels
    assert len(picked) == 10
    assert (picked[0], picked[-1]) == (0, 99)
    assert part.inputs["x"].tobytes() == whole.inputs["x"][picked].tobytes()
    assert part.outputs["p"].tobytes() == whole.outputs["p"][picked].tobytes()


def test_limit_in_bytes_leaves_at_least_one_sample(signature: ModelSignature, rows: Make) -> None:
    whole = complete_golden(signature, GoldenSet(inputs={"x": rows(100)}))
    assert len(limit_golden(whole, signature, max_bytes=800).inputs["x"]) == 10
    assert len(limit_golden(whole, signature, max_bytes=1).inputs["x"]) == 1
    assert limit_golden(whole, signature, samples=100) is whole


def test_written_sets_have_one_known_form(tmp_path: Path) -> None:
    golden = GoldenSet(
        inputs={"x": np.arange(4, dtype=np.float32).reshape(2, 2)},
        outputs={"p": np.array([[0.5], [1.5]], np.float32)},
        labels=np.array([1, 0]),
    )
    write_golden(golden, tmp_path / "new" / "golden.npz")
    data = (tmp_path / "new" / "golden.npz").read_bytes()
    # The digest is the promise: packages built anywhere contain exactly these bytes.
    assert hashlib.sha256(data).hexdigest() == (
        "c4983901fb77a5d964f046f41c452f513f3379317361e726de53a7704f571bc3"
    )
    with np.load(tmp_path / "new" / "golden.npz") as archive:
        assert sorted(archive) == ["input.x", "labels", "output.p"]


def test_random_sets_are_the_same_each_time(signature: ModelSignature) -> None:
    first, second = random_golden(signature), random_golden(signature)
    assert first.inputs["x"].shape == (8, 16)
    assert first.inputs["x"].tobytes() == second.inputs["x"].tobytes()
    complete_golden(signature, first)

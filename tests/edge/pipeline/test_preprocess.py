"""Preprocess steps and the fitting to the model's input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge_components.contract.package import TensorSpec
from edge_components.contract.pipeline import (
    Cast,
    Grayscale,
    Normalize,
    Reshape,
    Resize,
    Scale,
    Transpose,
)
from edge_components.pipeline.errors import PipelineError
from edge_components.pipeline.preprocess import fit_to_input, preprocess

COLOUR = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


def spec(*shape: int, datatype: str = "FP32") -> TensorSpec:
    return TensorSpec(name="x", datatype=datatype, shape=shape)


@pytest.mark.parametrize("method", ["nearest", "bilinear", "bicubic", "box"])
@pytest.mark.parametrize("array", [COLOUR, COLOUR[..., 0], COLOUR.astype(np.float32)])
def test_resize_gives_height_and_width_and_keeps_channels(array: Any, method: Any) -> None:
    found = preprocess(array, [Resize(size=(8, 2), method=method)])
    assert found.shape == (8, 2, *array.shape[2:])
    assert found.dtype == array.dtype


def test_resize_with_box_averages() -> None:
    found = preprocess(
        np.array([[0, 100], [100, 200]], np.uint8), [Resize(size=(1, 1), method="box")]
    )
    assert found.tolist() == [[100]]


def test_grayscale_is_601_luma_and_leaves_grey_alone() -> None:
    pixel = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    assert preprocess(pixel, [Grayscale()]).tolist() == [[76, 150, 29]]
    assert preprocess(pixel[..., 0], [Grayscale()]).shape == (1, 3)


def test_scale_multiplies_adds_and_becomes_float32() -> None:
    found = preprocess(np.array([0, 255], np.uint8), [Scale(factor=2.0, offset=-1.0)])
    assert found.dtype == np.float32
    assert found.tolist() == [-1.0, 509.0]


def test_normalize_works_per_channel() -> None:
    found = preprocess(
        np.ones((1, 1, 3), np.float32),
        [Normalize(mean=(1.0, 0.0, -1.0), std=(1.0, 2.0, 4.0))],
    )
    assert found.tolist() == [[[0.0, 0.5, 0.5]]]


def test_steps_follow_each_other() -> None:
    found = preprocess(
        COLOUR, [Transpose(axes=(2, 0, 1)), Reshape(shape=(1, -1)), Cast(datatype="INT64")]
    )
    assert found.shape == (1, 72)
    assert found.dtype == np.int64


@pytest.mark.parametrize(
    "step",
    [
        Transpose(axes=(0, 1)),
        Reshape(shape=(5, 5)),
        Reshape(shape=(-1, -1)),
        Normalize(mean=(0.0, 0.0), std=(1.0, 1.0)),
        Normalize(mean=(0.0,), std=(0.0,)),
        Cast(datatype="BYTES"),
        Cast(datatype="FP7"),
        Resize(size=(0, 4)),
        Resize(size=(1 << 20, 1 << 20)),
    ],
)
def test_a_step_that_does_not_fit_is_a_pipeline_error(step: Any) -> None:
    with pytest.raises(PipelineError):
        preprocess(COLOUR, [step])


def test_steps_are_pure() -> None:
    before = COLOUR.copy()
    preprocess(COLOUR, [Grayscale(), Scale(factor=0.5), Reshape(shape=(-1,))])
    np.testing.assert_array_equal(COLOUR, before)


def test_a_reading_gets_the_batch_axis_and_the_datatype_that_it_lacks() -> None:
    found = fit_to_input(np.zeros((4, 4), np.uint8), spec(-1, 4, 4))
    assert found.shape == (1, 4, 4)
    assert found.dtype == np.float32


@pytest.mark.parametrize(
    ("array", "wanted"),
    [
        (np.zeros(3, np.float32), spec(-1, 4)),
        (np.zeros((2, 2, 2), np.float32), spec(-1, 4)),
        (np.zeros((1, 4), np.float32), spec(-1, 4, datatype="INT64")),
        (np.zeros((1, 4), np.float32), spec(-1, 4, datatype="BYTES")),
        (np.zeros((1, 4), object), spec(-1, 4)),
    ],
)
def test_what_does_not_fit_the_input_is_refused(array: Any, wanted: TensorSpec) -> None:
    with pytest.raises(PipelineError, match="input 'x'"):
        fit_to_input(array, wanted)

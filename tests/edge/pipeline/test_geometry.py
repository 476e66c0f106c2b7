"""Where pixels lie after crop, resize and letterbox, and the way back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_components.contract.pipeline import Crop, Letterbox, Resize
from edge_components.pipeline.errors import PipelineError
from edge_components.pipeline.geometry import Geometry, letterbox_fit
from edge_components.pipeline.images import follow, letterbox
from edge_components.pipeline.preprocess import preprocess

side = st.integers(8, 400)
sizes = st.tuples(side, side)


@st.composite
def chains(draw: st.DrawFn) -> tuple[tuple[int, int], list[Any]]:
    """A picture's size, and steps that fit it."""
    first = (height, width) = draw(sizes)
    steps: list[Any] = []
    for _ in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from([Resize, Letterbox, Crop]))
        if kind is Crop:
            size = (draw(st.integers(1, height)), draw(st.integers(1, width)))
            at = None
            if draw(st.booleans()):
                at = (
                    draw(st.integers(0, height - size[0])),
                    draw(st.integers(0, width - size[1])),
                )
            steps.append(Crop(size=size, at=at))
        else:
            size = draw(sizes)
            steps.append(kind(size=size))
        height, width = size
    return first, steps


@given(chains(), st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_every_chain_of_steps_can_be_undone(
    chain: tuple[tuple[int, int], list[Any]], corners: list[float]
) -> None:
    (height, width), steps = chain
    geometry: Geometry | None = Geometry.of(height, width)
    for step in steps:
        geometry = follow(geometry, step)
    assert geometry is not None
    box = np.array([corners]) * np.array([[width, height, width, height]])
    assert geometry.back(geometry.forward(box)) == pytest.approx(box, abs=1e-6 * max(height, width))


@given(sizes, sizes)
def test_a_letterbox_keeps_the_ratio_and_stays_inside(
    picture: tuple[int, int], box: tuple[int, int]
) -> None:
    fit = letterbox_fit(*picture, box)
    assert fit.top >= 0
    assert fit.top + fit.height <= box[0]
    assert fit.left >= 0
    assert fit.left + fit.width <= box[1]
    assert fit.height == box[0] or fit.width == box[1]
    ratio = min(box[0] / picture[0], box[1] / picture[1])
    assert abs(fit.height - picture[0] * ratio) < 1
    assert abs(fit.width - picture[1] * ratio) < 1
    assert abs((box[0] - fit.height) - 2 * fit.top) <= 1


@pytest.mark.parametrize("shape", [(30, 60), (60, 30), (31, 47, 3)])
def test_the_picture_stands_where_the_fit_says_and_the_rest_is_fill(shape: Any) -> None:
    picture = np.full(shape, 200, np.uint8)
    step = Letterbox(size=(64, 64), pad=7)
    found = letterbox(picture, step)
    fit = letterbox_fit(shape[0], shape[1], (64, 64))
    inner = found[fit.top : fit.top + fit.height, fit.left : fit.left + fit.width]
    assert (inner == 200).all()
    assert found.sum() == inner.sum() + 7 * (found.size - inner.size)


def test_a_bright_pixel_is_found_again_where_it_was() -> None:
    picture = np.zeros((100, 200), np.uint8)
    picture[40:44, 120:124] = 255
    steps = (Crop(size=(80, 160)), Letterbox(size=(320, 320), pad=0))
    geometry: Geometry | None = Geometry.of(100, 200)
    for step in steps:
        geometry = follow(geometry, step)
    assert geometry is not None
    bright = np.argwhere(preprocess(picture, steps) > 128)
    (top, left), (bottom, right) = bright.min(axis=0), bright.max(axis=0) + 1
    (box,) = geometry.back(np.array([[left, top, right, bottom]], dtype=float))
    assert box == pytest.approx([120, 40, 124, 44], abs=1)


def test_a_crop_takes_the_middle_or_what_it_is_told() -> None:
    picture = np.arange(36, dtype=np.uint8).reshape(6, 6)
    assert preprocess(picture, [Crop(size=(2, 2))]).tolist() == [[14, 15], [20, 21]]
    assert preprocess(picture, [Crop(size=(1, 2), at=(5, 4))]).tolist() == [[34, 35]]


@pytest.mark.parametrize("step", [Crop(size=(7, 2)), Crop(size=(2, 2), at=(5, 0))])
def test_a_crop_outside_the_picture_is_refused(step: Crop) -> None:
    with pytest.raises(PipelineError, match="not inside an image of"):
        preprocess(np.zeros((6, 6), np.uint8), [step])


def test_boxes_are_cut_at_the_edges_of_the_first_picture() -> None:
    geometry = Geometry.of(10, 20).resized(20, 40)
    assert geometry.back(np.array([[-5.0, -5.0, 100.0, 100.0]])).tolist() == [[0, 0, 20, 10]]

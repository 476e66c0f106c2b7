"""Detectors: every form of output to boxes in the first picture, and non-maximum suppression."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_components.contract.pipeline import DecodeBoxes, Letterbox, Nms, Threshold
from edge_components.pipeline.boxes import Boxes, suppress
from edge_components.pipeline.errors import PipelineError
from edge_components.pipeline.geometry import Geometry
from edge_components.pipeline.images import follow
from edge_components.pipeline.postprocess import Work, apply

LABELS = {"names.txt": ("person", "car")}
# Two boxes in a picture of 640 x 640: middle and size, then two classes.
YOLO = np.array(
    [[320, 320, 100, 50, 0.1, 0.9], [100, 320, 40, 40, 0.8, 0.2], [5, 5, 1, 1, 0.1, 0.1]],
    dtype=np.float32,
)


def found(step: DecodeBoxes, geometry: Geometry | None = None, **outputs: Any) -> Any:
    work = Work(outputs, geometry)
    apply(work, step, LABELS)
    return work.settle()["boxes"]


def letterboxed() -> Geometry:
    geometry = follow(Geometry.of(180, 320), Letterbox(size=(640, 640)))
    assert geometry is not None
    return geometry


EXPECTED = [("car", 0.9, [135.0, 77.5, 185.0, 102.5]), ("person", 0.8, [40.0, 80.0, 60.0, 100.0])]


def summary(boxes: Any) -> Any:
    return [(b["label"], pytest.approx(b["score"], abs=1e-6), b["box"]) for b in boxes]


@pytest.mark.parametrize("shape", ["rows", "batch", "transposed"])
def test_rows_of_box_and_scores_in_every_orientation(shape: str) -> None:
    tensor = {"rows": YOLO, "batch": YOLO[None], "transposed": YOLO.T[None]}[shape]
    step = DecodeBoxes(labels="names.txt", transposed=shape == "transposed")
    assert summary(found(step, letterboxed(), out=tensor)) == EXPECTED


def test_objectness_is_multiplied_with_the_classes() -> None:
    tensor = np.array([[320, 320, 100, 50, 0.5, 0.2, 0.8]], dtype=np.float32)
    (box,) = found(DecodeBoxes(objectness=True), letterboxed(), out=tensor)
    assert (box["index"], box["score"]) == (1, pytest.approx(0.4))


@pytest.mark.parametrize("with_classes", [False, True])
def test_corners_with_scores_in_outputs_of_their_own(with_classes: bool) -> None:
    corners = np.array([[[270, 295, 370, 345], [80, 300, 120, 340]]], dtype=np.float32)
    outputs: dict[str, Any] = {"boxes": corners}
    step = DecodeBoxes(layout="xyxy", boxes="boxes", scores="scores", labels="names.txt")
    if with_classes:
        outputs |= {"scores": np.array([0.9, 0.8]), "classes": np.array([[1, 0]])}
        step = DecodeBoxes(
            layout="xyxy", boxes="boxes", scores="scores", classes="classes", labels="names.txt"
        )
    else:
        outputs["scores"] = np.array([[[0.1, 0.9], [0.8, 0.2]]])
    assert summary(found(step, letterboxed(), **outputs)) == EXPECTED


def test_normalized_coordinates_are_of_the_models_picture() -> None:
    tensor = YOLO.copy()
    tensor[:, :4] /= 640
    step = DecodeBoxes(normalized=True, labels="names.txt")
    boxes = found(step, letterboxed(), out=tensor)
    assert [box["box"] for box in boxes] == [box for _, _, box in EXPECTED]


def test_a_box_of_nan_is_left_out() -> None:
    tensor = YOLO.copy()
    tensor[0, 0] = np.nan
    assert [box["index"] for box in found(DecodeBoxes(), out=tensor)] == [0]


@pytest.mark.parametrize(
    ("step", "outputs"),
    [
        (DecodeBoxes(), {"out": np.zeros((2, 3), np.float32)}),
        (DecodeBoxes(), {"out": np.zeros((2, 4), np.float32)}),
        (DecodeBoxes(), {"out": np.zeros((2, 2, 6), np.float32)}),
        (DecodeBoxes(boxes="none"), {"out": YOLO}),
        (DecodeBoxes(scores="s"), {"out": YOLO, "s": np.zeros((2, 2))}),
        (DecodeBoxes(normalized=True), {"out": YOLO}),
        (Nms(), {"out": YOLO}),
    ],
)
def test_what_does_not_fit_is_a_pipeline_error(step: Any, outputs: Any) -> None:
    with pytest.raises(PipelineError):
        apply(Work(outputs), step, LABELS)


def test_a_threshold_drops_a_picture_without_a_good_box() -> None:
    for least, dropped in ((0.85, False), (0.95, True)):
        work = Work({"out": YOLO})
        for step in (DecodeBoxes(), Nms(), Threshold(min_score=least)):
            apply(work, step, LABELS)
        assert work.dropped is dropped


def naive(boxes: Boxes, step: Nms) -> list[int]:
    """The textbook's form, box by box."""
    kept: list[int] = []
    for index in sorted(range(len(boxes.scores)), key=lambda i: (-boxes.scores[i], i)):
        x1, y1, x2, y2 = boxes.corners[index]
        for other in kept:
            a1, b1, a2, b2 = boxes.corners[other]
            inner = max(0.0, min(x2, a2) - max(x1, a1)) * max(0.0, min(y2, b2) - max(y1, b1))
            areas = max(0.0, x2 - x1) * max(0.0, y2 - y1) + max(0.0, a2 - a1) * max(0.0, b2 - b1)
            union = areas - inner
            same = not step.per_class or boxes.classes[other] == boxes.classes[index]
            if same and union > 0 and inner / union > step.iou:
                break
        else:
            if len(kept) < step.max_boxes:
                kept.append(index)
    return kept


place = st.integers(0, 6)
length = st.integers(0, 8)  # large for the place, so that boxes do overlap; also none at all


@given(
    st.lists(
        st.tuples(place, place, length, length, st.integers(0, 9), st.integers(0, 1)), max_size=12
    ),
    st.sampled_from([0.0, 0.2, 0.5, 1.0]),
    st.booleans(),
    st.integers(1, 8),
)
def test_suppression_is_the_textbooks(
    rows: list[tuple[int, ...]], iou: float, per_class: bool, most: int
) -> None:
    table = np.array(rows, dtype=float).reshape(-1, 6)
    table[:, 2:4] += table[:, :2]
    boxes = Boxes(table[:, :4], table[:, 4] / 10, table[:, 5].astype(np.intp), ())
    step = Nms(iou=iou, per_class=per_class, max_boxes=most)
    kept = suppress(boxes, step)
    assert kept.corners.tolist() == boxes.corners[naive(boxes, step)].tolist()
    assert kept.scores.tolist() == boxes.scores[naive(boxes, step)].tolist()

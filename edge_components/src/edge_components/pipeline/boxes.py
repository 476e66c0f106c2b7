"""A detector's outputs to boxes, and the greedy suppression of those that overlap, pure.

Boxes are corners (x1, y1, x2, y2) in float64; the geometry of the picture maps them back to the
pixels of the picture that came in. Ties are broken by order, so equal inputs give equal boxes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edge_components.contract.pipeline import DecodeBoxes, Nms
from edge_components.golden import Array
from edge_components.pipeline.errors import PipelineError
from edge_components.pipeline.geometry import Floats, Geometry

Ints = npt.NDArray[np.intp]


class Boxes(NamedTuple):
    """Boxes, best first: corners ``[N, 4]``, scores ``[N]``, classes ``[N]``."""

    corners: Floats
    scores: Floats
    classes: Ints
    labels: Sequence[str]

    def pick(self, chosen: Ints) -> Boxes:
        """Return some of them, in the order that is given."""
        return self._replace(
            corners=self.corners[chosen], scores=self.scores[chosen], classes=self.classes[chosen]
        )

    def best_score(self) -> float:
        """Return the best score, 0 where there is no box."""
        return float(self.scores.max(initial=0.0))

    def entries(self) -> list[dict[str, Any]]:
        """Return them as an answer has them; coordinates to a hundredth of a pixel."""
        known = self.labels
        return [
            {
                "label": known[index] if index < len(known) else str(index),
                "index": index,
                "score": score,
                "box": [round(value, 2) for value in corners],
            }
            for index, score, corners in zip(
                self.classes.tolist(), self.scores.tolist(), self.corners.tolist(), strict=True
            )
        ]


def decode(
    tensors: Mapping[str, Array],
    step: DecodeBoxes,
    geometry: Geometry | None,
    labels: Sequence[str],
) -> Boxes:
    """Return the boxes of one picture above the score, best first, in the first picture's pixels.

    Raises:
        PipelineError: The outputs do not have the form that the step says.
    """
    corners, scores, classes = _split(tensors, step)
    good = np.flatnonzero(scores >= step.min_score)
    order = good[np.argsort(-scores[good], kind="stable")][: step.max_candidates]
    chosen = corners[order]
    if step.layout == "cxcywh":
        half = chosen[:, 2:] / 2
        chosen = np.concatenate([chosen[:, :2] - half, chosen[:, :2] + half], axis=1)
    if geometry is None and step.normalized:
        raise PipelineError("decode_boxes: 'normalized' needs a reading that is a picture")
    if geometry is not None:
        if step.normalized:
            chosen = chosen * np.array([geometry.width, geometry.height] * 2, dtype=np.float64)
        chosen = geometry.back(chosen)
    return Boxes(chosen, scores[order], classes[order], labels)


def suppress(boxes: Boxes, step: Nms) -> Boxes:
    """Keep the best of boxes that overlap more than the step allows."""
    corners = boxes.corners
    order = np.argsort(-boxes.scores, kind="stable")
    areas = _area(corners)
    kept: list[int] = []
    while order.size and len(kept) < step.max_boxes:
        best, rest = int(order[0]), order[1:]
        kept.append(best)
        overlap = _intersections(corners[best], corners[rest])
        union = areas[best] + areas[rest] - overlap
        iou = np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)
        competes = iou > step.iou
        if step.per_class:
            competes &= boxes.classes[rest] == boxes.classes[best]
        order = rest[~competes]
    return boxes.pick(np.array(kept, dtype=np.intp))


def _split(tensors: Mapping[str, Array], step: DecodeBoxes) -> tuple[Floats, Floats, Ints]:
    """Return corners as written ``[N, 4]``, the best score and the class of each."""
    rows = _rows(tensors, step.boxes, step.transposed)
    if rows.shape[1] < 4:
        raise PipelineError(f"boxes have {rows.shape[1]} numbers each, at least 4 are needed")
    if step.scores is not None:
        scores = _rows(tensors, step.scores, step.transposed, of=len(rows))
        if len(scores) != len(rows):
            raise PipelineError(f"there are {len(rows)} boxes and {len(scores)} scores")
    else:
        scores = rows[:, 4:]
    if step.objectness:
        scores = scores[:, :1] * scores[:, 1:] if scores.shape[1] > 1 else scores
    if scores.shape[1] == 0:
        raise PipelineError("the boxes have no scores; 'scores' names their output")
    if step.classes is not None:
        classes = _rows(tensors, step.classes, step.transposed, of=len(rows))[:, 0].astype(np.intp)
        if len(classes) != len(rows):
            raise PipelineError(f"there are {len(rows)} boxes and {len(classes)} classes")
        best = scores.max(axis=1)
    else:
        classes = scores.argmax(axis=1)
        best = scores[np.arange(len(scores)), classes]
    finite = np.isfinite(rows[:, :4]).all(axis=1) & np.isfinite(best)
    return rows[:, :4], np.where(finite, best, -np.inf), np.maximum(classes, 0)


def _rows(
    tensors: Mapping[str, Array], name: str | None, transposed: bool, *, of: int | None = None
) -> Floats:
    """Return an output of one picture as ``[N, k]``; a vector is a column where ``of`` is given."""
    if name is None:
        name = next((n for n, array in tensors.items() if array.dtype.kind == "f"), None)
    if name is None or name not in tensors:
        raise PipelineError(f"there is no output '{name}' with boxes, only {', '.join(tensors)}")
    array = tensors[name]
    if array.dtype.kind not in "iuf":
        raise PipelineError(f"output '{name}' is {array.dtype}, boxes are numbers")
    shape = array.shape
    while array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    if of is not None and array.ndim <= 2 and array.size == of:
        return array.reshape(of, 1).astype(np.float64)
    if array.ndim != 2:
        raise PipelineError(f"output '{name}' has shape {list(shape)}, boxes are [N, numbers]")
    return (array.T if transposed else array).astype(np.float64)


def _area(corners: Floats) -> Floats:
    sides = np.maximum(corners[:, 2:] - corners[:, :2], 0.0)
    found: Floats = sides[:, 0] * sides[:, 1]
    return found


def _intersections(box: Floats, others: Floats) -> Floats:
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[2:], others[:, 2:])
    sides = np.maximum(high - low, 0.0)
    found: Floats = sides[:, 0] * sides[:, 1]
    return found

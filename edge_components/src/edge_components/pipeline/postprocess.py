"""Postprocess steps: the model's outputs to an answer, pure.

Softmax and sigmoid change an output; argmax, top-k, value and boxes write into the answer;
threshold drops it. A pipeline without steps answers with the outputs themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_components.contract.pipeline import (
    Argmax,
    DecodeBoxes,
    Nms,
    PostprocessStep,
    Sigmoid,
    Softmax,
    Threshold,
    TopK,
    Value,
)
from edge_components.golden import Array
from edge_components.pipeline.errors import PipelineError
from edge_components.pipeline.geometry import Geometry

if TYPE_CHECKING:
    from edge_components.pipeline.boxes import Boxes

Labels = Mapping[str, Sequence[str]]
Answer = dict[str, Any]


class Work:
    """The outputs on their way to an answer.

    Attributes:
        tensors: The outputs by name, as the last step left them.
        answer: What is known so far.
        geometry: Of the picture that the model saw, or None.
        boxes: What a detector found, until the answer is written.
        dropped: Whether a threshold dropped the answer.
    """

    __slots__ = ("answer", "boxes", "dropped", "geometry", "tensors")

    def __init__(self, tensors: Mapping[str, Array], geometry: Geometry | None = None) -> None:
        self.tensors = dict(tensors)
        self.answer: Answer = {}
        self.geometry = geometry
        self.boxes: Boxes | None = None
        self.dropped = False

    def settle(self) -> Answer:
        """Write what is still in arrays into the answer, and return it."""
        if self.boxes is not None:
            self.answer["boxes"] = self.boxes.entries()
            self.boxes = None
        if not self.answer:
            self.answer = {"outputs": {name: a.tolist() for name, a in self.tensors.items()}}
        return self.answer

    def score(self) -> float | None:
        """Return the best score, or None where no step gave one."""
        if self.boxes is not None:
            return self.boxes.best_score()
        if "score" in self.answer:
            return float(self.answer["score"])
        for name in ("classes", "boxes"):
            if name in self.answer:
                found = self.answer[name]
                return max((float(one["score"]) for one in found), default=0.0)
        return None


def postprocess(
    outputs: Mapping[str, Array], steps: Sequence[PostprocessStep], labels: Labels
) -> Answer | None:
    """Turn outputs into an answer; None where a threshold drops it.

    Args:
        outputs: The model's outputs by name, in its order.
        steps: What to do.
        labels: Label files by the name that the steps use.

    Raises:
        PipelineError: A step does not fit the outputs.
    """
    work = Work(outputs)
    for step in steps:
        apply(work, step, labels)
    answer = work.settle()
    return None if work.dropped else answer


def apply(work: Work, step: PostprocessStep, labels: Labels) -> None:
    """Apply one step.

    Raises:
        PipelineError: It does not fit the outputs.
    """
    tensors = work.tensors
    match step:
        case Softmax() | Sigmoid():
            name = output_name(tensors, step.output)
            change = softmax if isinstance(step, Softmax) else sigmoid
            tensors[name] = change(tensors[name])
        case Argmax():
            scores = _scores(tensors, step.output)
            found = named_labels(step.labels, labels)
            work.answer.update(_entry(int(np.argmax(scores)), scores, found))
        case TopK():
            work.answer["classes"] = _best(work, step, labels)
        case Value():
            work.answer["value"] = _value(tensors, step)
        case DecodeBoxes() | Nms():
            _boxes(work, step, labels)
        case Threshold():
            score = work.score()
            if score is None:
                raise PipelineError("threshold needs a step before it that gives a score")
            work.dropped |= score < step.min_score
        case _:
            raise PipelineError(f"'{type(step).__name__.lower()}' is no step for outputs")


def softmax(array: Array) -> Array:
    """Softmax over the last axis, safe against overflow."""
    if not array.ndim or array.dtype.kind != "f":
        raise PipelineError(f"softmax needs floats with an axis, not {array.dtype}")
    shifted = np.exp(array - array.max(axis=-1, keepdims=True))
    result: Array = shifted / shifted.sum(axis=-1, keepdims=True)
    return result


def sigmoid(array: Array) -> Array:
    """The logistic function, safe against overflow."""
    if array.dtype.kind != "f":
        raise PipelineError(f"sigmoid needs floats, not {array.dtype}")
    values = array.astype(np.float64)
    small = np.exp(-np.abs(values))
    return np.where(values >= 0, 1 / (1 + small), small / (1 + small)).astype(array.dtype)


def output_name(tensors: Mapping[str, Array], wanted: str | None) -> str:
    """Return the output that a step means: the one it names, or the first of floats.

    Raises:
        PipelineError: There is none.
    """
    if wanted is not None:
        if wanted not in tensors:
            raise PipelineError(f"there is no output '{wanted}', only {', '.join(tensors)}")
        return wanted
    found = next((name for name, array in tensors.items() if array.dtype.kind == "f"), None)
    if found is None:
        raise PipelineError("the model has no float output, the step has to name one")
    return found


def named_labels(name: str | None, labels: Labels) -> Sequence[str]:
    """Return the labels of a file, or none."""
    return () if name is None else labels.get(name, ())


def _boxes(work: Work, step: DecodeBoxes | Nms, labels: Labels) -> None:
    # Only a detector pays for it.
    from edge_components.pipeline import boxes  # noqa: PLC0415  # see above

    if isinstance(step, DecodeBoxes):
        found = named_labels(step.labels, labels)
        work.boxes = boxes.decode(work.tensors, step, work.geometry, found)
    elif work.boxes is None:
        raise PipelineError("nms needs a decode_boxes step before it")
    else:
        work.boxes = boxes.suppress(work.boxes, step)


def _best(work: Work, step: TopK, labels: Labels) -> list[Answer]:
    scores = _scores(work.tensors, step.output)
    order = np.argsort(np.negative(scores.astype(np.float64)), kind="stable")
    known = named_labels(step.labels, labels)
    return [_entry(int(index), scores, known) for index in order[: max(1, step.k)]]


def _value(tensors: Mapping[str, Array], step: Value) -> float:
    name = output_name(tensors, step.output)
    flat = tensors[name].reshape(-1)
    if flat.dtype.kind not in "biuf" or step.index >= flat.size:
        raise PipelineError(f"output '{name}' has no number {step.index}")
    return float(flat[step.index])


def _scores(tensors: Mapping[str, Array], wanted: str | None) -> Array:
    name = output_name(tensors, wanted)
    array = tensors[name]
    if array.size < 1 or not array.ndim or array.shape[-1] != array.size:
        raise PipelineError(f"output '{name}' has shape {list(array.shape)}, one row is needed")
    return array.reshape(-1)


def _entry(index: int, scores: Array, labels: Sequence[str]) -> Answer:
    label = labels[index] if index < len(labels) else str(index)
    return {"label": label, "index": index, "score": float(scores[index])}

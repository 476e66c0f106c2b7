"""Postprocess steps: the model's outputs to an answer, pure.

Softmax changes an output; argmax and top-k write into the answer; threshold drops it. A pipeline
without steps answers with the outputs themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edge_components.contract.pipeline import Argmax, PostprocessStep, Softmax, Threshold, TopK
from edge_components.golden import Array
from edge_components.pipeline.errors import PipelineError

Labels = Mapping[str, Sequence[str]]
Answer = dict[str, Any]


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
    tensors = dict(outputs)
    answer: Answer = {}
    for step in steps:
        match step:
            case Softmax():
                name = _output_name(tensors, step.output)
                tensors[name] = softmax(tensors[name])
            case Argmax():
                name, scores = _scores(tensors, step.output)
                answer.update(_entry(int(np.argmax(scores)), scores, _labels(step.labels, labels)))
            case TopK():
                name, scores = _scores(tensors, step.output)
                best = np.argsort(np.negative(scores.astype(np.float64)), kind="stable")[
                    : max(1, step.k)
                ]
                known = _labels(step.labels, labels)
                answer["classes"] = [_entry(int(index), scores, known) for index in best]
            case Threshold():
                if _score(answer) < step.min_score:
                    return None
    return answer or {"outputs": {name: _plain(array) for name, array in tensors.items()}}


def softmax(array: Array) -> Array:
    """Softmax over the last axis, safe against overflow."""
    if not array.ndim or array.dtype.kind != "f":
        raise PipelineError(f"softmax needs floats with an axis, not {array.dtype}")
    shifted = np.exp(array - array.max(axis=-1, keepdims=True))
    result: Array = shifted / shifted.sum(axis=-1, keepdims=True)
    return result


def _output_name(tensors: Mapping[str, Array], wanted: str | None) -> str:
    if wanted is not None:
        if wanted not in tensors:
            raise PipelineError(f"there is no output '{wanted}', only {', '.join(tensors)}")
        return wanted
    found = next((name for name, array in tensors.items() if array.dtype.kind == "f"), None)
    if found is None:
        raise PipelineError("the model has no float output, the step has to name one")
    return found


def _scores(tensors: Mapping[str, Array], wanted: str | None) -> tuple[str, Array]:
    name = _output_name(tensors, wanted)
    array = tensors[name]
    if array.size < 1 or not array.ndim or array.shape[-1] != array.size:
        raise PipelineError(f"output '{name}' has shape {list(array.shape)}, one row is needed")
    return name, array.reshape(-1)


def _entry(index: int, scores: Array, labels: Sequence[str]) -> Answer:
    label = labels[index] if index < len(labels) else str(index)
    return {"label": label, "index": index, "score": float(scores[index])}


def _labels(name: str | None, labels: Labels) -> Sequence[str]:
    return () if name is None else labels.get(name, ())


def _score(answer: Answer) -> float:
    if "score" in answer:
        return float(answer["score"])
    if answer.get("classes"):
        return float(answer["classes"][0]["score"])
    raise PipelineError("threshold needs an argmax or top_k step before it")


def _plain(array: Array) -> Any:
    return array.tolist()

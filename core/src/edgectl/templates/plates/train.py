"""Train a digit reader on scikit-learn's handwritten digits and export it to ONNX.

Beside the model and its metrics it leaves three archives: golden samples that every device is
checked with, calibration samples for int8, and held-out samples with labels to judge the variants
on. It runs as ``python train.py`` too; edgectl says in ``EDGECTL_*`` variables where things are.
The same seed gives the same bytes on the same machine.
"""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from skl2onnx.helpers.onnx_helper import select_model_inputs_outputs
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

SEED = int(os.environ.get("PLATES_SEED", "7"))
EPOCHS = 40
OPSET = 17
INPUT, OUTPUT = "image", "probabilities"
GOLDEN_SAMPLES, CALIBRATION_SAMPLES = 32, 200

Array = np.ndarray[Any, np.dtype[Any]]


def main() -> None:
    model_path = Path(os.environ.get("EDGECTL_OUTPUT_MODEL", "out/model.onnx"))
    metrics_path = Path(
        os.environ.get("EDGECTL_OUTPUT_METRICS", str(model_path.with_name("metrics.json")))
    )
    pixels, labels = read_images(os.environ.get("EDGECTL_INPUT_DATA"))
    train_x, held_x, train_y, held_y = train_test_split(
        pixels, labels, test_size=0.25, random_state=SEED, stratify=labels
    )
    classifier = fit(train_x, train_y)
    accuracy = float(classifier.score(held_x, held_y))
    print(f"trained on {len(train_x)} images, {accuracy:.4f} of {len(held_x)} held-out are right")

    model_path.parent.mkdir(parents=True, exist_ok=True)
    model_path.write_bytes(export(classifier).SerializeToString())
    metrics = {"accuracy": accuracy, "held_out_samples": len(held_x)}
    metrics_path.parent.mkdir(parents=True, exist_ok=True)
    metrics_path.write_text(json.dumps(metrics, indent=2, sort_keys=True) + "\n")
    write_sets(model_path.parent, classifier, train_x, held_x, held_y)


def read_images(archive: str | None) -> tuple[Array, Array]:
    """Return pixels in 0..1, one row of 64 an image, and the digit that each one shows.

    Args:
        archive: Your own images: a file with ``images`` (n, 8, 8) in 0..255 and ``labels`` (n,);
            None for the 1,797 that come with scikit-learn, which are in 0..16.
    """
    if archive is None:
        images, labels = load_digits(return_X_y=True)
        return (images / 16.0).astype(np.float32), labels.astype(np.int64)
    with np.load(archive, allow_pickle=False) as data:
        images, labels = data["images"], data["labels"]
    return (images.reshape(len(images), 64) / 255.0).astype(np.float32), labels.astype(np.int64)


def fit(pixels: Array, labels: Array) -> MLPClassifier:
    classifier = MLPClassifier(
        hidden_layer_sizes=(128,),
        alpha=1e-3,
        learning_rate_init=5e-3,
        max_iter=EPOCHS,
        random_state=SEED,
    )
    # One thread: as fast for a model of this size, and sums keep their order.
    with threadpool_limits(limits=1), warnings.catch_warnings():
        # The number of epochs is ours to choose; that the loss still falls is no news.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return classifier.fit(pixels, labels)


def export(classifier: MLPClassifier) -> ModelProto:
    """Return the model with one input ``image`` [-1, 64] and one output ``probabilities``."""
    classes = len(classifier.classes_)
    full = to_onnx(
        classifier,
        initial_types=[(INPUT, FloatTensorType([None, 64]))],
        options={"zipmap": False},
        target_opset={"": OPSET, "ai.onnx.ml": 1},
    )
    model: ModelProto = select_model_inputs_outputs(full, OUTPUT)
    shaped = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None, classes])
    model.graph.output[0].CopyFrom(shaped)
    model.graph.name = "plates"
    used = {name for node in model.graph.node for name in node.input}
    weights = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(weights)
    kept = [entry for entry in model.opset_import if not entry.domain]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    return model


def write_sets(
    folder: Path, classifier: MLPClassifier, train_x: Array, held_x: Array, held_y: Array
) -> None:
    golden_x = held_x[:GOLDEN_SAMPLES]
    sets: dict[str, dict[str, Any]] = {
        "golden.npz": {
            f"input.{INPUT}": golden_x,
            # scikit-learn's own answers: the exported model has to give the same.
            f"output.{OUTPUT}": classifier.predict_proba(golden_x).astype(np.float32),
            "labels": held_y[:GOLDEN_SAMPLES],
        },
        "calibration.npz": {f"input.{INPUT}": train_x[:CALIBRATION_SAMPLES]},
        "evaluation.npz": {f"input.{INPUT}": held_x, "labels": held_y},
    }
    for name, arrays in sets.items():
        np.savez(folder / name, **arrays)


if __name__ == "__main__":
    main()

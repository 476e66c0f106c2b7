"""Real ONNX models, made by hand: small enough to read, wrong where a test wants it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper, save_model

Build = Callable[..., Path]


def io(name: str, shape: list[Any] | None, kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def model(nodes: list[Any], inputs: list[Any], outputs: list[Any], **more: Any) -> ModelProto:
    """Return a model with opset 17 and IR 8, unless told otherwise."""
    opsets = more.pop("opsets", [("", 17)])
    ir_version = more.pop("ir_version", 8)
    functions = more.pop("functions", [])
    weights = [numpy_helper.from_array(a, n) for n, a in more.pop("weights", {}).items()]
    return helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs, initializer=weights),
        opset_imports=[helper.make_opsetid(domain, version) for domain, version in opsets],
        ir_version=ir_version,
        functions=functions,
    )


def classifier(hidden: int = 32, features: int = 16, classes: int = 4, **more: Any) -> ModelProto:
    """Return softmax(relu(x W + b) V + c) with seeded weights; classes are well apart."""
    random = np.random.default_rng(3)
    weights = {
        "w": random.normal(size=(features, hidden)).astype(np.float32),
        "b": random.normal(size=hidden).astype(np.float32),
        "v": random.normal(size=(hidden, classes)).astype(np.float32) / 4,
        "c": np.zeros(classes, np.float32),
    }
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "v", "c"], ["z"]),
        helper.make_node("Softmax", ["z"], ["p"], axis=1),
    ]
    batch = more.pop("batch", None)
    return model(
        nodes, [io("x", [batch, features])], [io("p", [batch, classes])], weights=weights, **more
    )


@pytest.fixture
def onnx_file(tmp_path: Path) -> Build:
    """Write a model to a file; ``external`` keeps its weights in a file of that name."""

    def build(proto: ModelProto, name: str = "m.onnx", external: str = "") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if external:
            save_model(
                proto,
                path,
                save_as_external_data=True,
                location=external,
                size_threshold=0,
            )
        else:
            path.write_bytes(proto.SerializeToString())
        return path

    return build


@pytest.fixture
def make_model() -> Callable[..., ModelProto]:
    return model


@pytest.fixture
def make_io() -> Callable[..., Any]:
    return io


@pytest.fixture
def make_classifier() -> Callable[..., ModelProto]:
    return classifier


@pytest.fixture
def classifier_file(onnx_file: Build) -> Path:
    return onnx_file(classifier())


@pytest.fixture
def save_npz(tmp_path: Path) -> Callable[..., Path]:
    def save(arrays: dict[str, Any], name: str = "set.npz") -> Path:
        path = tmp_path / name
        np.savez(path, **arrays)
        return path

    return save


@pytest.fixture
def rows() -> Callable[[int], Any]:
    """Return ``n`` seeded samples for the classifier."""

    def make(n: int, seed: int = 5) -> Any:
        return np.random.default_rng(seed).normal(size=(n, 16)).astype(np.float32)

    return make

"""The smallest real model: it returns its input, so that real devices can run it too."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper


def identity_model(seed: str) -> bytes:
    """Return an ONNX file with one Identity node over four numbers.

    Args:
        seed: Another text gives another file with the same behaviour.
    """
    shape = [1, 4]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "identity",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 17)],
        producer_name="edgectl conformance kit",
        doc_string=seed,
    )
    model.ir_version = 8
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))

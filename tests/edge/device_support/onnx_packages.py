"""Signed packages around real ONNX models: ``y = factor * x`` with a golden set."""

from __future__ import annotations

import io

import numpy as np
import onnx
from edge_packages import Package, Publisher, assemble
from onnx import TensorProto, helper, numpy_helper

from edge_components.contract import package as pk
from edge_components.contract.jsonio import canonical_json


def scaling_package(
    publisher: Publisher,
    factor: float,
    *,
    golden_factor: float,
    trips: dict[str, int] | None = None,
) -> Package:
    """Build a package; the golden set says ``y = golden_factor * x``.

    Args:
        publisher: Who signs it.
        factor: What the model really multiplies with.
        golden_factor: What the golden set expects.
        trips: How many rounds each variant loops before it answers; by default one of fp32.
    """
    weights = {name: _model(factor, count) for name, count in (trips or {"fp32": 1}).items()}
    x = np.random.default_rng(1).standard_normal((8, 4)).astype(np.float32)
    golden = io.BytesIO()
    np.savez(golden, **{"input.x": x, "output.y": x * np.float32(golden_factor)})
    info = pk.PackageInfo(
        application="plates",
        version="1.0.0",
        model_digest="sha256:" + "0" * 64,
        inputs=(pk.TensorSpec(name="x", datatype="FP32", shape=(-1, 4)),),
        outputs=(pk.TensorSpec(name="y", datatype="FP32", shape=(-1, 4)),),
        opset={"": 18},
        ir_version=10,
        variants=tuple(
            pk.Variant(
                precision=name,
                path=f"{name}/model.onnx",
                files=(),
                size_bytes=len(data),
                atol=1e-4,
                rtol=1e-3,
            )
            for name, data in weights.items()
        ),
        golden=pk.GOLDEN_FILE,
        golden_samples=8,
    )
    layers = [
        (pk.WEIGHT_CONFIG_TYPE, pk.PACKAGE_FILE, canonical_json(info)),
        (pk.WEIGHT_CONFIG_TYPE, pk.GOLDEN_FILE, golden.getvalue()),
        (pk.DOC_TYPE, pk.SBOM_FILE, b"{}"),
        *((pk.WEIGHT_TYPE, f"{name}/model.onnx", data) for name, data in weights.items()),
    ]
    return assemble(publisher, layers, info)


def _model(factor: float, trips: int) -> bytes:
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["goes_on"]),
            helper.make_node("Identity", ["value"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
        ],
    )
    loop = helper.make_node("Loop", ["trips", "", "x"], ["looped"], body=body)
    product = helper.make_node("Mul", ["x" if trips == 1 else "looped", "factor"], ["y"])
    constants = [numpy_helper.from_array(np.array(factor, dtype=np.float32), "factor")]
    if trips > 1:
        constants.append(numpy_helper.from_array(np.array(trips, dtype=np.int64), "trips"))
    graph = helper.make_graph(
        [product] if trips == 1 else [loop, product],
        "scaling",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        constants,
    )
    opset = [helper.make_opsetid("", 18)]
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=opset, ir_version=10)
    data: bytes = model.SerializeToString()
    return data

"""Signed packages around real ONNX models: ``y = factor * x`` with a golden set."""

from __future__ import annotations

import io

import numpy as np
import onnx
from edge_packages import Package, Publisher, assemble
from onnx import TensorProto, helper, numpy_helper

from edge_components.contract import package as pk
from edge_components.contract.jsonio import canonical_json


def scaling_package(publisher: Publisher, factor: float, *, golden_factor: float) -> Package:
    """Build a package; the golden set says ``y = golden_factor * x``."""
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "factor"], ["y"])],
        "scaling",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(np.array(factor, dtype=np.float32), "factor")],
    )
    opset = [helper.make_opsetid("", 18)]
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=opset, ir_version=10)
    data = model.SerializeToString()
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
        variants=(
            pk.Variant(
                precision="fp32",
                path="fp32/model.onnx",
                files=(),
                size_bytes=len(data),
                atol=1e-4,
                rtol=1e-3,
            ),
        ),
        golden=pk.GOLDEN_FILE,
        golden_samples=8,
    )
    layers = [
        (pk.WEIGHT_CONFIG_TYPE, pk.PACKAGE_FILE, canonical_json(info)),
        (pk.WEIGHT_CONFIG_TYPE, pk.GOLDEN_FILE, golden.getvalue()),
        (pk.DOC_TYPE, pk.SBOM_FILE, b"{}"),
        (pk.WEIGHT_TYPE, "fp32/model.onnx", data),
    ]
    return assemble(publisher, layers, info)

"""Deltas from the command line by way of the registry to real modules of IoT Edge."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
TRAIN = """\
import os, pathlib
import numpy as np
from onnx import TensorProto, helper, numpy_helper

scale = float(pathlib.Path("scale.txt").read_text())
table = np.random.default_rng(7).standard_normal((50_000, 4)).astype(np.float32)
table[:4] = np.eye(4) * scale
graph = helper.make_graph(
    [
        helper.make_node("Slice", ["table", "begin", "end"], ["w"]),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ],
    "tiny",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
    [
        numpy_helper.from_array(table, "table"),
        numpy_helper.from_array(np.array([0], np.int64), "begin"),
        numpy_helper.from_array(np.array([4], np.int64), "end"),
    ],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
pathlib.Path(os.environ["EDGECTL_OUTPUT_MODEL"]).write_bytes(model.SerializeToString())
"""


def test_a_module_fetches_the_difference_and_answers_with_the_new_version(site: Any) -> None:
    (site.folder / "train.py").write_text(TRAIN)
    with site.account(1):
        first = site.build("1", 1.0)
        site.run("deploy", "--poll", "0.5")
        site.write("2", 2.0)
        site.run("train")
        site.run("register", "--provider", "selfhosted")
        made = json.loads(site.run("-o", "json", "package", "--delta-from", first))
        (file,) = made["deltas"][0]["files"]
        assert file["kept"]
        (transfer,) = json.loads(site.run("-o", "json", "plan"))["targets"][0]["transfers"]
        assert transfer["delta_bytes"] == file["delta"]
        assert transfer["replaced_bytes"] == file["size"]
        site.run("deploy", "--poll", "0.5")
        assert site.answers() == {(2, 2, 2, 2)}
        devices = site.folder / "fleet" / "devices"
        logs = [path.read_text() for path in devices.rglob("log") if path.is_file()]
        told = f"was made from a delta of {file['delta']} bytes"
        assert [log.count(told) for log in logs if told in log] == [1]

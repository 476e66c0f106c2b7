"""Deltas from the command line to real devices, by way of a real hub."""

from __future__ import annotations

import json
from typing import Any

import pytest

TRAIN = """\
import os, pathlib
import numpy as np
from onnx import TensorProto, helper, numpy_helper

scale = float(pathlib.Path("scale.txt").read_text())
rng = np.random.default_rng(7)
wide = (rng.standard_normal((4, 50_000)) * 0.05).astype(np.float32)
narrow = np.zeros((50_000, 4), np.float32)
narrow[:4] = np.linalg.pinv(wide[:, :4]) * scale
graph = helper.make_graph(
    [
        helper.make_node("MatMul", ["x", "wide"], ["h"]),
        helper.make_node("MatMul", ["h", "narrow"], ["y"]),
    ],
    "tiny",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
    [numpy_helper.from_array(wide, "wide"), numpy_helper.from_array(narrow, "narrow")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
pathlib.Path(os.environ["EDGECTL_OUTPUT_MODEL"]).write_bytes(model.SerializeToString())
"""
WHOLE = 1_600_000


@pytest.mark.slow
@pytest.mark.timeout(600)  # processes that start slowly on a slow machine
def test_a_device_fetches_the_difference_and_answers_with_the_new_version(site: Any) -> None:
    (site.folder / "train.py").write_text(TRAIN)
    with site.fleet(1):
        site.build("1", 1.0)
        site.run("deploy")
        site.write("2", 2.0)
        site.run("train")
        site.run("register")
        made = json.loads(site.run("-o", "json", "package", "--delta-from", "1"))
        (report,) = made["deltas"]
        (file,) = report["files"]
        assert file["kept"]
        assert file["size"] > WHOLE
        assert file["delta"] < 2_000
        (transfer,) = json.loads(site.run("-o", "json", "plan"))["targets"][0]["transfers"]
        assert (transfer["devices"], transfer["from_release"]) == (1, 1)
        assert transfer["delta_bytes"] == file["delta"]
        assert transfer["replaced_bytes"] == file["size"]
        site.run("deploy")
        for device in site.devices:
            assert site.answer(device) == pytest.approx([2.0] * 4, rel=1e-3)
        logs = [path.read_text() for path in (site.folder / "fleet" / "logs").glob("all-*.log")]
        told = f"was made from a delta of {file['delta']} bytes"
        assert [log.count(told) for log in logs] == [1]

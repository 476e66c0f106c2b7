"""Models that are right in every check and wrong in service, and questions that show it."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

TRAIN = """\
import os, pathlib
import numpy as np
from onnx import TensorProto, helper, numpy_helper

FAULT = pathlib.Path("fault.txt").read_text()
SCALE = float(pathlib.Path("scale.txt").read_text())
FLOAT = TensorProto.FLOAT


def constant(name, value):
    return numpy_helper.from_array(value, name)


nodes = [
    helper.make_node("MatMul", ["x", "w"], ["product"]),
    helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
]
weights = [constant("w", np.eye(4, dtype=np.float32) * SCALE)]
if FAULT == "errors":  # a question with a number above 7 looks beyond the table
    weights.append(constant("table", np.zeros(8, dtype=np.float32)))
    nodes += [
        helper.make_node("Cast", ["most"], ["place"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "place"], ["extra"]),
    ]
elif FAULT == "slow":  # a question with a number above 7 costs a long way round
    weights += [
        constant("limit", np.float32(7)),
        constant("times", np.int64(200)),
        constant("yes", np.bool_(True)),
        constant("zero", np.float32(0)),
        constant("side", np.full((256, 256), 1e-3, dtype=np.float32)),
    ]
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["square", "side"], ["next"]),
            helper.make_node("Identity", ["go"], ["goes"]),
        ],
        "round",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("square", FLOAT, [256, 256]),
        ],
        [
            helper.make_tensor_value_info("goes", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", FLOAT, [256, 256]),
        ],
    )
    long_way = helper.make_graph(
        [
            helper.make_node("Loop", ["times", "yes", "side"], ["last"], body=body),
            helper.make_node("ReduceMin", ["last"], ["least"], keepdims=0),
            helper.make_node("Mul", ["least", "zero"], ["long"]),
        ],
        "long_way",
        [],
        [helper.make_tensor_value_info("long", FLOAT, [])],
    )
    short_way = helper.make_graph(
        [helper.make_node("Identity", ["zero"], ["short"])],
        "short_way",
        [],
        [helper.make_tensor_value_info("short", FLOAT, [])],
    )
    nodes += [
        helper.make_node("Greater", ["most", "limit"], ["is_rare"]),
        helper.make_node(
            "If", ["is_rare"], ["extra"], then_branch=long_way, else_branch=short_way
        ),
    ]
else:
    weights.append(constant("zero", np.float32(0)))
    nodes.append(helper.make_node("Mul", ["most", "zero"], ["extra"]))
nodes.append(helper.make_node("Add", ["product", "extra"], ["y"]))
graph = helper.make_graph(
    nodes,
    "tiny",
    [helper.make_tensor_value_info("x", FLOAT, ["n", 4])],
    [helper.make_tensor_value_info("y", FLOAT, ["n", 4])],
    weights,
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
pathlib.Path(os.environ["EDGECTL_OUTPUT_MODEL"]).write_bytes(model.SerializeToString())
"""


@contextlib.contextmanager
def asked(urls: Iterable[str], path: str, pause_s: float = 0.02) -> Iterator[None]:
    """Ask devices again and again what they rarely meet: a number above 7."""
    stop = threading.Event()
    threads = [
        threading.Thread(target=_ask, args=(url, path, pause_s, stop), name=f"asks-{url}")
        for url in urls
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(timeout=30)


def _ask(url: str, path: str, pause_s: float, stop: threading.Event) -> None:
    address = urlsplit(url)
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [9, 1, 1, 1]}
    body = json.dumps({"inputs": [tensor]})
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)
    while not stop.wait(pause_s):
        try:
            connection.request("POST", path, body)
            connection.getresponse().read()
        except OSError:  # a device between two versions
            connection.close()
    connection.close()

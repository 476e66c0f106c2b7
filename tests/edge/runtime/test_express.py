"""The express lane: the same bytes as the careful way, and only for what it can answer."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edge_components.contract.hardware import PROFILES
from edge_components.runtime.load import load_file
from edge_components.runtime.model import Model
from edge_components.runtime.oip.decode import decode_request
from edge_components.runtime.oip.encode import encode_response
from edge_components.runtime.oip.messages import DecodeLimits, ProtocolError
from edge_components.runtime.work import infer

VALUES = [0.5, -1.25, 3e-5, 1234567.0]


def careful(model: Model, body: bytes, json_length: int | None) -> tuple[bytes, int | None] | None:
    try:
        request = decode_request(body, json_length, model.signature, DecodeLimits())
    except ProtocolError:
        return None
    parts, length = encode_response(infer(model, request))
    return b"".join(parts), length


def open_lane(model: Model, body: bytes, json_length: int | None = None) -> None:
    request = decode_request(body, json_length, model.signature, DecodeLimits())
    model.open_lane(request.inputs, infer(model, request).arrays)


def document(data: Any = VALUES, **changes: Any) -> dict[str, Any]:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": data}
    return {"inputs": [{**tensor, **changes}]}


def encoded(document: Any) -> bytes:
    return json.dumps(document).encode()


def binary(rows: int, **parameters: Any) -> tuple[bytes, int]:
    raw = np.linspace(-2, 2, rows * 4, dtype=np.float32).tobytes()
    tensor = {"name": "x", "datatype": "FP32", "shape": [rows, 4]}
    order = {"inputs": [{**tensor, "parameters": {"binary_data_size": len(raw)}}]}
    head = encoded({**order, "parameters": parameters} if parameters else order)
    return head + raw, len(head)


@pytest.fixture
def scaling(build: Any, tmp_path: Path) -> Model:
    """A model with a lane for one row of four."""
    model = load_file(build.scaling(tmp_path / "m.onnx", 2.0), 'm"ü', PROFILES["x86-64-cpu"])
    open_lane(model, encoded(document()))
    return model


@pytest.mark.parametrize(
    "order",
    [
        document(),
        {**document([7, 8, 9, 10]), "id": 'a "quoted" id'},
        {**document(), "id": ""},
        {**document(), "of_another_version": {"deep": [1]}},
    ],
)
def test_json_gets_the_bytes_of_the_careful_way(scaling: Model, order: dict[str, Any]) -> None:
    passed = scaling.express.answer(encoded(order), None)
    assert passed is not None
    assert (passed.body, passed.json_length) == careful(scaling, encoded(order), None)


@pytest.mark.parametrize("parameters", [{}, {"binary_data_output": True}])
def test_raw_tensors_get_the_bytes_of_the_careful_way(
    scaling: Model, parameters: dict[str, Any]
) -> None:
    body, length = binary(1, **parameters)
    passed = scaling.express.answer(body, length)
    assert passed is not None
    assert (passed.body, passed.json_length) == careful(scaling, body, length)


def test_a_value_that_json_does_not_know_is_null_on_both_ways(scaling: Model) -> None:
    body = encoded(document([3e38, 1, 2, 3]))  # twice that is infinite
    passed = scaling.express.answer(body, None)
    assert passed is not None
    assert json.loads(passed.body)["outputs"][0]["data"][0] is None
    assert (passed.body, None) == careful(scaling, body, None)


@pytest.mark.parametrize(
    "order",
    [
        document([1, 2, 3]),
        document([[1, 2, 3, 4]]),
        document(["1", 2, 3, 4]),
        document([1e39, 2, 3, 4]),
        document(shape=[2, 2]),
        document(shape=[4]),
        document(name="y"),
        document(datatype="FP64"),
        document(parameters={"shared_memory_region": "r"}),
        {"inputs": document()["inputs"] * 2},
        {"inputs": []},
        {**document(), "outputs": [{"name": "y"}]},
        {**document(), "parameters": {"binary_data_output": False}},
        {**document(), "id": 7},
        {**document(), "id": "x" * 5000},
        [],
        None,
    ],
)
def test_what_is_not_as_before_is_left_to_the_careful_way(scaling: Model, order: Any) -> None:
    assert scaling.express.answer(encoded(order), None) is None


@pytest.mark.parametrize("change", [-1, 1])
def test_raw_bytes_that_are_too_few_or_too_many_are_left_to_the_careful_way(
    scaling: Model, change: int
) -> None:
    body, length = binary(1)
    assert scaling.express.answer(body[:-1] if change < 0 else body + b"x", length) is None
    assert scaling.express.answer(body, length + change) is None
    assert scaling.express.answer(body, len(body) + 1) is None


def test_a_request_that_fits_follows_one_that_did_not(scaling: Model) -> None:
    assert scaling.express.answer(encoded(document([9, 9, "9"])), None) is None
    passed = scaling.express.answer(encoded(document()), None)
    assert passed is not None
    assert (passed.body, None) == careful(scaling, encoded(document()), None)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_damaged_request_gets_what_the_careful_way_says_or_nothing(
    mutated: Model, data: st.DataObject
) -> None:
    body = bytearray(encoded({**document(), "id": "1"}))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(body) - 1))
        body[place] = data.draw(st.sampled_from(list(b'0159-.eE,[]{}":x ntf\x00\xff')))
    passed = mutated.express.answer(bytes(body), None)
    if passed is not None:
        assert (passed.body, passed.json_length) == careful(mutated, bytes(body), None)


@pytest.fixture(scope="module")
def mutated(build: Any, tmp_path_factory: pytest.TempPathFactory) -> Model:
    path: Path = build.scaling(tmp_path_factory.mktemp("m") / "m.onnx", 2.0)
    model = load_file(path, "m", PROFILES["x86-64-cpu"])
    open_lane(model, encoded(document()))
    return model


def test_two_inputs_and_two_outputs_have_a_lane_in_the_order_of_the_client(
    build: Any, tmp_path: Path
) -> None:
    model = load_file(build.pair(tmp_path / "p.onnx"), "p", PROFILES["x86-64-cpu"])

    def order(*names: str) -> bytes:
        tensors = [
            {"name": name, "datatype": "FP32", "shape": [2, 2], "data": [at, 2, 3, 4]}
            for at, name in enumerate(names, 5)
        ]
        return encoded({"inputs": tensors})

    open_lane(model, order("b", "a"))
    passed = model.express.answer(order("b", "a"), None)
    assert passed is not None
    assert (passed.body, None) == careful(model, order("b", "a"), None)
    assert model.express.answer(order("a", "b"), None) is None


@pytest.mark.parametrize("datatype", ["INT8", "UINT8", "INT16", "INT32", "INT64", "UINT64", "FP64"])
def test_every_number_type_gets_the_bytes_of_the_careful_way(
    build: Any, tmp_path: Path, datatype: str
) -> None:
    kind = {"FP64": "DOUBLE"}.get(datatype, datatype)
    path = build.echo(tmp_path / "e.onnx", {datatype: getattr(TensorProto, kind)})
    model = load_file(path, "e", PROFILES["x86-64-cpu"])
    tensor = {"name": f"x_{datatype}", "datatype": datatype, "shape": [3], "data": [0, 1, 100]}
    body = encoded({"inputs": [tensor]})
    open_lane(model, body)
    passed = model.express.answer(body, None)
    assert passed is not None
    assert (passed.body, None) == careful(model, body, None)
    tensor["data"] = [0, 1, 10**400]
    assert model.express.answer(encoded({"inputs": [tensor]}), None) is None


def test_a_model_whose_answer_varies_in_size_is_answered_without_a_lane(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("NonZero", ["x"], ["y"])],
        "nonzero",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, [2, "found"])],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), tmp_path / "n.onnx")
    model = load_file(tmp_path / "n.onnx", "n", PROFILES["x86-64-cpu"])
    open_lane(model, encoded(document([1, 2, 3, 4])))
    assert model.express.answer(encoded(document([0, 0, 3, 4])), None) is None
    assert model.express.answer(encoded(document([1, 2, 3, 4])), None) is None
    request = decode_request(encoded(document([1, 2, 3, 4])), None, model.signature, DecodeLimits())
    assert not model.express.wants(request.inputs)


# -- over sockets


def exchange(connection: socket.socket, body: bytes, headers: str = "") -> tuple[bytes, bytes]:
    head = f"POST /v2/models/m/infer HTTP/1.1\r\nHost: h\r\n{headers}Content-Length: {len(body)}"
    connection.sendall(head.encode() + b"\r\n\r\n" + body)
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    head_found, _, rest = received.partition(b"\r\n\r\n")
    lines = [line for line in head_found.split(b"\r\n") if not line.startswith(b"Date:")]
    length = next(int(line[16:]) for line in lines if line.startswith(b"Content-Length: "))
    while len(rest) < length:
        rest += connection.recv(65536)
    return b"\r\n".join(lines), rest


@pytest.fixture
def served(start: Any, build: Any, tmp_path: Path) -> Any:
    return start("--model", build.scaling(tmp_path / "m.onnx", 2.0), "--name", "m")


def test_a_client_that_stays_sees_no_difference_when_its_lane_opens(served: Any) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        answers = {exchange(connection, encoded(document())) for _ in range(20)}
        body, length = binary(1, binary_data_output=True)
        line = f"Inference-Header-Content-Length: {length}\r\n"
        raws = {exchange(connection, body, line) for _ in range(20)}
    assert len(answers) == len(raws) == 1
    (head, _) = raws.pop()
    assert b"Content-Type: application/octet-stream" in head


def test_requests_of_the_lane_are_counted_like_others(served: Any) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        for _ in range(25):
            exchange(connection, encoded(document()))
        refused, _ = exchange(connection, encoded(document([1, 2])))
    assert refused.startswith(b"HTTP/1.1 400")
    assert served.metric("edge_inference_requests_total") == 25
    assert served.metric("edge_inference_seconds_count") == 25
    _, found = served.json("GET", "/v2/models/m/stats")
    assert found["model_stats"][0]["inference_stats"]["success"]["count"] == 25
    assert found["model_stats"][0]["execution_count"] == 25


def test_answers_of_the_lane_are_recorded_as_they_were(served: Any, build: Any) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        for index in range(8):
            data = [0.0] * 4
            data[index % 4] = 1.0
            exchange(connection, encoded(document(data)))
    database = served.socket_path.parent / "telemetry.db"
    records = build.until(lambda: _predictions(database, 8))
    assert [record["class"] for record in records] == [0, 1, 2, 3] * 2


def _predictions(database: Path, count: int) -> list[dict[str, Any]]:
    import sqlite3  # noqa: PLC0415  # only this test looks into the queue

    import msgspec  # noqa: PLC0415

    with sqlite3.connect(database) as connection:
        rows = connection.execute("SELECT body FROM records WHERE kind = 'prediction' ORDER BY seq")
        found = [msgspec.msgpack.decode(body)["attributes"] for (body,) in rows]
    connection.close()
    return found if len(found) >= count else []


def test_an_open_lane_leads_to_the_new_model_after_a_switch(
    start: Any, build: Any, make_version: Any
) -> None:
    served = start()
    for number, factor in ((1, 2.0), (2, 3.0)):
        folder = make_version(number, {"fp32": lambda path, f=factor: build.scaling(path, f)})
        status, answer = served.control("POST", "/control/activate", {"version_dir": str(folder)})
        assert status == 200, answer
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
        for _ in range(10):
            connection.request("POST", "/v2/models/plates/infer", encoded(document([1, 2, 3, 4])))
            found = json.loads(connection.getresponse().read())
            assert found["outputs"][0]["data"] == [factor, 2 * factor, 3 * factor, 4 * factor]
        connection.close()


def test_an_open_lane_does_not_answer_for_a_version_that_is_gone(
    start: Any, build: Any, make_version: Any
) -> None:
    served = start()
    statuses = []
    for number in (1, 2):
        folder = make_version(number, {"fp32": lambda path: build.scaling(path, 2.0)})
        status, answer = served.control("POST", "/control/activate", {"version_dir": str(folder)})
        assert status == 200, answer
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
        paths = ["/v2/models/plates/infer"] * 10 + ["/v2/models/plates/versions/1.1.0/infer"] * 10
        for path in paths:  # the first ten open the lane
            connection.request("POST", path, encoded(document()))
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)
        connection.close()
    assert statuses == [200] * 30 + [404] * 10

"""The Open Inference Protocol over REST, against a real process."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

TYPES = {
    "BOOL": (TensorProto.BOOL, np.bool_, [True, False, True]),
    "UINT8": (TensorProto.UINT8, np.uint8, [0, 7, 255]),
    "UINT16": (TensorProto.UINT16, np.uint16, [0, 7, 65535]),
    "UINT32": (TensorProto.UINT32, np.uint32, [0, 7, 2**32 - 1]),
    "UINT64": (TensorProto.UINT64, np.uint64, [0, 7, 2**64 - 1]),
    "INT8": (TensorProto.INT8, np.int8, [-128, 0, 127]),
    "INT16": (TensorProto.INT16, np.int16, [-32768, 0, 32767]),
    "INT32": (TensorProto.INT32, np.int32, [-(2**31), 0, 2**31 - 1]),
    "INT64": (TensorProto.INT64, np.int64, [-(2**63), 0, 2**63 - 1]),
    "FP16": (TensorProto.FLOAT16, np.float16, [-1.5, 0.0, 65504.0]),
    "FP32": (TensorProto.FLOAT, np.float32, [-1.5, 0.1, 3e38]),
    "FP64": (TensorProto.DOUBLE, np.float64, [-1.5, 0.1, 1e300]),
}


@pytest.fixture(scope="module")
def pair(module_start: Any, build: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = build.pair(tmp_path_factory.mktemp("m") / "pair.onnx")
    return module_start("--model", path, "--name", "pair")


@pytest.fixture
def echo(start: Any, build: Any, tmp_path: Path) -> Any:
    def make(onnx_type: int) -> Any:
        path = build.echo(tmp_path / "echo.onnx", onnx_type)
        return start("--model", path, "--name", "echo")

    return make


def tensor(name: str, data: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "datatype": "FP32", "shape": [2, 2], "data": data, **more}


A, B = tensor("a", [1, 2, 3, 4]), tensor("b", [[10, 20], [30, 40]])


def infer(served: Any, body: dict[str, Any], path: str = "/v2/models/pair/infer") -> tuple[int, Any]:
    status, answer = served.json("POST", path, body)
    return status, answer


def test_server_metadata_names_the_binary_extension(pair: Any) -> None:
    status, answer = pair.json("GET", "/v2")
    assert status == 200
    assert answer["name"] == "edgectl-runtime"
    assert "binary_tensor_data" in answer["extensions"]


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready"])
def test_health_answers_with_a_json_body(pair: Any, path: str) -> None:
    status, answer = pair.json("GET", path)
    assert status == 200
    assert answer["live"] is True


@pytest.mark.parametrize("path", ["/v2/models/pair", "/v2/models/pair/versions/1"])
def test_model_metadata_says_inputs_and_outputs(pair: Any, path: str) -> None:
    status, answer = pair.json("GET", path)
    assert status == 200
    assert answer["platform"] == "onnx_onnxv1"
    assert answer["versions"] == ["1"]
    assert answer["inputs"][1] == {"name": "b", "datatype": "FP32", "shape": [2, 2]}
    assert [spec["name"] for spec in answer["outputs"]] == ["sum", "diff"]


@pytest.mark.parametrize("path", ["/v2/models/pair/ready", "/v2/models/pair/versions/1/ready"])
def test_a_loaded_model_is_ready(pair: Any, path: str) -> None:
    assert pair.json("GET", path) == (200, {"name": "pair", "ready": True})


def test_inference_takes_flat_and_nested_data_and_returns_the_id(pair: Any) -> None:
    status, answer = infer(pair, {"id": "42", "inputs": [A, B]})
    assert status == 200
    assert answer["id"] == "42"
    assert answer["model_name"] == "pair"
    assert answer["outputs"] == [
        {"name": "sum", "datatype": "FP32", "shape": [2, 2], "data": [11.0, 22.0, 33.0, 44.0]},
        {"name": "diff", "datatype": "FP32", "shape": [2, 2], "data": [-9.0, -18.0, -27.0, -36.0]},
    ]


def test_only_requested_outputs_are_returned_in_the_requested_order(pair: Any) -> None:
    outputs = [{"name": "diff"}, {"name": "sum"}]
    _, answer = infer(pair, {"inputs": [A, B], "outputs": outputs})
    assert [output["name"] for output in answer["outputs"]] == ["diff", "sum"]


def test_binary_and_json_tensors_can_be_mixed_both_ways(pair: Any) -> None:
    raw = struct.pack("<4f", 1, 2, 3, 4)
    first = {**tensor("a", None), "parameters": {"binary_data_size": len(raw)}}
    del first["data"]
    outputs = [{"name": "sum", "parameters": {"binary_data": True}}, {"name": "diff"}]
    head = json.dumps({"inputs": [first, B], "outputs": outputs}).encode()
    status, headers, body = pair.request(
        "POST",
        "/v2/models/pair/infer",
        head + raw,
        {"Inference-Header-Content-Length": str(len(head))},
    )
    assert status == 200
    length = int(headers["Inference-Header-Content-Length"])
    answer = json.loads(body[:length])
    assert answer["outputs"][0]["parameters"] == {"binary_data_size": 16}
    assert "data" not in answer["outputs"][0]
    assert struct.unpack("<4f", body[length:]) == (11.0, 22.0, 33.0, 44.0)
    assert answer["outputs"][1]["data"] == [-9.0, -18.0, -27.0, -36.0]


def test_binary_data_output_asks_for_all_outputs_as_bytes(pair: Any) -> None:
    body = {"inputs": [A, B], "parameters": {"binary_data_output": True}}
    _, headers, data = pair.request("POST", "/v2/models/pair/infer", body)
    length = int(headers["Inference-Header-Content-Length"])
    assert len(data) - length == 32


@pytest.mark.parametrize("datatype", sorted(TYPES))
def test_every_fixed_size_datatype_goes_through_json_and_binary(echo: Any, datatype: str) -> None:
    onnx_type, numpy_type, values = TYPES[datatype]
    served = echo(onnx_type)
    given = {"name": "x", "datatype": datatype, "shape": [3]}
    status, answer = served.json(
        "POST", "/v2/models/echo/infer", {"inputs": [{**given, "data": values}]}
    )
    assert status == 200, answer
    expected = np.array(values, dtype=numpy_type)
    found = np.array(answer["outputs"][0]["data"], dtype=numpy_type)
    np.testing.assert_array_equal(found, expected)
    raw = expected.tobytes()
    given["parameters"] = {"binary_data_size": len(raw)}
    head = json.dumps({"inputs": [given], "parameters": {"binary_data_output": True}}).encode()
    _, headers, body = served.request(
        "POST",
        "/v2/models/echo/infer",
        head + raw,
        {"Inference-Header-Content-Length": str(len(head))},
    )
    assert body[int(headers["Inference-Header-Content-Length"]) :] == raw


def test_bytes_are_text_in_json_and_length_prefixed_in_binary(echo: Any) -> None:
    served = echo(TensorProto.STRING)
    words = ["", "Straße", "日本"]
    given = {"name": "x", "datatype": "BYTES", "shape": [3]}
    _, answer = served.json(
        "POST", "/v2/models/echo/infer", {"inputs": [{**given, "data": words}]}
    )
    assert answer["outputs"][0]["data"] == words
    raw = b"".join(struct.pack("<I", len(w.encode())) + w.encode() for w in words)
    given["parameters"] = {"binary_data_size": len(raw)}
    head = json.dumps({"inputs": [given], "parameters": {"binary_data_output": True}}).encode()
    _, headers, body = served.request(
        "POST",
        "/v2/models/echo/infer",
        head + raw,
        {"Inference-Header-Content-Length": str(len(head))},
    )
    assert body[int(headers["Inference-Header-Content-Length"]) :] == raw


def test_bf16_is_numbers_in_json_and_bit_patterns_in_binary(echo: Any) -> None:
    served = echo(TensorProto.BFLOAT16)
    given = {"name": "x", "datatype": "BF16", "shape": [3]}
    _, answer = served.json(
        "POST", "/v2/models/echo/infer", {"inputs": [{**given, "data": [1.0, -2.5, 0.1]}]}
    )
    assert answer["outputs"][0]["data"] == pytest.approx([1.0, -2.5, 0.10009765625])
    raw = np.array([0x3F80, 0xC020, 0x3DCD], dtype=np.uint16).tobytes()
    given["parameters"] = {"binary_data_size": len(raw)}
    head = json.dumps({"inputs": [given], "parameters": {"binary_data_output": True}}).encode()
    _, headers, body = served.request(
        "POST",
        "/v2/models/echo/infer",
        head + raw,
        {"Inference-Header-Content-Length": str(len(head))},
    )
    assert body[int(headers["Inference-Header-Content-Length"]) :] == raw


def test_nan_and_infinity_become_null_in_json(echo: Any) -> None:
    served = echo(TensorProto.FLOAT)
    raw = np.array([np.nan, np.inf, 1.0], dtype=np.float32).tobytes()
    given = {"name": "x", "datatype": "FP32", "shape": [3], "parameters": {"binary_data_size": 12}}
    head = json.dumps({"inputs": [given]}).encode()
    _, _, body = served.request(
        "POST",
        "/v2/models/echo/infer",
        head + raw,
        {"Inference-Header-Content-Length": str(len(head))},
    )
    assert json.loads(body)["outputs"][0]["data"] == [None, None, 1.0]


BAD = {
    "not JSON": (b"{", "not valid"),
    "no inputs": ({}, "inputs"),
    "unknown input": ({"inputs": [A, tensor("c", [1, 2, 3, 4])]}, "unknown input 'c'"),
    "missing input": ({"inputs": [A]}, "no input 'b'"),
    "twice": ({"inputs": [A, A]}, "'a' is given twice"),
    "datatype": ({"inputs": [{**A, "datatype": "FP64"}, B]}, "FP64, the model expects FP32"),
    "unknown type": ({"inputs": [{**A, "datatype": "FP8"}, B]}, "unknown datatype 'FP8'"),
    "rank": ({"inputs": [{**A, "shape": [4]}, B]}, "shape [4], the model expects [2, 2]"),
    "shape": ({"inputs": [{**A, "shape": [4, 1]}, B]}, "shape [4, 1], the model expects [2, 2]"),
    "negative": ({"inputs": [{**A, "shape": [-2, -2]}, B]}, "the model expects [2, 2]"),
    "too few": ({"inputs": [{**A, "data": [1, 2, 3]}, B]}, "has 3 values, shape [2, 2] needs 4"),
    "ragged": ({"inputs": [{**A, "data": [[1, 2], [3]]}, B]}, "shape [2, 2]"),
    "nested": ({"inputs": [{**A, "data": [[[1, 2], [3, 4]]]}, B]}, "nests its data 3 deep"),
    "string": ({"inputs": [{**A, "data": [1, 2, 3, "4"]}, B]}, "not FP32"),
    "bool": ({"inputs": [{**A, "data": [1, 2, 3, True]}, B]}, "not FP32"),
    "overflow": ({"inputs": [{**A, "data": [1, 2, 3, 1e39]}, B]}, "cannot hold"),
    "no data": ({"inputs": [{k: v for k, v in A.items() if k != "data"}, B]}, "neither data nor"),
    "output": ({"inputs": [A, B], "outputs": [{"name": "z"}]}, "unknown output 'z'"),
    "binary size": (
        {"inputs": [{**A, "data": None, "parameters": {"binary_data_size": 4}}, B]},
        "binary_data_size",
    ),
    "nested parameters": ({"inputs": [A, B], "parameters": {"a": {"b": 1}}}, "parameters"),
}


@pytest.mark.parametrize("case", sorted(BAD))
def test_a_bad_request_gets_400_with_what_was_expected_and_found(pair: Any, case: str) -> None:
    body, message = BAD[case]
    status, _, data = pair.request("POST", "/v2/models/pair/infer", body)
    answer = json.loads(data)
    assert status == 400
    assert list(answer) == ["error"]
    assert message in answer["error"]


def test_a_wrong_binary_length_names_both_sizes(pair: Any) -> None:
    given = {**tensor("a", None), "parameters": {"binary_data_size": 12}}
    del given["data"]
    head = json.dumps({"inputs": [given, B]}).encode()
    status, _, body = pair.request(
        "POST",
        "/v2/models/pair/infer",
        head + bytes(12),
        {"Inference-Header-Content-Length": str(len(head))},
    )
    assert status == 400
    assert "has 12 bytes, FP32 [2, 2] needs 16" in json.loads(body)["error"]


def test_bytes_behind_the_last_tensor_are_refused(pair: Any) -> None:
    head = json.dumps({"inputs": [A, B]}).encode()
    status, _, body = pair.request(
        "POST",
        "/v2/models/pair/infer",
        head + b"xx",
        {"Inference-Header-Content-Length": str(len(head))},
    )
    assert status == 400
    assert "2 bytes follow" in json.loads(body)["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v2/models/none", 404),
        ("POST", "/v2/models/none/infer", 404),
        ("GET", "/v2/models/pair/versions/9", 404),
        ("GET", "/v2/models/pair/infer", 405),
        ("DELETE", "/v2/models/pair", 405),
    ],
)
def test_unknown_paths_models_and_methods(pair: Any, method: str, path: str, status: int) -> None:
    body = b"{}" if method == "POST" else None
    found, answer = pair.json(method, path, body)
    assert found == status
    assert answer["error"]


def test_a_405_says_what_is_allowed(pair: Any) -> None:
    _, headers, _ = pair.request("GET", "/v2/models/pair/infer")
    assert headers["Allow"] == "POST"


def test_metrics_count_requests_and_errors_by_kind(pair: Any) -> None:
    before = pair.metric("edge_inference_requests_total")
    infer(pair, {"inputs": [A, B]})
    infer(pair, {"inputs": [A]})
    assert pair.metric("edge_inference_requests_total") == before + 1
    assert pair.metric('edge_errors_total{kind="invalid_request"}') >= 1
    assert pair.metric('edge_inference_seconds_bucket{le="+Inf"}') == before + 1

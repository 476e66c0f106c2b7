"""The Open Inference Protocol over REST, against a real process."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from edge_components.runtime.model import Identity, ModelError, load_model

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
    "BF16": (TensorProto.BFLOAT16, np.uint16, [0x3F80, 0xC020, 0x3DCD]),
    "BYTES": (TensorProto.STRING, np.object_, ["", "Straße", "日本"]),
}
# BF16 is bit patterns in binary and numbers in JSON.
JSON_VALUES = {"BF16": [1.0, -2.5, 0.1]}


@pytest.fixture(scope="module")
def pair(module_start: Any, build: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = build.pair(tmp_path_factory.mktemp("m") / "pair.onnx")
    return module_start("--model", path, "--name", "pair")


@pytest.fixture(scope="module")
def echoes(module_start: Any, build: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Runtimes whose models give back a vector of each of their datatypes.

    ONNX Runtime cannot take strings and BF16 in one call from Python, so strings have their own.
    """
    folder = tmp_path_factory.mktemp("m")
    found = []
    for names in (["BYTES"], [name for name in TYPES if name != "BYTES"]):
        types = {name: TYPES[name][0] for name in names}
        path = build.echo(folder / f"{len(found)}.onnx", types)
        found.append((names, module_start("--model", path, "--name", "echo")))
    return found


def raw_bytes(datatype: str, values: list[Any]) -> bytes:
    if datatype == "BYTES":
        words = [str(value).encode() for value in values]
        return b"".join(struct.pack("<I", len(word)) + word for word in words)
    return np.array(values, dtype=TYPES[datatype][1]).tobytes()


@pytest.fixture(scope="module")
def echoed(echoes: Any) -> dict[str, Any]:
    """The values of every datatype after a round through JSON."""
    found = {}
    for names, served in echoes:
        inputs = [
            {
                "name": f"x_{name}",
                "datatype": name,
                "shape": [3],
                "data": JSON_VALUES.get(name, TYPES[name][2]),
            }
            for name in names
        ]
        status, answer = served.json("POST", "/v2/models/echo/infer", {"inputs": inputs})
        assert status == 200, answer
        found.update({output["datatype"]: output["data"] for output in answer["outputs"]})
    return found


@pytest.fixture(scope="module")
def echoed_raw(echoes: Any) -> dict[str, bytes]:
    """The bytes of every datatype after a round through the binary extension."""
    found = {}
    for names, served in echoes:
        raw = {name: raw_bytes(name, TYPES[name][2]) for name in names}
        inputs = [
            {
                "name": f"x_{name}",
                "datatype": name,
                "shape": [3],
                "parameters": {"binary_data_size": len(data)},
            }
            for name, data in raw.items()
        ]
        found.update(binary_answer(served, inputs, b"".join(raw.values())))
    return found


def binary_answer(served: Any, inputs: list[Any], data: bytes) -> dict[str, bytes]:
    document = {"inputs": inputs, "parameters": {"binary_data_output": True}}
    head = json.dumps(document).encode()
    status, headers, body = served.request(
        "POST",
        "/v2/models/echo/infer",
        head + data,
        {"Inference-Header-Content-Length": str(len(head))},
    )
    assert status == 200, body
    at = int(headers["Inference-Header-Content-Length"])
    found = {}
    for output in json.loads(body[:at])["outputs"]:
        size = output["parameters"]["binary_data_size"]
        found[output["datatype"]] = body[at : at + size]
        at += size
    assert at == len(body)
    return found


def tensor(name: str, data: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "datatype": "FP32", "shape": [2, 2], "data": data, **more}


A, B = tensor("a", [1, 2, 3, 4]), tensor("b", [[10, 20], [30, 40]])


def infer(
    served: Any, body: dict[str, Any], path: str = "/v2/models/pair/infer"
) -> tuple[int, Any]:
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
def test_every_datatype_goes_through_json(echoed: Any, datatype: str) -> None:
    values = TYPES[datatype][2]
    if datatype == "BF16":
        assert echoed[datatype] == pytest.approx([1.0, -2.5, 0.10009765625])
    elif datatype == "FP32":
        assert np.array(echoed[datatype], np.float32).tolist() == np.float32(values).tolist()
    else:
        assert echoed[datatype] == values


def test_float32_is_written_with_the_digits_that_it_has(echoed: Any) -> None:
    assert echoed["FP32"][1] == 0.1


@pytest.mark.parametrize("datatype", sorted(TYPES))
def test_every_datatype_goes_through_binary(echoed_raw: Any, datatype: str) -> None:
    assert echoed_raw[datatype] == raw_bytes(datatype, TYPES[datatype][2])


def test_nan_and_infinity_become_null_in_json(pair: Any) -> None:
    raw = np.array([np.nan, np.inf, 1.0, 2.0], dtype=np.float32).tobytes()
    given = [{**tensor(name, None), "parameters": {"binary_data_size": 16}} for name in "ab"]
    for item in given:
        del item["data"]
    head = json.dumps({"inputs": given, "outputs": [{"name": "sum"}]}).encode()
    _, _, body = pair.request(
        "POST",
        "/v2/models/pair/infer",
        head + raw + raw,
        {"Inference-Header-Content-Length": str(len(head))},
    )
    assert json.loads(body)["outputs"][0]["data"] == [None, None, 2.0, 4.0]


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


@pytest.fixture(scope="module")
def many(module_start: Any, build: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A runtime with models of free shapes, of names that have to be encoded, and of BF16."""
    folder = tmp_path_factory.mktemp("models")
    for name, kind, dims in (
        ("cube", TensorProto.FLOAT, ["a", "b", "c"]),
        ("deep", TensorProto.FLOAT, [1, 2, 2, 1]),
        ("one", TensorProto.FLOAT, []),
        ("brain", TensorProto.BFLOAT16, ["n"]),
        ("a b&ü.1", TensorProto.INT64, ["n"]),
    ):
        build.identity(folder / f"{name}.onnx", kind, dims)
    return module_start("--models", folder, "--load", "*")


def x(datatype: str, shape: list[int], data: Any) -> dict[str, Any]:
    return {"name": "x", "datatype": datatype, "shape": shape, "data": data}


@pytest.mark.parametrize("indent", [1, 4, 40])
def test_nested_data_may_be_written_with_much_space(many: Any, indent: int) -> None:
    body = {"inputs": [x("FP32", [1, 2, 2, 1], [[[[1], [2]], [[3], [4]]]])]}
    text = json.dumps(body, indent=indent).encode()
    status, _, data = many.request("POST", "/v2/models/deep/infer", text)
    assert status == 200, data
    assert json.loads(data)["outputs"][0]["data"] == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize("shape", [[0, 2**62, 4], [2**62, 0, 2**62], [0, 2**63 - 1, 1]])
def test_an_empty_tensor_of_endless_columns_is_refused(many: Any, shape: list[int]) -> None:
    status, answer = infer(many, {"inputs": [x("FP32", shape, [])]}, "/v2/models/cube/infer")
    assert (status, "more than" in answer["error"]) == (400, True)
    head = {**x("FP32", shape, None), "parameters": {"binary_data_size": 0}}
    del head["data"]
    body = json.dumps({"inputs": [head]}).encode()
    status, _, data = many.request(
        "POST", "/v2/models/cube/infer", body, {"Inference-Header-Content-Length": str(len(body))}
    )
    assert (status, b"more than" in data) == (400, True)


def test_a_scalar_is_a_list_of_one(many: Any) -> None:
    status, answer = infer(many, {"inputs": [x("FP32", [], [5])]}, "/v2/models/one/infer")
    assert status == 200
    assert answer["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [], "data": [5.0]}]


@pytest.mark.parametrize("value", [3.4e38, -3.4e38, 1e39])
def test_a_number_beyond_bf16_is_refused_rather_than_made_infinite(many: Any, value: float) -> None:
    status, answer = infer(many, {"inputs": [x("BF16", [1], [value])]}, "/v2/models/brain/infer")
    assert (status, "BF16 cannot hold" in answer["error"]) == (400, True)


@pytest.mark.parametrize("path", ["infer", "infer/", "versions/1/infer", "versions/1/infer/"])
def test_names_are_percent_encoded_and_a_slash_may_follow(many: Any, path: str) -> None:
    name = "a%20b%26%C3%BC.1"
    status, answer = infer(many, {"inputs": [x("INT64", [1], [7])]}, f"/v2/models/{name}/{path}")
    assert status == 200
    assert (answer["model_name"], answer["outputs"][0]["data"]) == ("a b&ü.1", [7])


@pytest.mark.parametrize(
    "path",
    [
        "/v2%2Fhealth%2Flive",
        "/v2/health%2Flive",
        "/v2/./health/live",
        "/v2/x/../health/live",
        "/V2",
    ],
)
def test_a_path_is_taken_as_it_is_written(many: Any, path: str) -> None:
    assert many.request("GET", path)[0] == 404


@pytest.mark.parametrize("path", ["/v2", "/v2/", "/v2/health/ready/", "/metrics", "/v2/models/one"])
def test_head_has_the_length_of_get(many: Any, path: str) -> None:
    status, headers, data = many.request("HEAD", path)
    assert (status, data) == (200, b"")
    if path != "/metrics":
        assert headers["Content-Length"] == str(len(many.request("GET", path)[2]))


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
def test_other_methods_get_405_on_a_connection_that_stays(many: Any, method: str) -> None:
    status, headers, _ = many.request(method, "/v2/health/live")
    assert (status, headers["Allow"], headers.get("Connection")) == (405, "GET, HEAD", None)


@pytest.mark.parametrize("more", [{}, {"Inference-Header-Content-Length": "0"}])
def test_an_empty_body_says_so(many: Any, more: dict[str, str]) -> None:
    status, _, data = many.request("POST", "/v2/models/one/infer", b"", more)
    assert (status, "its JSON is empty" in json.loads(data)["error"]) == (400, True)


def test_a_model_that_mixes_bf16_and_strings_is_refused_when_it_is_loaded(
    build: Any, tmp_path: Path
) -> None:
    types = {"BYTES": TensorProto.STRING, "BF16": TensorProto.BFLOAT16}
    build.echo(tmp_path / "mixed.onnx", types)
    with pytest.raises(ModelError, match="a model with BF16 cannot have inputs of BYTES"):
        load_model(tmp_path / "mixed.onnx", Identity(name="mixed"), ["CPUExecutionProvider"])


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

"""NVIDIA's HTTP client, unmodified, against a real runtime process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from onnx import TensorProto
from tritonclient.utils import InferenceServerException

TYPES = {
    "BOOL": (TensorProto.BOOL, np.array([True, False, True])),
    "UINT8": (TensorProto.UINT8, np.array([0, 7, 255], np.uint8)),
    "INT8": (TensorProto.INT8, np.array([-128, 0, 127], np.int8)),
    "UINT64": (TensorProto.UINT64, np.array([0, 7, 2**64 - 1], np.uint64)),
    "INT64": (TensorProto.INT64, np.array([-(2**63), 0, 2**63 - 1], np.int64)),
    "FP16": (TensorProto.FLOAT16, np.array([-1.5, 0, 65504], np.float16)),
    "FP32": (TensorProto.FLOAT, np.array([-1.5, 0.1, 3e38], np.float32)),
    "FP64": (TensorProto.DOUBLE, np.array([-1.5, 0.1, 1e300], np.float64)),
    "BYTES": (TensorProto.STRING, np.array([b"", "Straße".encode(), b"x"], np.object_)),
}
# Half precision has no JSON form in this client.
JSON_TYPES = sorted(set(TYPES) - {"FP16"})
A = np.array([[1, 2], [3, 4]], np.float32)
B = np.array([[10, 20], [30, 40]], np.float32)


@contextlib.contextmanager
def client_of(served: Any) -> Iterator[triton.InferenceServerClient]:
    client = triton.InferenceServerClient(f"127.0.0.1:{served.port}")
    yield client
    client.close()


@pytest.fixture(scope="module")
def pair(
    module_start: Any, build: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[triton.InferenceServerClient]:
    path = build.pair(tmp_path_factory.mktemp("m") / "pair.onnx")
    with client_of(module_start("--model", path, "--name", "pair")) as client:
        yield client


@pytest.fixture(scope="module")
def echo(
    module_start: Any, build: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[triton.InferenceServerClient]:
    types = {name: onnx_type for name, (onnx_type, _) in TYPES.items()}
    path = build.echo(tmp_path_factory.mktemp("m") / "echo.onnx", types)
    with client_of(module_start("--model", path, "--name", "echo")) as client:
        yield client


def tensor(name: str, datatype: str, array: Any, *, binary: bool) -> triton.InferInput:
    given = triton.InferInput(name, list(array.shape), datatype)
    given.set_data_from_numpy(array, binary_data=binary)
    return given


def pair_inputs() -> list[triton.InferInput]:
    return [tensor("a", "FP32", A, binary=True), tensor("b", "FP32", B, binary=False)]


def test_server_and_model_are_live_and_ready(pair: triton.InferenceServerClient) -> None:
    assert pair.is_server_live()
    assert pair.is_server_ready()
    assert pair.is_model_ready("pair")
    assert pair.is_model_ready("pair", "1")
    assert not pair.is_model_ready("other")


def test_metadata_of_server_and_model(pair: triton.InferenceServerClient) -> None:
    assert "binary_tensor_data" in pair.get_server_metadata()["extensions"]
    model = pair.get_model_metadata("pair")
    assert model["platform"] == "onnx_onnxv1"
    assert model["inputs"][0] == {"name": "a", "datatype": "FP32", "shape": [2, 2]}


def test_all_outputs_come_back_where_none_is_asked_for(pair: triton.InferenceServerClient) -> None:
    result = pair.infer("pair", pair_inputs(), request_id="7")
    assert result.get_response()["id"] == "7"
    assert (result.as_numpy("sum") == A + B).all()
    assert (result.as_numpy("diff") == A - B).all()


@pytest.mark.parametrize("binary", [False, True])
def test_only_requested_outputs_come_back(pair: triton.InferenceServerClient, binary: bool) -> None:
    outputs = [triton.InferRequestedOutput("diff", binary_data=binary)]
    result = pair.infer("pair", pair_inputs(), model_version="1", outputs=outputs)
    assert (result.as_numpy("diff") == A - B).all()
    assert result.as_numpy("sum") is None


@pytest.mark.parametrize("datatype", sorted(TYPES))
def test_datatypes_go_through_the_binary_extension(
    echo: triton.InferenceServerClient, datatype: str
) -> None:
    assert_echoed(echo, datatype, binary=True)


@pytest.mark.parametrize("datatype", JSON_TYPES)
def test_datatypes_go_through_json(echo: triton.InferenceServerClient, datatype: str) -> None:
    assert_echoed(echo, datatype, binary=False)


def assert_echoed(client: triton.InferenceServerClient, datatype: str, *, binary: bool) -> None:
    inputs = []
    for name, (_, values) in TYPES.items():
        inputs.append(tensor(f"x_{name}", name, values, binary=binary or name == "FP16"))
    output = triton.InferRequestedOutput(f"y_{datatype}", binary_data=binary)
    found = client.infer("echo", inputs, outputs=[output]).as_numpy(f"y_{datatype}")
    wanted = TYPES[datatype][1]
    if datatype == "BYTES" and not binary:
        wanted = np.array([text.decode() for text in wanted], np.object_)
    assert found.dtype == wanted.dtype
    assert found.tolist() == wanted.tolist()


def test_an_error_carries_status_and_message(pair: triton.InferenceServerClient) -> None:
    wrong = [tensor("a", "FP64", A.astype(np.float64), binary=True), pair_inputs()[1]]
    with pytest.raises(InferenceServerException, match="FP64, the model expects FP32") as caught:
        pair.infer("pair", wrong)
    assert caught.value.status() == "400"


def test_an_unknown_model_is_an_error(pair: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="no model 'other'"):
        pair.infer("other", pair_inputs())


def test_compressed_requests_are_refused_with_415(pair: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="compressed") as caught:
        pair.infer("pair", pair_inputs(), request_compression_algorithm="gzip")
    assert caught.value.status() == "415"


def test_asynchronous_requests_are_answered(pair: triton.InferenceServerClient) -> None:
    result = pair.async_infer("pair", pair_inputs()).get_result()
    assert (result.as_numpy("sum") == A + B).all()

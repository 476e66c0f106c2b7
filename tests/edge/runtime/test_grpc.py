"""The protocol over gRPC: Triton's client, unmodified, and raw messages against a real process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import ml_dtypes
import numpy as np
import pytest
import tritonclient.grpc as triton
from onnx import TensorProto
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc
from tritonclient.utils import InferenceServerException

from edge_components.runtime.grpc.schema import MESSAGES

# Datatype: ONNX type, values, and the typed contents that carry them.
TYPES: dict[str, tuple[int, Any, str | None]] = {
    "BOOL": (TensorProto.BOOL, np.array([True, False, True]), "bool_contents"),
    "UINT8": (TensorProto.UINT8, np.array([0, 7, 255], np.uint8), "uint_contents"),
    "UINT16": (TensorProto.UINT16, np.array([0, 7, 65535], np.uint16), "uint_contents"),
    "UINT32": (TensorProto.UINT32, np.array([0, 7, 2**32 - 1], np.uint32), "uint_contents"),
    "UINT64": (TensorProto.UINT64, np.array([0, 7, 2**64 - 1], np.uint64), "uint64_contents"),
    "INT8": (TensorProto.INT8, np.array([-128, 0, 127], np.int8), "int_contents"),
    "INT16": (TensorProto.INT16, np.array([-32768, 0, 32767], np.int16), "int_contents"),
    "INT32": (TensorProto.INT32, np.array([-(2**31), 0, 2**31 - 1], np.int32), "int_contents"),
    "INT64": (TensorProto.INT64, np.array([-(2**63), 0, 2**63 - 1]), "int64_contents"),
    "FP16": (TensorProto.FLOAT16, np.array([-1.5, 0, 65504], np.float16), None),
    "FP32": (TensorProto.FLOAT, np.array([-1.5, 0.1, 3e38], np.float32), "fp32_contents"),
    "FP64": (TensorProto.DOUBLE, np.array([-1.5, 0.1, 1e300]), "fp64_contents"),
    "BF16": (TensorProto.BFLOAT16, np.array([1.0, -2.5, 0.0], ml_dtypes.bfloat16), None),
    "BYTES": (
        TensorProto.STRING,
        np.array([b"", "Straße".encode(), b"x"], np.object_),
        "bytes_contents",
    ),
}
A = np.array([[1, 2], [3, 4]], np.float32)
B = np.array([[10, 20], [30, 40]], np.float32)


@pytest.fixture(scope="module")
def folder(build: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("models")
    for name, (onnx_type, _, _) in TYPES.items():
        build.echo(found / f"echo_{name}.onnx", {name: onnx_type})
    build.scaling(found / "twice.onnx", 2.0)
    return found


@pytest.fixture(scope="module")
def served(
    module_start: Any, build: Any, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    pair = build.pair(tmp_path_factory.mktemp("m") / "pair.onnx")
    loads = [part for name in TYPES for part in ("--load", f"echo_{name}")]
    more = ("--grpc-port", "0", "--models", folder, "--max-body-bytes", "100000")
    return module_start("--model", pair, "--name", "pair", *more, *loads)


@pytest.fixture(scope="module")
def client(served: Any) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{served.grpc_port}") as found:
        yield found


@pytest.fixture(scope="module")
def stub(served: Any) -> Iterator[Any]:
    with grpc.insecure_channel(f"127.0.0.1:{served.grpc_port}") as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def tensor(name: str, datatype: str, array: Any) -> triton.InferInput:
    given = triton.InferInput(name, list(array.shape), datatype)
    given.set_data_from_numpy(array)
    return given


def pair_inputs() -> list[triton.InferInput]:
    return [tensor("a", "FP32", A), tensor("b", "FP32", B)]


def typed_request(datatype: str, values: list[Any], shape: list[int], **more: Any) -> Any:
    field = TYPES[datatype][2] or "fp32_contents"
    given = pb.ModelInferRequest.InferInputTensor(
        name=f"x_{datatype}",
        datatype=datatype,
        shape=shape,
        contents=pb.InferTensorContents(**{field: values}),
    )
    return pb.ModelInferRequest(model_name=f"echo_{datatype}", inputs=[given], **more)


def refused(stub: Any, request: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(request, timeout=20)
    return caught.value.code(), caught.value.details()


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_field_numbers_and_types_are_those_of_an_independent_implementation(name: str) -> None:
    theirs = pb.DESCRIPTOR
    outer, _, inner = name.partition(".")
    message = theirs.message_types_by_name[outer]
    if inner:
        message = message.nested_types_by_name[inner]
    known = {field.name: (field.number, field.type) for field in message.fields}
    ours = {field.name: (field.number, field.type) for field in MESSAGES[name].DESCRIPTOR.fields}
    ours.pop("properties", None)  # of the protocol's model metadata, which Triton lacks
    assert ours.items() <= known.items()


def test_server_and_models_are_live_and_ready(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("pair")
    assert client.is_model_ready("pair", "1")
    assert not client.is_model_ready("pair", "2")
    assert not client.is_model_ready("none")


def test_metadata_of_server_and_model(client: triton.InferenceServerClient) -> None:
    server = client.get_server_metadata()
    assert server.name == "edgectl-runtime"
    assert list(server.extensions) == ["binary_tensor_data", "statistics", "model_repository"]
    model = client.get_model_metadata("pair", as_json=True)
    assert model["versions"] == ["1"]
    assert model["inputs"][1] == {"name": "b", "datatype": "FP32", "shape": ["2", "2"]}
    assert [output["name"] for output in model["outputs"]] == ["sum", "diff"]


def test_inference_returns_all_outputs_and_the_id(client: triton.InferenceServerClient) -> None:
    result = client.infer("pair", pair_inputs(), request_id="42")
    assert result.get_response().id == "42"
    assert (result.as_numpy("sum") == A + B).all()
    assert (result.as_numpy("diff") == A - B).all()


def test_only_requested_outputs_come_back(client: triton.InferenceServerClient) -> None:
    outputs = [triton.InferRequestedOutput("diff")]
    result = client.infer("pair", pair_inputs(), model_version="1", outputs=outputs)
    assert (result.as_numpy("diff") == A - B).all()
    assert result.as_numpy("sum") is None


@pytest.mark.parametrize("datatype", sorted(TYPES))
def test_every_datatype_goes_through_raw_contents(
    client: triton.InferenceServerClient, datatype: str
) -> None:
    values = TYPES[datatype][1]
    result = client.infer(f"echo_{datatype}", [tensor(f"x_{datatype}", datatype, values)])
    found = result.as_numpy(f"y_{datatype}")
    assert found.tolist() == values.tolist()
    assert len(result.get_response().raw_output_contents) == 1


@pytest.mark.parametrize("datatype", sorted(name for name in TYPES if TYPES[name][2]))
def test_typed_contents_are_answered_with_typed_contents(stub: Any, datatype: str) -> None:
    values, field = TYPES[datatype][1].tolist(), TYPES[datatype][2]
    answer = stub.ModelInfer(typed_request(datatype, values, [3]))
    assert list(getattr(answer.outputs[0].contents, str(field))) == values
    assert not answer.raw_output_contents


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (typed_request("FP32", [1.0], [3]), "has 1 values in fp32_contents, shape [3] needs 3"),
        (typed_request("FP32", [1.0], [1, 1]), "shape [1, 1], the model expects [-1]"),
        (typed_request("INT8", [300], [1]), "a number that INT8 cannot hold"),
        (typed_request("BYTES", [b"\xff"], [1]), "not UTF-8"),
        (typed_request("FP16", [1.0], [1]), "FP16, which has to come as raw contents"),
        (typed_request("FP32", [1.0], [1], raw_input_contents=[b"1234"]), "both raw and typed"),
        (typed_request("FP32", [1.0], [1], raw_input_contents=[b"", b""]), "2 raw contents for 1"),
        (typed_request("FP32", [1.0], [1], id="x" * 5000), "the id is longer than 4096"),
        (pb.ModelInferRequest(model_name="pair"), "the request has no input 'a', 'b'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_request_is_an_invalid_argument(stub: Any, request_: Any, message: str) -> None:
    code, details = refused(stub, request_)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert message in details


def test_the_messages_of_errors_are_those_of_rest(
    client: triton.InferenceServerClient, served: Any
) -> None:
    given = {"name": "a", "datatype": "FP64", "shape": [1], "data": [1]}
    _, answer = served.json("POST", "/v2/models/pair/infer", {"inputs": [given]})
    with pytest.raises(InferenceServerException) as caught:
        client.infer("pair", [tensor("a", "FP64", np.zeros(1))])
    assert caught.value.message() == answer["error"]
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_an_unknown_model_is_not_found(stub: Any) -> None:
    code, details = refused(stub, pb.ModelInferRequest(model_name="none"))
    assert code is grpc.StatusCode.NOT_FOUND
    assert "no model 'none'" in details


def test_a_message_above_the_limit_is_refused(stub: Any) -> None:
    request = typed_request("FP32", [1.0], [1], raw_input_contents=[bytes(300_000)])
    assert refused(stub, request)[0] is grpc.StatusCode.RESOURCE_EXHAUSTED


def raw_refused(served: Any, path: str, data: bytes) -> tuple[grpc.StatusCode, str]:
    with grpc.insecure_channel(f"127.0.0.1:{served.grpc_port}") as channel:
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(path)(data, timeout=20)
        return caught.value.code(), caught.value.details()


@pytest.mark.parametrize("method", ["ModelInfer", "ServerLive", "RepositoryIndex"])
def test_bytes_that_are_no_message_are_an_invalid_argument(served: Any, method: str) -> None:
    code, details = raw_refused(served, f"/inference.GRPCInferenceService/{method}", b"\xff" * 100)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert details == f"the message is no {method}Request"


@pytest.mark.parametrize("path", ["/inference.GRPCInferenceService/Nothing", "/other.Service/X"])
def test_an_unknown_method_is_unimplemented(served: Any, path: str) -> None:
    assert raw_refused(served, path, b"")[0] is grpc.StatusCode.UNIMPLEMENTED


def test_a_small_message_that_unfolds_above_the_limit_is_refused(stub: Any) -> None:
    request = typed_request("FP32", [], [1], raw_input_contents=[bytes(3_900_000)])
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(request, timeout=20, compression=grpc.Compression.Gzip)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_compressed_message_below_the_limit_is_answered(stub: Any) -> None:
    request = typed_request("FP32", [1.5] * 3, [3])
    answer = stub.ModelInfer(request, timeout=20, compression=grpc.Compression.Gzip)
    assert list(answer.outputs[0].contents.fp32_contents) == [1.5] * 3


def test_fields_of_a_later_protocol_are_ignored(served: Any) -> None:
    data = typed_request("FP32", [1.5], [1]).SerializeToString() + b"\xfa\x3e\x03new"
    with grpc.insecure_channel(f"127.0.0.1:{served.grpc_port}") as channel:
        call = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            response_deserializer=pb.ModelInferResponse.FromString,
        )
        assert list(call(data, timeout=20).outputs[0].contents.fp32_contents) == [1.5]


def test_models_are_loaded_and_unloaded(client: triton.InferenceServerClient) -> None:
    client.load_model("twice")
    result = client.infer("twice", [tensor("x", "FP32", np.ones((1, 4), np.float32))])
    assert result.as_numpy("y").tolist() == [[2, 2, 2, 2]]
    states = {model.name: model.state for model in client.get_model_repository_index().models}
    assert states["twice"] == "READY"
    client.unload_model("twice")
    assert not client.is_model_ready("twice")


def test_the_deployed_model_stays(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="the deployed one") as caught:
        client.unload_model("pair")
    assert caught.value.status() == "StatusCode.FAILED_PRECONDITION"


def test_statistics_count_what_came_over_grpc(client: triton.InferenceServerClient) -> None:
    def count() -> int:
        [found] = client.get_inference_statistics("pair").model_stats
        return int(found.inference_stats.success.count)

    before = count()
    client.infer("pair", pair_inputs())
    assert count() == before + 1


def test_without_the_extra_the_error_names_it(tmp_path: Path) -> None:
    hide = "import sys; sys.modules['grpc'] = None"
    run = "from edge_components.runtime.main import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["serve", "--port", "0", "--grpc-port", "0", "--state-dir", str(tmp_path)]
    command = [sys.executable, "-c", f"{hide}; {run}", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "edgectl-edge-components[grpc]" in done.stderr


def test_grpc_is_not_imported_unless_asked_for() -> None:
    code = (
        "import sys; import edge_components.runtime.serve;"
        "sys.exit(any(name in sys.modules for name in ('grpc', 'google.protobuf')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

"""The express lane for gRPC: the same message as the careful way, and only for what fits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("grpc")

from edge_components.contract.hardware import PROFILES
from edge_components.runtime.grpc.express import answer_message, ride_of
from edge_components.runtime.grpc.schema import MESSAGES
from edge_components.runtime.grpc.tensors import decode_message, encode_message
from edge_components.runtime.load import load_file
from edge_components.runtime.model import Model
from edge_components.runtime.oip.messages import DecodeLimits
from edge_components.runtime.work import infer, ride

Request, Response = MESSAGES["ModelInferRequest"], MESSAGES["ModelInferResponse"]
PAIR = np.array([[1, 2], [3, 4]], dtype=np.float32)


def request(**changes: Any) -> Any:
    message = Request(model_name="p", id=changes.pop("id", ""))
    for factor, name in enumerate(changes.pop("names", ("a", "b")), 1):
        tensor = {"name": name, "datatype": "FP32", "shape": [2, 2]}
        message.inputs.add(**{**tensor, **changes})
        message.raw_input_contents.append((PAIR * factor).tobytes())
    return message


def careful(model: Model, message: Any) -> Any:
    return encode_message(infer(model, decode_message(message, model.signature, DecodeLimits())))


@pytest.fixture
def model(build: Any, tmp_path: Path) -> Model:
    """A model with both lanes for two inputs of two by two."""
    found = load_file(build.pair(tmp_path / "p.onnx"), "p", PROFILES["x86-64-cpu"])
    decoded = decode_message(request(), found.signature, DecodeLimits())
    arrays = infer(found, decoded).arrays
    found.open_lane(decoded.inputs, arrays)
    found.open_wide_lane(decoded.inputs, arrays)
    return found


@pytest.mark.parametrize("request_id", ["", "1", "ü" * 100, "x" * 200])
def test_the_answer_is_that_of_the_careful_way(model: Model, request_id: str) -> None:
    message = request(id=request_id)
    passed = answer_message(model.express, message)
    assert passed is not None
    assert Response.FromString(passed.message) == careful(model, message)
    for _ in range(2):
        task = ride_of(model, message)
        assert task is not None
        assert Response.FromString(ride(model, task).answer) == careful(model, message)


def test_each_answer_has_its_own_numbers(model: Model) -> None:
    first = answer_message(model.express, request())
    message = request()
    message.raw_input_contents[0] = (PAIR * 7).tobytes()
    second = answer_message(model.express, message)
    assert first is not None
    assert second is not None
    assert Response.FromString(first.message) == careful(model, request())
    assert Response.FromString(second.message) == careful(model, message)


def typed(message: Any) -> None:
    del message.raw_input_contents[:]
    for tensor in message.inputs:
        tensor.contents.fp32_contents.extend([1, 2, 3, 4])


def both(message: Any) -> None:
    message.inputs[0].contents.fp32_contents.extend([1, 2, 3, 4])


def shared_memory(message: Any) -> None:
    message.inputs[0].parameters["shared_memory_region"].string_param = "r"


def one_raw_too_few(message: Any) -> None:
    del message.raw_input_contents[1]


def short(message: Any) -> None:
    message.raw_input_contents[0] = b"1234"


def asks_for_one_output(message: Any) -> None:
    message.outputs.add(name="sum")


def parameters(message: Any) -> None:
    message.parameters["priority"].int64_param = 1


def nothing(message: Any) -> None:
    message.Clear()


@pytest.mark.parametrize(
    "damage",
    [
        *(typed, both, shared_memory, one_raw_too_few),
        *(short, asks_for_one_output, parameters, nothing),
    ],
)
def test_what_is_not_as_before_is_left_to_the_careful_way(
    model: Model, damage: Callable[[Any], None]
) -> None:
    message = request()
    damage(message)
    assert answer_message(model.express, message) is None
    assert ride_of(model, message) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"names": ("b", "a")},
        {"names": ("a", "a")},
        {"names": ("a", "c")},
        {"datatype": "FP64"},
        {"shape": [4]},
        {"id": "x" * 5000},
    ],
)
def test_other_names_types_and_shapes_are_left_to_the_careful_way(
    model: Model, changes: dict[str, Any]
) -> None:
    assert answer_message(model.express, request(**changes)) is None
    assert ride_of(model, request(**changes)) is None


def test_a_client_that_stays_sees_no_difference_when_its_lane_opens(
    start: Any, build: Any, tmp_path: Path
) -> None:
    import grpc  # noqa: PLC0415  # see importorskip

    served = start("--model", build.pair(tmp_path / "p.onnx"), "--name", "p", "--grpc-port", "0")
    with grpc.insecure_channel(f"127.0.0.1:{served.grpc_port}") as channel:
        infer_call = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=Request.SerializeToString,
            response_deserializer=Response.FromString,
        )
        answers = [infer_call(request(id="7"), timeout=20) for _ in range(12)]
    assert all(answer == answers[0] for answer in answers)
    np.testing.assert_array_equal(
        np.frombuffer(answers[0].raw_output_contents[0], np.float32).reshape(2, 2), PAIR * 3
    )
    assert served.metric("edge_inference_requests_total") == 12

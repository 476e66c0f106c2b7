"""A thousand broken requests to every endpoint of one process: no fault of ours, and no growth."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import malformed
import malformed_client
import pytest
from onnx import TensorProto


@pytest.fixture(scope="module")
def served(module_start: Any, build: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("models")
    build.scaling(folder / "twice.onnx", 2.0)
    build.identity(folder / "cube.onnx", TensorProto.FLOAT, ["a", "b", "c"])
    build.identity(folder / "words.onnx", TensorProto.STRING, ["n"])
    build.identity(folder / "small.onnx", TensorProto.INT8, ["n"])
    build.identity(folder / "brain.onnx", TensorProto.BFLOAT16, ["n"])
    more = ("--load", "*", "--grpc-port", "0", "--max-body-bytes", "300000")
    return module_start("--models", folder, *more)


def check_rest(port: int, endpoint: str, seed: str, count: int) -> None:
    for number, data in enumerate(malformed.rest_requests(seed, endpoint, count)):
        got = malformed_client.exchange(port, data)
        faults = malformed_client.faults(got)
        assert not faults, f"{endpoint} {seed} {number}: {data[:2000]!r}"


def check_grpc(channel: Any, method: str, seed: str, count: int) -> None:
    call = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
    waiting: list[tuple[int, bytes, Any]] = []
    for number, data in enumerate(malformed.grpc_messages(seed, method, count)):
        waiting.append((number, data, call.future(data, timeout=30)))
        if len(waiting) >= 16:
            settle(method, seed, waiting)
    settle(method, seed, waiting)


def settle(method: str, seed: str, waiting: list[tuple[int, bytes, Any]]) -> None:
    for number, data, future in waiting:
        error = future.exception()
        if error is not None:
            where = f"{method} {seed} {number}: {data[:500]!r} got {error.details()}"
            assert error.code() in malformed_client.CODES, where
    waiting.clear()


def still_right(served: Any) -> bool:
    """Whether every model answers right, of old and of new form."""
    for model, (datatype, shape, data) in malformed.INPUTS.items():
        given = {"name": "x", "datatype": datatype, "shape": shape, "data": data}
        status, answer = served.json("POST", f"/v2/models/{model}/infer", {"inputs": [given]})
        factor = 2 if model == "twice" else 1
        assert status == 200, answer
        assert answer["outputs"][0]["data"] == [value * factor for value in data]
    return True


def rss(served: Any) -> int:
    pages = Path(f"/proc/{served.process.pid}/statm").read_text().split()[1]
    return int(pages) * 4096


def handles(served: Any) -> int:
    return len(list(Path(f"/proc/{served.process.pid}/fd").iterdir()))


@pytest.fixture(scope="module")
def channel(served: Any) -> Any:
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{served.grpc_port}", options) as found:
        yield found


@pytest.mark.parametrize("endpoint", sorted(malformed.REST))
def test_broken_rest_requests_are_the_clients_fault(served: Any, endpoint: str) -> None:
    check_rest(served.port, endpoint, "a", 100)
    assert still_right(served)


@pytest.mark.parametrize("method", sorted(malformed.METHODS))
def test_broken_grpc_messages_are_the_clients_fault(served: Any, channel: Any, method: str) -> None:
    check_grpc(channel, method, "a", 100)
    assert still_right(served)


def test_bytes_that_are_no_http_2_leave_grpc_as_it_is(served: Any, channel: Any) -> None:
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    for number, data in enumerate(malformed.rest_requests("h2", "infer", 50)):
        malformed_client.exchange(served.grpc_port, preface * (number % 2) + data)
    check_grpc(channel, "ServerLive", "h2", 1)
    assert served.process.poll() is None


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_thousand_to_every_endpoint_leave_process_and_memory_as_they_were(
    served: Any, channel: Any
) -> None:
    def half(seed: str) -> None:
        for endpoint in malformed.REST:
            check_rest(served.port, endpoint, seed, 500)
        for method in malformed.METHODS:
            check_grpc(channel, method, seed, 500)
        assert still_right(served)

    half("first")
    memory, files = rss(served), handles(served)
    half("second")
    assert rss(served) - memory < 8 << 20
    until_at_most(lambda: handles(served), files + 2)
    assert served.process.poll() is None


def until_at_most(what: Callable[[], int], most: int) -> None:
    """Poll: a connection that was just closed may still be counted."""
    for _ in range(400):
        if what() <= most:
            return
        socket.socketpair()[0].close()
    raise AssertionError(f"{what()} is more than {most}")

"""Inference by others: a gateway that is a real runtime, deadlines, the breaker, the fall-back."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from certificates import Authority

from edge_components.contract.package import TensorSpec
from edge_components.pipeline.oip_client import Described, decode, encode
from edge_components.runtime.oip.messages import ProtocolError

ARGMAX = [{"op": "argmax"}]


def remote(url: str, **more: Any) -> dict[str, Any]:
    return {
        "url": url,
        "model": "plates",
        "deadline_s": 5,
        "retry_s": 0.1,
        "max_retry_s": 0.1,
        **more,
    }


def test_a_device_without_a_model_asks_the_gateway_with_its_token(
    bench: Any, parts: Any, serve: Any, make_model: Any, tmp_path: Any
) -> None:
    token = tmp_path / "token"
    token.write_text("0123456789abcdef")
    gateway = serve("--model", make_model(5.0), "--name", "plates", "--token-file", token)
    asked = {"endpoint": "gateway", "model": "plates", "deadline_s": 5}
    bench.use(
        {"source": parts.inbox, "remote": asked, "sink": parts.answers},
        None,
        endpoints={"gateway": {"url": gateway.url, "token_file": str(token)}},
    )
    bench.drop("a.json", [1, 2, 3, 4])
    found = bench.answer("a.json")
    assert found["answer"]["outputs"]["y"] == [[5, 10, 15, 20]]
    assert (found["from"], found["model"]) == ("remote", "plates")
    assert bench.told.sources == ["pipeline-remote"]
    assert bench.counted("remote_answered") == 1


def test_a_gateway_that_wants_a_certificate_gets_the_devices_and_is_verified(
    bench: Any, parts: Any, serve: Any, make_model: Any, tmp_path: Path, until: Any
) -> None:
    folder = tmp_path / "ca"
    folder.mkdir()
    authority = Authority(folder)
    (server, server_key), (client, client_key) = authority.issue("gw"), authority.issue("d1")
    gateway = serve(
        *("--model", make_model(5.0), "--name", "plates", "--client-ca", authority.path),
        *("--tls-cert", server, "--tls-key", server_key),
    )
    url = f"https://127.0.0.1:{gateway.port}"
    mine = {"url": url, "certificate": str(client), "key": str(client_key)}
    endpoints = {"trusted": {**mine, "ca": str(authority.path)}, "unknown": mine}

    def use(name: str) -> None:
        asked = {"endpoint": name, "model": "plates", "deadline_s": 5, "retry_s": 0.1}
        pipeline = {"source": parts.inbox, "remote": asked, "sink": parts.answers}
        bench.use(pipeline, None, endpoints=endpoints)

    use("unknown")
    bench.drop("a.json", [1, 2, 3, 4])
    until(lambda: bench.counted("remote_failed") >= 1)
    assert "SSLError" in bench.told.text()
    use("trusted")
    assert bench.answer("a.json")["answer"]["outputs"]["y"] == [[5, 10, 15, 20]]


def test_readings_wait_for_a_gateway_that_is_away(
    bench: Any, parts: Any, serve: Any, make_model: Any, until: Any
) -> None:
    gateway = serve("--model", make_model(5.0), "--name", "plates")
    bench.use({"source": parts.inbox, "remote": remote(gateway.url), "sink": parts.answers}, None)
    bench.drop("a.json", [1, 2, 3, 4])
    bench.answer("a.json")
    gateway.kill()
    bench.drop("b.json", [1, 2, 3, 4])
    until(lambda: bench.counted("remote_failed") >= 1)
    again = serve("--model", make_model(6.0), "--name", "plates", "--port", str(gateway.port))
    assert bench.answer("b.json")["answer"]["outputs"]["y"] == [[6, 12, 18, 24]]
    assert again.process.poll() is None
    assert not (bench.folder / "inbox/failed").exists()
    assert bench.told.text().count("NewConnectionError") == 1


def test_a_pipeline_that_does_not_wait_sets_readings_aside(
    bench: Any, parts: Any, until: Any
) -> None:
    asked = remote("http://127.0.0.1:1", when_down="fail")
    bench.use({"source": parts.inbox, "remote": asked, "sink": parts.answers}, None)
    bench.drop("a.json", [1, 2, 3, 4])
    until((bench.folder / "inbox/failed/a.json").exists)


def test_a_change_of_release_does_not_wait_for_a_dead_gateway(
    bench: Any, parts: Any, make_model: Any, until: Any
) -> None:
    asked = remote("http://127.0.0.1:1")
    bench.use({"source": parts.inbox, "remote": asked, "sink": parts.answers}, None)
    bench.drop("a.json", [1, 2, 3, 4])
    until(lambda: bench.counted("remote_failed") >= 1)
    bench.use({"source": parts.inbox, "sink": parts.answers}, make_model(3.0))
    assert bench.answer("a.json")["answer"]["outputs"]["y"] == [[3, 6, 9, 12]]


def test_the_cloud_is_asked_only_where_the_device_is_not_sure(
    bench: Any, parts: Any, serve: Any, make_model: Any
) -> None:
    cloud = serve("--model", make_model(100.0), "--name", "plates")
    pipeline = {
        "source": parts.inbox,
        "fallback": {**remote(cloud.url), "confidence_below": 0.6},
        "postprocess": ARGMAX,
        "sink": parts.answers,
    }
    bench.use(pipeline, make_model(1.0))
    bench.drop("sure.json", [0, 0.7, 0, 0])
    bench.drop("unsure.json", [0, 0, 0.5, 0])
    assert bench.answer("sure.json")["answer"]["score"] == pytest.approx(0.7)
    unsure = bench.answer("unsure.json")
    assert (unsure["answer"]["score"], unsure["from"]) == (pytest.approx(50), "remote")
    assert bench.counted("remote_asked") == 1
    assert bench.counted("fallback_remote") == 1


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    held.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        for one in held:
            one.close()
    thread.join(10)


def test_a_dead_cloud_costs_a_few_deadlines_and_the_local_answer_stands(
    bench: Any, parts: Any, make_model: Any, silent: str
) -> None:
    fallback = {**remote(silent), "confidence_below": 0.9, "deadline_s": 0.05, "failures": 2}
    pipeline = {
        "source": parts.inbox,
        "fallback": {**fallback, "retry_s": 600, "max_retry_s": 600},
        "postprocess": ARGMAX,
        "sink": parts.answers,
    }
    bench.use(pipeline, make_model(1.0))
    for number in range(6):
        bench.drop(f"{number}.json", [0, 0.5, 0, 0])
        assert bench.answer(f"{number}.json")["answer"]["index"] == 1
    assert bench.counted("remote_asked") == 2
    assert bench.counted("remote_skipped") == 4
    assert bench.counted("fallback_local") == 6


def test_a_fallback_without_a_score_is_told(
    bench: Any, parts: Any, make_model: Any, until: Any
) -> None:
    fallback = {**remote("http://127.0.0.1:1"), "confidence_below": 0.5}
    bench.use({"source": parts.inbox, "fallback": fallback, "sink": parts.answers}, make_model())
    bench.drop("a.json", [1, 2, 3, 4])
    until(lambda: "fallback needs a step that gives a score" in bench.told.text())


def test_a_reading_that_the_remote_refuses_fails_without_blame_for_the_remote(
    bench: Any, parts: Any, serve: Any, make_model: Any, until: Any
) -> None:
    gateway = serve("--model", make_model(5.0), "--name", "plates")
    bench.use({"source": parts.inbox, "remote": remote(gateway.url), "sink": parts.answers}, None)
    bench.drop("a.json", [1, 2, 3])
    until((bench.folder / "inbox/failed/a.json").exists)
    assert "has shape [1, 3]" in bench.told.text()
    assert bench.counted("remote_failed") == 0


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("datatype", ["FP32", "INT64", "UINT8", "BOOL", "BYTES"])
def test_a_request_says_what_it_holds(binary: bool, datatype: str) -> None:
    spec = TensorSpec(name="x", datatype=datatype, shape=(-1, 2))
    array = np.array([["a", "b"]], dtype=object)
    if datatype != "BYTES":
        array = np.array([[1, 0]]).astype(
            {"FP32": "f4", "INT64": "i8", "UINT8": "u1"}.get(datatype, "?")
        )
    body, length = encode(array, Described("m", "1", spec, binary))
    head = msgspec.json.decode(body[:length])
    (tensor,) = head["inputs"]
    assert (tensor["datatype"], tensor["shape"]) == (datatype, [1, 2])
    answer = {"outputs": [tensor]}
    encoded = msgspec.json.encode(answer)
    tail = b"" if length is None else body[length:]
    found = decode(encoded + tail, str(len(encoded)) if binary else None)
    assert found.arrays[0].tolist() == array.tolist()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"{}",
        b'{"outputs": [{"name": "y", "datatype": "FP32", "shape": [2], "data": [1]}]}',
        b'{"outputs": [{"name": "y", "datatype": "FP33", "shape": [1], "data": [1]}]}',
        b'{"outputs": [{"name": "y", "datatype": "FP32", "shape": [-1], "data": []}]}',
        (
            b'{"outputs": [{"name": "y", "datatype": "FP32", "shape": [1],'
            b' "parameters": {"binary_data_size": 4}}]}'
        ),
        (
            b'{"outputs": [{"name": "y", "datatype": "FP32", "shape": [1],'
            b' "parameters": {"binary_data_size": "x"}}]}'
        ),
    ],
)
def test_an_answer_that_breaks_the_protocol_is_refused(answer: bytes) -> None:
    with pytest.raises((ProtocolError, msgspec.MsgspecError, ValueError)):
        decode(answer, None)

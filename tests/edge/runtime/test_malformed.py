"""Random inference requests against a real process: never a 5xx, never its end, no growth."""

from __future__ import annotations

import http.client
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=8)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)
TENSOR = st.fixed_dictionaries(
    {},
    optional={
        "name": st.one_of(st.just("x"), JSON),
        "datatype": st.one_of(st.sampled_from(["FP32", "INT8", "BYTES", "?"]), JSON),
        "shape": st.one_of(
            st.just([1, 4]), st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20), JSON
        ),
        "data": st.one_of(st.just([1, 2, 3, 4]), st.lists(st.floats(), max_size=5), JSON),
        "parameters": st.one_of(st.fixed_dictionaries({"binary_data_size": JSON}), JSON),
    },
)
REQUEST = st.fixed_dictionaries(
    {},
    optional={
        "id": JSON,
        "inputs": st.one_of(st.lists(TENSOR, max_size=3), JSON),
        "outputs": st.one_of(
            st.lists(st.fixed_dictionaries({"name": st.one_of(st.just("y"), JSON)}), max_size=3),
            JSON,
        ),
        "parameters": JSON,
    },
)


@pytest.fixture(scope="module")
def served(module_start: Any, build: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path: Path = build.scaling(tmp_path_factory.mktemp("m") / "m.onnx", 2.0)
    return module_start("--model", path, "--name", "m")


@pytest.fixture(scope="module")
def connection(served: Any) -> Any:
    client = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    yield client
    client.close()


def ask(connection: Any, body: bytes, headers: dict[str, str]) -> int:
    connection.request("POST", "/v2/models/m/infer", body, headers)
    answer = connection.getresponse()
    data = answer.read()
    if answer.status >= 400:
        assert list(json.loads(data)) == ["error"]
    found: int = answer.status
    return found


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(document=REQUEST)
def test_any_json_is_answered_or_refused_as_the_clients_fault(
    connection: Any, document: Any
) -> None:
    assert ask(connection, json.dumps(document).encode(), {}) in {200, 400}


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    document=REQUEST,
    tail=st.binary(max_size=40),
    length=st.one_of(st.none(), st.integers(0, 400)),
)
def test_any_binary_request_is_answered_or_refused_as_the_clients_fault(
    connection: Any, document: Any, tail: bytes, length: int | None
) -> None:
    head = json.dumps(document).encode()
    size = len(head) if length is None else length
    headers = {"Inference-Header-Content-Length": str(size)}
    assert ask(connection, head + tail, headers) in {200, 400}


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"inputs":' + b"[" * 30_000,
        b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":' + b"[" * 50_000,
        b'{"x":' + b"[" * 20_000 + b"]" * 20_000 + b',"inputs":[]}',
        b'{"inputs":[' + b",".join([b'{"name":"x","shape":[],"datatype":""}'] * 5000) + b"]}",
        b'{"inputs":[{"name":"x","datatype":"FP32","shape":[4611686018427387904,4],"data":[]}]}',
        b'{"id":"' + b"a" * 60_000 + b'","inputs":[]}',
        b"\xff\xfe{}",
    ],
    ids=["arrays", "inputs", "data", "unknown", "tensors", "shape", "id", "utf-16"],
)
def test_bombs_are_refused(connection: Any, body: bytes) -> None:
    assert ask(connection, body, {}) == 400


def test_a_thousand_refused_requests_do_not_grow_memory(served: Any, connection: Any) -> None:
    chooser = random.Random(5)

    def thousand() -> int:
        for _ in range(1000):
            ask(connection, chooser.randbytes(chooser.randrange(1, 2000)), {})
        return int(served.control("GET", "/control/status")[1]["rss_bytes"])

    first = thousand()
    assert thousand() - first < 4 << 20

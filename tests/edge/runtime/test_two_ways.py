"""A request on the express lane and off it get the same bytes, broken or not.

A request whose head was seen before may take the quick way; one with a header that was never seen
takes the careful one.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import malformed
import pytest

MODELS = {"infer": "twice", "infer bytes": "small"}
LENGTH = re.compile(rb"\r\nContent-Length: (\d+)\r\n")


@pytest.fixture(scope="module")
def port(module_start: Any, build: Any, tmp_path_factory: pytest.TempPathFactory) -> int:
    folder: Path = tmp_path_factory.mktemp("models")
    build.scaling(folder / "twice.onnx", 2.0)
    build.identity(folder / "small.onnx", 3, ["n"])
    found: int = module_start("--models", folder, "--load", "*").port
    return found


class Client:
    """One connection that stays, unless the server ends it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def ask(self, model: str, body: bytes, more: bytes) -> bytes:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=30)
        start = f"POST /v2/models/{model}/infer HTTP/1.1\r\nHost: x\r\n".encode()
        self._socket.sendall(start + more + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._socket.recv(65536)
        head, _, answer = data.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        assert length is not None
        while len(answer) < int(length[1]):
            answer += self._socket.recv(65536)
        if b"Connection: close" in head:
            self.close()
        return re.sub(rb"Date: [^\r]+", b"", head) + answer

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


@pytest.fixture
def client(port: int) -> Iterator[Client]:
    found = Client(port)
    yield found
    found.close()


def good(model: str, number: int) -> bytes:
    datatype, shape, data = malformed.INPUTS[model]
    given = {"name": "x", "datatype": datatype, "shape": shape, "data": data}
    return json.dumps({"id": str(number), "inputs": [given]}).encode()


@pytest.mark.parametrize("endpoint", sorted(MODELS))
def test_broken_requests_get_the_same_answer_both_ways(client: Client, endpoint: str) -> None:
    model = MODELS[endpoint]
    for number in range(20):
        assert b" 200 " in client.ask(model, good(model, number), b"")
    statuses = set()
    for number, (body, line) in enumerate(malformed.bodies("ways", endpoint, 600)):
        client.ask(model, body, line)  # from now on the head is known
        quick = client.ask(model, body, line)
        careful = client.ask(model, body, line + b"X-Never: %d\r\n" % number)
        assert quick == careful, body[:2000]
        statuses.add(quick[9:12])
    assert {b"200", b"400"} <= statuses

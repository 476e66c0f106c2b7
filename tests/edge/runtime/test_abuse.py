"""Polite clients beside abusers of one real runtime: they are answered, and nothing is left."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from certificates import Authority
from tritonclient.utils import InferenceServerException

MOST = 40
BODY = json.dumps(
    {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}
).encode()
INFER = b"POST /v2/models/model/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(BODY)
LARGE = json.dumps(
    {"inputs": [{"name": "x", "datatype": "FP32", "shape": [50_000, 4], "data": [0.1] * 200_000}]}
).encode()
# What an abuser does with a connection that it has opened.
ABUSE: dict[str, Callable[[socket.socket], None]] = {
    "says nothing": lambda _: None,
    "begins a head": lambda s: s.sendall(b"GET /v2 HTTP/1.1\r\nHost: x\r\nA: "),
    "begins a body": lambda s: s.sendall(INFER + BODY[:20]),
    "begins a large body": lambda s: s.sendall(
        b"POST /v2/models/model/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 60000000\r\n\r\n{"
    ),
    "begins chunks": lambda s: s.sendall(
        b"POST /v2/models/model/infer HTTP/1.1\r\nHost: x\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n5\r\n{"
    ),
    "does not read": lambda s: s.sendall(
        b"POST /v2/models/model/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b"
        % (len(LARGE), LARGE)
    ),
    "closes its side": lambda s: s.shutdown(socket.SHUT_WR),
    "resets": lambda s: (
        s.sendall(INFER + BODY),
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"),
        s.close(),
    )[0],
}


@pytest.fixture(scope="module")
def model(build: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found: Path = build.scaling(tmp_path_factory.mktemp("m") / "m.onnx", 2.0)
    return found


@pytest.fixture(scope="module")
def served(module_start: Any, model: Path) -> Any:
    return module_start("--model", model, "--grpc-port", "0", "--max-connections", str(MOST))


def opened(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=30)


def is_answered(connection: http.client.HTTPConnection) -> bool:
    """Whether an inference is answered right; one that has just come may be told to come back.

    408 is for one that is so slow itself, on a busy machine, that it had to make room.
    """
    connection.request("POST", "/v2/models/model/infer", BODY)
    answer = connection.getresponse()
    data = answer.read()
    assert answer.status in {200, 408, 503}, data
    if answer.status == 200:
        assert json.loads(data)["outputs"][0]["data"] == [2.0, 4.0, 6.0, 8.0]
    return answer.status == 200


def until(what: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def newcomer_is_answered(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        return is_answered(connection)
    except (ConnectionResetError, BrokenPipeError, http.client.RemoteDisconnected):
        return False  # told to go while it was still sending
    finally:
        connection.close()


def is_nearly_alone(served: Any) -> bool:
    """Whether the abusers are gone; as long as they are not, there may be no room to ask."""
    try:
        status, _, page = served.request("GET", "/metrics")
    except (OSError, http.client.HTTPException):
        return False
    return status == 200 and re.search(rb"^edge_connections [012]$", page, re.MULTILINE) is not None


@pytest.mark.parametrize("abuse", sorted(ABUSE))
def test_a_newcomer_is_answered_beside_more_abusers_than_there_is_room(
    served: Any, abuse: str
) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(MOST + 5):
            with contextlib.suppress(ConnectionError):  # it may have been told to go
                ABUSE[abuse](stack.enter_context(opened(served.port)))
        until(lambda: newcomer_is_answered(served.port))
    until(lambda: is_nearly_alone(served))


@pytest.mark.parametrize("abuse", sorted(set(ABUSE) - {"says nothing"}))
def test_who_is_there_is_answered_beside_abusers(served: Any, abuse: str) -> None:
    polite = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    with contextlib.ExitStack() as stack:
        for _ in range(MOST // 2):
            ABUSE[abuse](stack.enter_context(opened(served.port)))
            assert is_answered(polite)
    polite.close()


def test_a_polite_client_is_served_beside_thousands_of_pipelined_requests(served: Any) -> None:
    polite = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    with opened(served.port) as greedy:
        greedy.settimeout(60)
        greedy.sendall((INFER + BODY) * 300)  # as much as goes without reading
        answers = 0
        for _ in range(10):
            assert is_answered(polite)
        greedy.sendall(INFER.replace(b"Host", b"Connection: close\r\nHost") + BODY)
        while chunk := greedy.recv(1 << 16):
            answers += chunk.count(b"HTTP/1.1 200")
    polite.close()
    assert answers >= 300  # an answer's first line may lie across two pieces, so no more is said


@pytest.mark.slow
def test_grpc_ends_connections_that_never_speak(served: Any) -> None:
    with opened(served.grpc_port) as silent:
        silent.settimeout(60)
        while silent.recv(1000):  # the server's settings, then its end
            pass


def test_the_runtime_allows_itself_files_for_its_connections(served: Any) -> None:
    limits = Path(f"/proc/{served.process.pid}/limits").read_text()
    [line] = [found for found in limits.splitlines() if found.startswith("Max open files")]
    soft, hard = (int(word) for word in line.split()[3:5])
    assert soft >= min(hard, 4 * MOST + 1024)


def test_bodies_that_are_announced_and_do_not_come_take_no_memory(
    module_start: Any, model: Path
) -> None:
    served = module_start("--model", model)
    head = b"POST /v2/models/model/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 60000000\r\n\r\n"
    before = served.metric("process_resident_memory_bytes")
    with contextlib.ExitStack() as stack:
        announced = [stack.enter_context(opened(served.port)) for _ in range(4)]
        for connection in announced:
            connection.sendall(head + b"{" * 1000)
        until(lambda: served.metric("edge_connections") >= len(announced))
        assert newcomer_is_answered(served.port)
        assert served.metric("process_resident_memory_bytes") - before < 30_000_000


def test_grpc_is_served_beside_connections_that_say_nothing(served: Any) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            silent = stack.enter_context(opened(served.grpc_port))
            silent.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        with triton.InferenceServerClient(f"127.0.0.1:{served.grpc_port}") as client:
            given = triton.InferInput("x", [1, 4], "FP32")
            given.set_data_from_numpy(np.ones((1, 4), np.float32))
            assert client.infer("model", [given]).as_numpy("y").tolist() == [[2, 2, 2, 2]]


# -- TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def mutual(module_start: Any, model: Path, authority: Authority) -> Any:
    certificate, key = authority.issue("server")
    pair = ("--tls-cert", certificate, "--tls-key", key, "--client-ca", authority.path)
    more = ("--grpc-port", "0", "--max-connections", str(MOST))
    return module_start("--model", model, *pair, *more)


def trusting(authority: Authority, own: tuple[Path, Path] | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.path)
    if own is not None:
        context.load_cert_chain(*own)
    return context


def tls_answers(mutual: Any, authority: Authority, own: tuple[Path, Path] | None) -> bool:
    context = trusting(authority, own)
    client = http.client.HTTPSConnection("127.0.0.1", mutual.port, timeout=30, context=context)
    try:
        return is_answered(client)
    finally:
        client.close()


@pytest.fixture
def polite_tls(mutual: Any, authority: Authority) -> Iterator[Callable[[], bool]]:
    own = authority.issue("polite")
    yield lambda: tls_answers(mutual, authority, own)


def test_plain_bytes_on_the_tls_port_get_nothing_and_harm_nobody(
    mutual: Any, polite_tls: Callable[[], bool]
) -> None:
    for port in (mutual.port, mutual.grpc_port):
        for data in (b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\xff\xff", bytes(5000)):
            with opened(port) as connection, contextlib.suppress(ConnectionError):
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                assert b"HTTP" not in connection.recv(1000)
    assert polite_tls()


def test_handshakes_that_never_end_harm_nobody(mutual: Any, polite_tls: Callable[[], bool]) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(2 * MOST):
            stack.enter_context(opened(mutual.port)).sendall(
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"
            )
        assert polite_tls()


@pytest.mark.parametrize("case", ["of another authority", "expired", "none"])
def test_a_client_certificate_that_is_not_good_opens_neither_door(
    mutual: Any, authority: Authority, tmp_path: Path, case: str
) -> None:
    own = {
        "of another authority": lambda: Authority(tmp_path).issue("stranger"),
        "expired": lambda: authority.issue("expired", days=-2),
        "none": lambda: None,
    }[case]()
    with pytest.raises((OSError, http.client.HTTPException)):
        tls_answers(mutual, authority, own)
    pair = () if own is None else (own[1].read_bytes(), own[0].read_bytes())
    credentials = grpc.ssl_channel_credentials(authority.path.read_bytes(), *pair)
    address = f"127.0.0.1:{mutual.grpc_port}"
    with (
        triton.InferenceServerClient(address, ssl=True, creds=credentials) as client,
        pytest.raises(InferenceServerException),
    ):
        client.is_server_live(client_timeout=10)


def test_old_tls_is_not_spoken(mutual: Any, authority: Authority) -> None:
    context = trusting(authority, authority.issue("old"))
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    client = http.client.HTTPSConnection("127.0.0.1", mutual.port, timeout=30, context=context)
    with pytest.raises((OSError, http.client.HTTPException)):
        client.request("GET", "/v2/health/live")
    client.close()


# -- guessing


def test_every_wrong_token_gets_the_same_answer(
    module_start: Any, model: Path, tmp_path: Path
) -> None:
    token = "a-token-of-the-tests"
    path = tmp_path / "token"
    path.write_text(token)
    served = module_start("--model", model, "--token-file", path)
    guesses = [
        "",
        "a",
        token[:-1],
        token[:-1] + "t",
        token + "a",
        token.upper(),
        "ü" * 20,
        "x" * 9000,
    ]
    found = set()
    for guess in guesses:
        for target in ("/v2/models/model", "/v2/models/none", "/nothing"):
            connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
            value = f"Bearer {guess}".encode()
            connection.request("GET", target, headers={"Authorization": value})
            answer = connection.getresponse()
            kept = [line for line in answer.getheaders() if line[0] != "Date"]
            found.add((answer.status, tuple(kept), answer.read()))
            connection.close()
    assert len(found) == 1
    assert found.pop()[0] == 401

"""Large bodies, which go from the socket into buffers that are used again."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from edge_components.runtime.bodies import Buffers
from edge_components.runtime.http import Limits, Request, Response

SIZE = 300_000


class Digests:
    """Answers with the digest of a body, at once or from a thread."""

    def __init__(self) -> None:
        self.frees_body = True
        self.go_on = threading.Event()
        self.slow = False
        self.seen: Callable[[Any], None] = len

    def __call__(self, request: Request) -> Response | asyncio.Future[Response]:
        if not self.slow:
            return self.answer(request)
        return asyncio.ensure_future(asyncio.to_thread(self._later, request))

    def answer(self, request: Request) -> Response:
        self.seen(request.body)
        return Response(200, [hashlib.sha256(request.body).hexdigest().encode()])

    def _later(self, request: Request) -> Response:
        assert self.go_on.wait(20)
        return self.answer(request)


@pytest.fixture
def digests() -> Digests:
    return Digests()


@pytest.fixture
def port(http_server: Any, digests: Digests) -> Iterator[int]:
    yield http_server.serve(lambda _: digests, Limits(max_buffered_bytes=4 * SIZE))
    digests.go_on.set()


def content(seed: int, size: int = SIZE) -> bytes:
    return hashlib.shake_256(bytes([seed])).digest(size)


def request(body: bytes) -> bytes:
    return b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def answers(connection: socket.socket, count: int) -> list[bytes]:
    received = b""
    while received.count(b"\r\n\r\n") < count or len(received.split(b"\r\n\r\n")[-1]) < 64:
        data = connection.recv(65536)
        assert data, received
        received += data
    return [part[:64] for part in received.split(b"\r\n\r\n")[1:]]


@pytest.mark.parametrize("pieces", [[1], [SIZE // 2], [70_000] * 3, [65_000, 1, 2, 3]])
def test_a_body_arrives_whole_in_whatever_pieces(port: int, pieces: list[int]) -> None:
    body = content(1)
    with connect(port) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        rest = request(body)
        for size in pieces:
            connection.sendall(rest[:size])
            rest = rest[size:]
        connection.sendall(rest)
        assert answers(connection, 1) == [digest(body)]


def test_requests_behind_a_large_body_are_answered_in_their_order(port: int) -> None:
    bodies = [content(1), b"small", content(2), content(3, 100), content(4, 90_000)]
    with connect(port) as connection:
        connection.sendall(b"".join(map(request, bodies)))
        assert answers(connection, len(bodies)) == [digest(body) for body in bodies]


def test_bodies_behind_the_same_head_are_answered_in_their_order(port: int) -> None:
    bodies = [content(seed) for seed in range(5)]
    with connect(port) as connection:
        connection.sendall(request(bodies[0]))
        assert answers(connection, 1) == [digest(bodies[0])]
        connection.sendall(b"".join(map(request, bodies)))
        assert answers(connection, len(bodies)) == [digest(body) for body in bodies]


@pytest.mark.parametrize("is_kept", [True, False])
@pytest.mark.parametrize("cut", [1, 30, 60, -SIZE - 1, -SIZE, 1 - SIZE, -1])
def test_the_same_head_again_may_come_in_pieces(
    port: int, digests: Digests, cut: int, is_kept: bool
) -> None:
    digests.frees_body = is_kept  # else there is no buffer to read head and body into
    with connect(port) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for seed in range(3):
            body = content(seed)
            whole = request(body)
            connection.sendall(whole)
            assert answers(connection, 1) == [digest(body)]
            connection.sendall(whole[:cut])
            time.sleep(0.02)  # so that it is read in pieces; whole it would pass as well
            connection.sendall(whole[cut:])
            assert answers(connection, 1) == [digest(body)]


@pytest.mark.parametrize("is_kept", [True, False])
def test_another_head_in_pieces_is_not_taken_for_the_same(
    port: int, digests: Digests, is_kept: bool
) -> None:
    digests.frees_body = is_kept
    large, small = request(content(1)), request(b"small")
    with connect(port) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for cut in (1, 10, len(small) - 5):
            for _ in range(2):
                connection.sendall(large)
                assert answers(connection, 1) == [digest(content(1))]
            connection.sendall(small[:cut])
            time.sleep(0.02)  # so that it is read in pieces
            connection.sendall(small[cut:])
            assert answers(connection, 1) == [digest(b"small")]


def test_the_next_request_may_begin_with_the_end_of_the_one_before(port: int) -> None:
    first, second = request(content(1)), request(b"small")
    with connect(port) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for more in (1, 2, 20):
            connection.sendall(first + second[:more])
            assert answers(connection, 1) == [digest(content(1))]
            connection.sendall(second[more:])
            assert answers(connection, 1) == [digest(b"small")]


def test_a_body_that_there_is_no_room_for_now_is_refused_behind_the_same_head(
    port: int, http_server: Any, build: Any
) -> None:
    with connect(port) as one:
        one.sendall(request(content(1)))
        assert answers(one, 1) == [digest(content(1))]
        others = [connect(port) for _ in range(4)]
        for other in others:
            other.sendall(request(content(2))[:200_000])
        build.until(lambda: http_server.server.buffered_bytes == 4 * SIZE)
        one.sendall(request(content(3))[:200_000])
        assert one.recv(65536).startswith(b"HTTP/1.1 503")
        for other in others:
            other.close()
    build.until(lambda: http_server.server.buffered_bytes == 0)


def test_a_buffer_that_is_used_again_shows_nothing_of_the_body_before(port: int) -> None:
    with connect(port) as connection:
        for seed, size in ((1, SIZE), (2, SIZE - 1), (3, SIZE - 60_000), (4, SIZE)):
            body = content(seed, size)
            connection.sendall(request(body))
            assert answers(connection, 1) == [digest(body)]


def test_bodies_that_arrive_at_once_do_not_mix(port: int, digests: Digests) -> None:
    digests.slow = True
    bodies = [content(seed) for seed in range(3)]
    connections = [connect(port) for _ in bodies]
    for step in range(0, SIZE + 200, 50_000):
        for connection, body in zip(connections, bodies, strict=True):
            connection.sendall(request(body)[step : step + 50_000])
    digests.go_on.set()
    for connection, body in zip(connections, bodies, strict=True):
        assert answers(connection, 1) == [digest(body)]
        connection.close()


def test_a_client_that_leaves_in_the_middle_gives_its_share_back(
    port: int, http_server: Any, build: Any
) -> None:
    with connect(port) as connection:
        connection.sendall(request(content(1))[:200_000])
        build.until(lambda: http_server.server.buffered_bytes == SIZE)
    build.until(lambda: http_server.server.buffered_bytes == 0)
    build.until(lambda: http_server.server.connections == 0)


def test_more_large_bodies_than_there_is_room_for_are_refused(port: int, http_server: Any) -> None:
    half = request(content(1))[:200_000]
    connections = [connect(port) for _ in range(4)]
    for connection in connections:
        connection.sendall(half)
    with connect(port) as one_more:
        one_more.sendall(half)
        assert one_more.recv(65536).startswith(b"HTTP/1.1 503")
    for connection in connections:
        connection.close()
    assert http_server.server.errors[503] == 1


def test_a_body_that_is_answered_while_others_arrive_is_not_overwritten(
    port: int, digests: Digests
) -> None:
    digests.slow = True
    first, second = content(1), content(2)
    with connect(port) as one, connect(port) as two:
        one.sendall(request(first))
        two.sendall(request(second))
        digests.go_on.set()
        assert answers(one, 1) == [digest(first)]
        assert answers(two, 1) == [digest(second)]


def test_the_body_of_an_endpoint_that_keeps_it_is_not_overwritten(
    port: int, digests: Digests
) -> None:
    kept: list[Any] = []
    digests.frees_body = False
    digests.seen = kept.append
    with connect(port) as connection:
        for seed in (1, 2, 3):
            connection.sendall(request(content(seed)))
            answers(connection, 1)
    assert [bytes(body) for body in kept] == [content(seed) for seed in (1, 2, 3)]


def with_tensors_at(body: bytes, place: int) -> bytes:
    head = request(b"")[: -len(b"0\r\n\r\n")] + b"%d\r\n" % len(body)
    return head + b"Inference-Header-Content-Length: %d\r\n\r\n" % place + body


@pytest.mark.parametrize("place", [0, 1, 63, 64, 165, 70_001])
def test_raw_tensors_begin_on_a_boundary(port: int, digests: Digests, place: int) -> None:
    addresses: list[int] = []
    digests.seen = lambda body: addresses.append(np.frombuffer(body, np.uint8).ctypes.data)
    with connect(port) as connection:
        for seed in (1, 2, 3):
            connection.sendall(with_tensors_at(content(seed), place))
            assert answers(connection, 1) == [digest(content(seed))]
    assert [(address + place) % 64 for address in addresses] == [0, 0, 0]


@pytest.mark.parametrize("cut", [1, 17, 39, 60, 61, 62])
def test_behind_a_large_body_another_head_is_understood_in_whatever_pieces(
    port: int, cut: int
) -> None:
    small = b"POST /another/path HTTP/1.1\r\nHost: h\r\nX-More: " + b"x" * 100
    small += b"\r\nContent-Length: 5\r\n\r\nhello"
    with connect(port) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(request(content(1)))
        assert answers(connection, 1) == [digest(content(1))]
        connection.sendall(small[:cut])
        connection.sendall(small[cut:])
        assert answers(connection, 1) == [digest(b"hello")]
        connection.sendall(request(content(2)) + small + request(content(3)))
        assert answers(connection, 3) == [digest(b) for b in (content(2), b"hello", content(3))]


# -- the buffers themselves


def test_a_buffer_comes_back_for_a_body_of_about_its_size() -> None:
    buffers = Buffers()
    first = buffers.take(200_000)
    buffers.give(first)
    assert buffers.take(150_000) is first
    assert buffers.take(150_000) is not first


def test_a_small_body_does_not_occupy_a_large_buffer() -> None:
    buffers = Buffers()
    large = buffers.take(1_000_000)
    buffers.give(large)
    assert buffers.take(70_000) is not large


def test_what_is_kept_is_bounded() -> None:
    buffers = Buffers()
    taken = [buffers.take(size) for size in (3 << 20, 3 << 20, 3 << 20, 20 << 20)]
    for buffer in taken:
        buffers.give(buffer)
    assert buffers.take(20 << 20) is not taken[3]
    again = [buffers.take(3 << 20) for _ in range(3)]
    assert sum(any(buffer is kept for kept in taken) for buffer in again) <= 2

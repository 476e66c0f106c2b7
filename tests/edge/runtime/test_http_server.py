"""The HTTP server against clients that are slow, greedy or hostile, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_components.runtime.http import (
    Head,
    HttpError,
    Limits,
    Request,
    Response,
    error_response,
    json_response,
)

FAST = Limits(
    max_head_bytes=2048,
    max_headers=20,
    max_body_bytes=200_000,
    max_buffered_bytes=300_000,
    max_connections=8,
    head_timeout_s=0.6,
    body_timeout_s=0.6,
    min_bytes_per_s=1 << 20,
    idle_timeout_s=1.0,
    write_timeout_s=1.0,
    requests_per_turn=4,
)


def resolver(head: Head) -> Any:
    def length(request: Request) -> Response:
        return json_response(200, {"bytes": len(request.body), "path": head.target})

    def slow(_: Request) -> asyncio.Future[Response]:
        async def later() -> Response:
            await asyncio.sleep(0.2)
            return json_response(200, {"slow": True})

        return asyncio.ensure_future(later())

    def broken(_: Request) -> Response:
        raise RuntimeError("a secret detail")

    def large(_: Request) -> Response:
        return Response(200, [b"x" * 4_000_000])

    paths = {"/length": length, "/slow": slow, "/broken": broken, "/large": large}
    return paths.get(head.target) or error_response(HttpError(404, "nothing"))


@pytest.fixture
def port(http_server: Any) -> int:
    found: int = http_server.serve(resolver, FAST)
    return found


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        yield connection


def read_all(connection: socket.socket) -> bytes:
    data = b""
    while chunk := _receive(connection):
        data += chunk
    return data


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except ConnectionResetError:
        return b""


def read_answer(connection: socket.socket) -> tuple[int, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        assert chunk, f"closed after {data!r}"
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    at = head.index(b"Content-Length: ") + 16
    length = int(head[at:].split(b"\r\n")[0])
    while len(body) < length:
        chunk = connection.recv(65536)
        assert chunk, f"closed after {len(body)} of {length} bytes"
        body += chunk
    assert len(body) == length, "more than one answer was read"
    return int(head[9:12]), body


def exchange(port: int, data: bytes) -> tuple[int, bytes]:
    with connected(port) as connection:
        connection.sendall(data)
        return read_answer(connection)


def post(body: bytes, path: str = "/length", headers: str = "") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def test_a_connection_serves_many_requests(port: int) -> None:
    with connected(port) as connection:
        for size in (0, 1, 5000, 100_000):
            connection.sendall(post(b"a" * size))
            assert read_answer(connection) == (200, b'{"bytes":%d,"path":"/length"}' % size)


def test_a_request_may_arrive_byte_by_byte(port: int) -> None:
    with connected(port) as connection:
        for byte in post(b"abc"):
            connection.sendall(bytes([byte]))
        assert read_answer(connection)[1] == b'{"bytes":3,"path":"/length"}'


def test_pipelined_requests_are_answered_in_order_also_behind_a_slow_one(port: int) -> None:
    requests = [post(b"", "/slow"), *(post(b"a" * n) for n in range(30))]
    with connected(port) as connection:
        connection.sendall(b"".join(requests))
        connection.shutdown(socket.SHUT_WR)
        answers = read_all(connection)
    sizes = [part.split(b",")[0] for part in answers.split(b'{"bytes":')[1:]]
    assert answers.index(b"slow") < answers.index(b"bytes")
    assert sizes == [str(n).encode() for n in range(30)]


def test_a_pipelining_client_does_not_starve_another(http_server: Any) -> None:
    handled: list[float] = []

    def work(_: Request) -> Response:
        end = time.perf_counter() + 0.001
        while time.perf_counter() < end:
            pass
        handled.append(end)
        return json_response(200, {})

    def find(head: Head) -> Any:
        return work if head.target == "/work" else resolver(head)

    port = http_server.serve(find, FAST)
    with connected(port) as greedy:
        greedy.sendall(post(b"", "/work") * 1000)
        assert exchange(port, post(b"ab"))[0] == 200
        assert len(handled) < 500
        greedy.shutdown(socket.SHUT_WR)
        assert read_all(greedy).count(b"HTTP/1.1 200") == 1000


def test_slowloris_gets_408(port: int) -> None:
    with connected(port) as connection:
        connection.sendall(b"GET /length HTTP/1.1\r\n")
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_dripping_header_bytes_do_not_extend_the_deadline(port: int) -> None:
    with connected(port) as connection:
        start = time.monotonic()
        connection.sendall(b"GET /length HTTP/1.1\r\nX: ")
        connection.settimeout(0.1)
        answer = b""
        while time.monotonic() - start < 8:
            try:
                connection.sendall(b"a")
                answer += connection.recv(4096)
                break
            except TimeoutError:
                continue
        assert b" 408 " in answer
        assert time.monotonic() - start < 4


def test_a_body_that_does_not_come_gets_408(port: int) -> None:
    with connected(port) as connection:
        connection.sendall(b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
        assert read_all(connection).startswith(b"HTTP/1.1 408 ")


def test_an_idle_connection_is_closed_without_a_word(port: int) -> None:
    with connected(port) as connection:
        connection.sendall(post(b""))
        read_answer(connection)
        assert read_all(connection) == b""


def test_a_client_that_does_not_read_is_dropped(http_server: Any) -> None:
    port = http_server.serve(resolver, FAST)
    with connected(port) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(post(b"", "/large") * 5)
        end = time.monotonic() + 10
        while http_server.server.connections and time.monotonic() < end:
            time.sleep(0.05)
        assert http_server.server.connections == 0


def replaced(**changes: Any) -> Limits:
    return msgspec.structs.replace(FAST, **changes)


@pytest.mark.parametrize("close", [False, True])
def test_a_slow_reader_gets_the_whole_of_a_large_answer(http_server: Any, close: bool) -> None:
    limits = replaced(write_timeout_s=1.0, min_bytes_per_s=1000)
    size = 40_000_000
    port = http_server.serve(lambda _: lambda _: Response(200, [b"x" * size]), limits)
    with connected(port) as connection:
        connection.sendall(post(b"", headers="Connection: close\r\n" if close else ""))
        found = 0
        while found < size:
            time.sleep(0.0025)  # slower than the deadlines, quicker than they ask for
            got = len(connection.recv(65536))
            assert got, found
            found += got


@pytest.mark.parametrize("size", [50_000, 8_000_000])
def test_a_client_that_asks_for_a_close_and_does_not_read_is_dropped(
    http_server: Any, size: int
) -> None:
    port = http_server.serve(lambda _: lambda _: Response(200, [b"x" * size]), FAST)
    with connected(port) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        connection.sendall(post(b"") * 100 + post(b"", headers="Connection: close\r\n"))
        gone(http_server)


def gone(http_server: Any, left: int = 0) -> None:
    """Wait until all connections but so many have ended."""
    end = time.monotonic() + 15
    while http_server.server.connections > left:
        assert time.monotonic() < end, "a connection did not end"
        time.sleep(0.02)


def test_a_client_that_does_not_read_a_quick_answer_is_not_taken_for_idle(
    http_server: Any,
) -> None:
    class Endpoint:
        def __call__(self, _: Request) -> Response:
            return Response(200, [])

        def quick(self, _head: Head, body: bytes, _date: bytes) -> bytes | None:
            return b"x" * 20_000_000 if body else None

    limits = replaced(write_timeout_s=0.5, idle_timeout_s=3600.0)
    port = http_server.serve(lambda _: Endpoint(), limits)
    with connected(port) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(post(b"1"))  # the head becomes known
        assert connection.recv(1) == b"H"
        connection.sendall(post(b"1"))
        gone(http_server)


def test_clients_that_do_not_read_are_dropped_when_they_hold_too_much(http_server: Any) -> None:
    limits = replaced(max_unread_bytes=40_000_000, write_timeout_s=60.0)
    port = http_server.serve(lambda _: lambda _: Response(200, [b"x" * 20_000_000]), limits)
    with contextlib.ExitStack() as stack:
        deaf = [stack.enter_context(connected(port)) for _ in range(6)]
        for connection in deaf:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(post(b""))
        end = time.monotonic() + 15
        while http_server.server.accepted < len(deaf):
            assert time.monotonic() < end, "not all were accepted"
            time.sleep(0.02)
        gone(http_server, left=2)
        with connected(port) as polite:
            polite.sendall(post(b""))
            assert len(read_answer(polite)[1]) == 20_000_000


def test_a_large_body_that_stops_coming_makes_room_soon(port: int) -> None:
    head = b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 190000\r\n\r\n"
    with connected(port) as stalled:
        stalled.sendall(head + b"a")
        assert read_all(stalled).startswith(b"HTTP/1.1 408 ")
    assert exchange(port, head + b"a" * 190_000)[0] == 200


def test_a_body_that_comes_slowly_but_surely_is_taken(http_server: Any) -> None:
    port = http_server.serve(resolver, replaced(min_bytes_per_s=2000))
    with connected(port) as connection:
        connection.sendall(post(b"a" * 6000)[:-6000])
        for _ in range(12):  # 5,000 bytes a second, for twice as long as a silent one has
            time.sleep(0.1)
            connection.sendall(b"a" * 500)
        assert read_answer(connection)[0] == 200


def test_when_full_of_slow_requests_the_slowest_makes_room(http_server: Any) -> None:
    limits = replaced(head_timeout_s=60.0, body_timeout_s=60.0)
    port = http_server.serve(resolver, limits)
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(connected(port)) for _ in range(8)]
        for number, connection in enumerate(slow):
            more = "Expect: 100-continue\r\n" + "A: b\r\n" * number
            connection.sendall(post(b"a", headers=more)[:-1])
            assert connection.recv(100).endswith(b"100 Continue\r\n\r\n")
        end = time.monotonic() + 15
        while exchange(port, post(b"ab"))[0] != 200:
            assert time.monotonic() < end, "nobody made room"
            time.sleep(0.05)
        assert read_all(slow[0]).startswith(b"HTTP/1.1 408 ")


def test_the_refused_do_not_make_room_for_more_than_the_limit(http_server: Any) -> None:
    port = http_server.serve(resolver, replaced(head_timeout_s=60.0))
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            busy = stack.enter_context(connected(port))
            busy.sendall(post(b"", "/slow") * 500)
            assert read_some(busy)
        newcomers = [stack.enter_context(connected(port)) for _ in range(4)]
        for newcomer in newcomers:
            newcomer.sendall(post(b"a"))
            assert read_answer(newcomer)[0] == 503


def read_some(connection: socket.socket) -> bytes:
    return connection.recv(100)


def test_when_full_an_idle_connection_makes_room(port: int) -> None:
    idle = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(8)]
    try:
        for connection in idle:
            connection.sendall(post(b""))
            read_answer(connection)
        assert exchange(port, post(b"ab"))[0] == 200
    finally:
        for connection in idle:
            connection.close()


def test_when_full_of_busy_connections_a_newcomer_gets_503(port: int) -> None:
    busy = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(8)]
    try:
        for connection in busy:
            connection.sendall(post(b"ab")[:-1])
        time.sleep(0.1)
        status, body = exchange(port, b"")
        assert status == 503
        assert b"too many connections" in body
    finally:
        for connection in busy:
            connection.close()


def test_large_bodies_together_are_bounded(port: int) -> None:
    half = b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 190000\r\n\r\n"
    with connected(port) as first:
        first.sendall(half + b"a" * 100)
        time.sleep(0.1)
        assert exchange(port, half + b"a" * 100)[0] == 503
        first.sendall(b"a" * 189_900)
        assert read_answer(first)[0] == 200
    assert exchange(port, half + b"a" * 190_000)[0] == 200


def test_the_client_may_close_its_side_and_still_gets_the_answer(port: int) -> None:
    with connected(port) as connection:
        connection.sendall(post(b"", "/slow"))
        connection.shutdown(socket.SHUT_WR)
        assert b'{"slow":true}' in read_all(connection)


def test_expect_100_continue_is_answered(port: int) -> None:
    with connected(port) as connection:
        connection.sendall(post(b"abc", headers="Expect: 100-continue\r\n")[:-3])
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"abc")
        assert read_answer(connection)[0] == 200


def test_connection_close_is_kept(port: int) -> None:
    with connected(port) as connection:
        start = time.monotonic()
        connection.sendall(post(b"", headers="Connection: close\r\n"))
        assert b"Connection: close" in read_all(connection)
        assert time.monotonic() - start < FAST.idle_timeout_s


def test_a_wish_for_another_protocol_is_ignored(port: int) -> None:
    headers = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n"
    with connected(port) as connection:
        connection.sendall(post(b"abc", headers=headers))
        assert read_answer(connection) == (200, b'{"bytes":3,"path":"/length"}')


@pytest.mark.parametrize("more", [b"", b"Connection: keep-alive\r\n"])
def test_http_1_0_is_answered_and_closed(port: int, more: bytes) -> None:
    with connected(port) as connection:
        connection.sendall(b"GET /length HTTP/1.0\r\n" + more + b"\r\n")
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"Connection: close\r\n" in answer


def test_http_1_0_is_not_told_to_continue(port: int) -> None:
    with connected(port) as connection:
        connection.sendall(
            b"POST /length HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
        )
        connection.sendall(b"abc")
        assert read_all(connection).startswith(b"HTTP/1.1 200")


def test_the_target_may_be_absolute(port: int) -> None:
    data = (
        b"POST http://example.org:80/length?a=b HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na"
    )
    assert exchange(port, data) == (200, b'{"bytes":1,"path":"/length"}')


def test_an_empty_line_before_a_request_means_nothing(port: int) -> None:
    assert exchange(port, b"\r\n" + post(b"ab"))[0] == 200


def test_a_body_of_a_get_is_not_the_next_request(port: int) -> None:
    inner = b"GET /broken HTTP/1.1\r\nHost: x\r\n\r\n"
    first = b"GET /length HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(inner)
    with connected(port) as connection:
        connection.sendall(first + inner + post(b"z"))
        connection.shutdown(socket.SHUT_WR)
        answer = read_all(connection)
    assert answer.count(b"HTTP/1.1 200") == 2
    assert b" 500 " not in answer


def test_bytes_behind_a_refused_request_are_never_answered(port: int) -> None:
    bad = post(b"", headers="Transfer-Encoding: chunked\r\n")
    with connected(port) as connection:
        connection.sendall(bad + post(b"smuggled"))
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"\r\nDate: ") == 1


def test_a_compressed_body_is_told_what_is_taken(port: int) -> None:
    with connected(port) as connection:
        connection.sendall(post(b"x", headers="Content-Encoding: gzip\r\n"))
        assert b"\r\nAccept-Encoding: identity\r\n" in read_all(connection)


def test_head_gets_no_body(port: int) -> None:
    with connected(port) as connection:
        connection.sendall(b"HEAD /length HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = read_all(connection)
    assert answer.endswith(b"\r\n\r\n")


def test_an_exception_is_a_500_without_its_text(port: int) -> None:
    status, body = exchange(port, post(b"", "/broken"))
    assert status == 500
    assert b"secret" not in body


def test_chunked_bodies_are_read(port: int) -> None:
    request = (
        b"POST /length HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\nA;ext=1\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n"
    )
    with connected(port) as connection:
        connection.sendall(request + post(b"z"))
        data = b""
        while data.count(b"bytes") < 2:
            data += connection.recv(4096)
    assert b'"bytes":13' in data
    assert b'"bytes":1,' in data


REFUSED = {
    400: [
        b"\x00\x01\x02\r\n\r\n",
        b"GET /length HTTP/1.1\r\n\r\n",
        b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /length HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /length HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
        b"GET /length HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n",
        b"GET /length HTTP/1.1\r\nHost: a b/c\r\n\r\n",
        b"GET /length HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
        b"GET /length HTTP/1.1\nHost: x\r\n\r\n",
        b"GET /length HTTP/1.1\r\nHost: x\nA: b\r\n\r\n",
        b"GET /length HTTP/1.1\r\nHost: x\rA: b\r\n\r\n",
        b"GET /length HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n",
        *(
            b"POST /length HTTP/1.1\r\nHost: x\r\n" + lines + b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
            for lines in (
                b"Content-Length: 3\r\nTransfer-Encoding: chunked",
                b"Transfer-Encoding: chunked\r\nContent-Length: 3",
                b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
                b"Transfer-Encoding: chunked, identity",
                b"Transfer-Encoding: xchunked",
                b"Transfer-Encoding: \x0bchunked",
                b"Transfer-Encoding:",
                b"Content-Length: 3\r\nContent-Length: 3",
                b"Content-Length: 3, 3",
                b"Content-Length: +3",
                b"Content-Length: 0x3",
                b"Content-Length : 3",
                b"Content-Length:",
                b"Content-Length: 18446744073709551619",
            )
        ),
        *(
            b"POST /length HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + body
            for body in (
                b"3;a\nb\r\nabc\r\n0\r\n\r\n",
                b"3\nabc\r\n0\r\n\r\n",
                b" 3\r\nabc\r\n0\r\n\r\n",
                b"3 \r\nabc\r\n0\r\n\r\n",
                b"0x3\r\nabc\r\n0\r\n\r\n",
                b"+3\r\nabc\r\n0\r\n\r\n",
                b"3_0\r\nabc\r\n0\r\n\r\n",
                b"ffffffffffffffff3\r\nabc\r\n0\r\n\r\n",
            )
        ),
        b"POST /length HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ],
    501: [b"POST /length HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"],
    505: [b"GET /length HTTP/2.0\r\nHost: x\r\n\r\n", b"GET /length\r\n\r\n"],
    413: [
        b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 200001\r\n\r\n",
        b"POST /length HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFF\r\n",
    ],
    415: [b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\n\r\n"],
    417: [b"POST /length HTTP/1.1\r\nHost: x\r\nExpect: coffee\r\n\r\n"],
    431: [
        b"GET /length HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 3000,
        b"GET /length HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 30 + b"\r\n",
    ],
}


@pytest.mark.parametrize(
    ("status", "data"), [(status, data) for status, cases in REFUSED.items() for data in cases]
)
def test_a_refused_request_gets_its_status_and_the_connection_ends(
    port: int, status: int, data: bytes
) -> None:
    with connected(port) as connection:
        connection.sendall(data)
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert b'{"error":' in answer


def test_the_answer_to_an_oversized_body_arrives_though_the_client_still_sends(port: int) -> None:
    with connected(port) as connection:
        connection.sendall(b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n")
        for _ in range(20):
            connection.sendall(b"a" * 10_000)
        assert read_answer(connection)[0] == 413


PIECES = st.lists(
    st.one_of(
        st.binary(max_size=60),
        st.sampled_from(
            [
                b"GET /length HTTP/1.1\r\nHost: x\r\n\r\n",
                b"POST /length HTTP/1.1\r\n",
                b"Host: x\r\n",
                b"Content-Length: 5\r\n",
                b"Content-Length: 99999999999999999999\r\n",
                b"Transfer-Encoding: chunked\r\n",
                b"\r\n",
                b"\r\n\r\n",
                b"5\r\nabcde\r\n0\r\n\r\n",
                b"Upgrade: websocket\r\nConnection: upgrade\r\n",
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
                b"CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n",
                b"GET http://[::1 HTTP/1.1\r\nHost: x\r\n\r\n",
            ]
        ),
    ),
    max_size=8,
)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(pieces=PIECES)
def test_whatever_arrives_is_answered_without_a_5xx_and_the_server_lives(
    port: int, pieces: list[bytes]
) -> None:
    with connected(port) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError, OSError):
            pass
        answer = read_all(connection)
    for part in answer.split(b"HTTP/1.1 ")[1:]:
        assert part[:3] in {b"501", b"505"} or part[:1] in b"1234", part[:100]
    assert exchange(port, post(b"ab"))[0] == 200

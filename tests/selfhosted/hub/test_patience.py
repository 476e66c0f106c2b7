"""Clients that are too slow: who is hung up on and who is not, and what they cost meanwhile."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl_selfhosted.hub.patience import Patience, Waits, too_slow

RULES = Patience(idle_s=75, head_s=20, body_s=30, body_rate=500, stall_s=60)


@pytest.mark.parametrize(
    ("waits", "age_s", "body_bytes", "stalled_s", "expected"),
    [
        (Waits.REQUEST, 74, 0, None, False),
        (Waits.REQUEST, 76, 0, None, True),
        # It is still taking the last answer.
        (Waits.REQUEST, 76, 0, 1, False),
        (Waits.HEAD, 19, 0, None, False),
        (Waits.HEAD, 21, 0, None, True),
        (Waits.BODY, 29, 0, None, False),
        (Waits.BODY, 31, 0, None, True),
        (Waits.BODY, 31, 1_000, None, False),
        (Waits.BODY, 33, 1_000, None, True),
        (Waits.HUB, 10_000, 0, None, False),
        (Waits.HUB, 10_000, 0, 59, False),
        (Waits.HUB, 10_000, 0, 61, True),
    ],
)
def test_what_is_waited_for_decides_how_long(
    waits: Waits, age_s: float, body_bytes: int, stalled_s: float | None, expected: bool
) -> None:
    found = too_slow(waits, age_s, body_bytes=body_bytes, stalled_s=stalled_s, patience=RULES)
    assert found is expected


@given(st.floats(500, 1e7), st.floats(0, 1e6))
def test_body_at_the_rate_is_never_too_slow(rate: float, age_s: float) -> None:
    got = int(rate * age_s)
    assert not too_slow(Waits.BODY, age_s, body_bytes=got, stalled_s=None, patience=RULES)


QUICK = {"idle_s": 1.5, "head_s": 0.4, "body_s": 0.4, "body_rate": 1e6, "stall_s": 1.0}


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory, hub_process: Any) -> Iterator[Any]:
    """A hub with little patience."""
    hub = hub_process(tmp_path_factory.mktemp("strict"), {"patience": QUICK})
    yield hub
    hub.stop()


@contextlib.contextmanager
def connected(hub: Any, receive_bytes: int = 0) -> Iterator[socket.socket]:
    address = urlsplit(hub.url)
    with socket.socket() as conn:
        if receive_bytes:
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        conn.settimeout(20)
        conn.connect((address.hostname, address.port))
        yield conn


def drain(conn: socket.socket) -> bytes:
    """Read until the hub hangs up."""
    found = b""
    try:
        while piece := conn.recv(1 << 20):
            found += piece
    except ConnectionResetError:
        pass
    return found


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /rest/v1/targets HT",
        b"GET /rest/v1/targets HTTP/1.1\r\nHost: x\r\n",
        (
            b"PUT /DEFAULT/controller/v1/x/configData HTTP/1.1\r\n"
            b"Authorization: GatewayToken %b\r\nContent-Length: 100\r\n\r\n{"
        ),
    ],
    ids=["nothing", "half-a-line", "half-a-head", "half-a-body"],
)
def test_client_that_does_not_go_on_is_hung_up_on(strict: Any, sent: bytes) -> None:
    strict.ok("PUT", "/system/configs/authentication.gatewaytoken.enabled", json={"value": True})
    with connected(strict) as conn:
        conn.sendall(sent.replace(b"%b", strict.gateway.encode()))
        assert drain(conn) == b""


def test_head_that_dribbles_is_hung_up_on(strict: Any) -> None:
    with connected(strict) as conn, pytest.raises(OSError):
        conn.sendall(b"GET / HTTP/1.1\r\nX-A: ")
        while True:
            conn.sendall(b"a")
            if select.select([conn], [], [], 0.02)[0]:
                assert conn.recv(100) == b""
                raise ConnectionResetError


def status(pid: int, field: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":"))


def offered(hub: Any, name: str, data: bytes) -> Callable[[str], bytes]:
    """Give a device a file; returns the request for it with a range."""
    device = hub.device(name)
    hub.assign(hub.dset(name, {"f": data}), name)
    chunk = device.deployment()["deployment"]["chunks"][0]
    links = chunk["artifacts"][0]["_links"]
    path = urlsplit((links.get("download-http") or links["download"])["href"]).path
    token = device.http.headers["Authorization"]
    return lambda range_: (
        f"GET {path} HTTP/1.1\r\nHost: hub\r\nAuthorization: {token}\r\nRange: {range_}\r\n\r\n"
    ).encode()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_clients_that_read_nothing_cost_no_memory_and_no_thread_and_are_hung_up_on(
    strict: Any, name: str, wait: Any
) -> None:
    data = os.urandom(16 << 20)
    asked = offered(strict, name, data)("bytes=0-")
    pid = strict.process.pid
    threads, memory, before = status(pid, "Threads"), status(pid, "VmRSS"), sockets(pid)
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(connected(strict, 4096)) for _ in range(30)]
        for conn in slow:
            conn.sendall(asked)
        for conn in slow:
            assert conn.recv(12) == b"HTTP/1.1 206"
        # The pool that opens files grows to a few threads for everybody.
        assert status(pid, "Threads") <= threads + 8
        assert status(pid, "VmRSS") - memory < 30 << 10
        # Another one gets everything at the same time.
        with connected(strict) as conn:
            conn.sendall(asked.replace(b"\r\nRange", b"\r\nConnection: close\r\nRange"))
            assert drain(conn).endswith(data[-1000:])
        # What lies in the sockets' buffers comes, the rest does not.
        wait(lambda: sockets(pid) <= before)
        assert all(len(drain(conn)) < len(data) for conn in slow[:3])


def sockets(pid: int) -> int:
    """Return how many sockets a process has."""
    return sum(link.startswith("socket:") for link in descriptors(pid))


def descriptors(pid: int) -> Iterator[str]:
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            yield str(file.readlink())


def test_client_that_reads_slowly_but_steadily_gets_everything(strict: Any, name: str) -> None:
    data = os.urandom(1 << 20)
    asked = offered(strict, name, data)("bytes=0-")
    found = b""
    begun = time.monotonic()
    with connected(strict, 4096) as conn:
        conn.sendall(asked)
        while not found.endswith(data[-1000:]):
            # Slow enough to last longer than a stall may, at the smallest buffers there are.
            piece = conn.recv(1 << 20 if time.monotonic() - begun > 2.5 else 4096)
            assert piece, "the hub hung up"
            found += piece
            select.select([], [], [], 0.01)
    assert found.endswith(data)


def test_client_that_asks_and_never_reads_is_hung_up_on(strict: Any, name: str) -> None:
    device = strict.device(name)
    token = device.http.headers["Authorization"]
    head = f"GET {device.root} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n\r\n".encode()
    device.poll()
    memory = status(strict.process.pid, "VmRSS")
    with connected(strict, 4096) as conn, pytest.raises((BrokenPipeError, ConnectionResetError)):
        while True:
            conn.sendall(head * 1000)
    assert status(strict.process.pid, "VmRSS") - memory < 20 << 10


def test_hub_says_at_its_start_that_not_all_devices_can_be_connected(start_hub: Any) -> None:
    hub = start_hub(files=120)
    sent = [{"controllerId": f"d{n}", "name": f"d{n}"} for n in range(61)]
    hub.ok("POST", "/targets", 201, json=sent)
    assert "RLIMIT_NOFILE" not in hub.stop()[1]
    said = start_hub(files=120).stop()[1]
    assert "61 devices are registered and RLIMIT_NOFILE lets 60 be connected" in said


def test_hub_says_when_open_files_run_out_and_serves_those_it_has(start_hub: Any) -> None:
    hub = start_hub(files=120)
    device = hub.device("d")
    device.poll()
    address = urlsplit(hub.url)
    turned_away = 0
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            conn = stack.enter_context(
                socket.create_connection((address.hostname, address.port), timeout=20)
            )
            conn.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                answer = conn.recv(1 << 16)
            turned_away += not answer.startswith(b"HTTP/1.1 404")
        assert 20 <= turned_away < 60
        device.poll()
    hub.device("e").poll()
    code, said = hub.stop()
    assert code == 0
    assert said.count("RLIMIT_NOFILE") == 1

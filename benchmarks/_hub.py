"""What the hub's benchmarks share: a hub and its peers on one core, and devices' connections.

The server has the first core and the devices the second, so that a ratio of two servers is one of
their work. Everything that a benchmark starts ends with it.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

TOKEN = "0123456789abcdef0123456789abcdef"
SPARE_FILES = 200
_TICKS = os.sysconf("SC_CLK_TCK")


class Server(NamedTuple):
    """A running server.

    Attributes:
        password: The operator's password, where it is a hub.
    """

    url: str
    pid: int
    password: str = ""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or 0

    def ask(self, method: str, path: str, sent: object = None) -> Any:
        """Call the hub's management interface."""
        login = base64.b64encode(f"admin:{self.password}".encode()).decode()
        request = urllib.request.Request(
            f"{self.url}/rest/v1{path}",
            None if sent is None else json.dumps(sent).encode(),
            {"Authorization": f"Basic {login}", "Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request) as answer:
            found = answer.read()
        return json.loads(found) if found else None


def allow_connections(count: int) -> None:
    """Raise the limit of open files to what this user may have; end where that is too low."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = count + SPARE_FILES
    if hard != resource.RLIM_INFINITY and hard < need:
        raise SystemExit(
            f"{count} connections need {need} open files and RLIMIT_NOFILE lets a process have "
            f"{hard}: raise it (`ulimit -Hn {need}` as root), or use --quick"
        )
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def use_second_core() -> None:
    """Leave the first core to the server, and the collector out of the devices' latencies."""
    gc.disable()
    os.sched_setaffinity(0, {1 % (os.cpu_count() or 1)})


@contextmanager
def on_first_core(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server on one core; end it with the block."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=None if os.environ.get("HUB_BENCH_VERBOSE") else subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, {0}),  # noqa: PLW1509 - no threads here yet
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate()


@contextmanager
def hub(*, keep: Path | None = None, command: Sequence[str] = ()) -> Iterator[Server]:
    """Run a hub on an empty folder, or on ``keep``.

    Args:
        keep: A folder that outlives the hub.
        command: Another way to start it, such as a profiler.
    """
    with tempfile.TemporaryDirectory() as place:
        data = keep or Path(place)
        (data / "hub.json").unlink(missing_ok=True)
        start = command or [sys.executable, "-m", "edgectl.cli.main", "hub"]
        with on_first_core([*start, "--data", str(data), "--port", "0"]) as process:
            while not (data / "hub.json").exists():
                if process.poll() is not None:
                    raise SystemExit("the hub did not start")
                time.sleep(0.02)
            url = json.loads((data / "hub.json").read_text())["url"]
            yield Server(url, process.pid, (data / "admin-password").read_text().strip())


@contextmanager
def peer(program: str, *arguments: str) -> Iterator[Server]:
    """Run a small program that prints the port it listens on."""
    with on_first_core([sys.executable, "-c", program, *arguments]) as process:
        if process.stdout is None:
            raise SystemExit("the peer has no output")
        port = int(process.stdout.readline())
        yield Server(f"http://127.0.0.1:{port}", process.pid)


def register(server: Server, first: int, last: int) -> None:
    """Make the targets ``d<first>`` to before ``d<last>``, with one token for all."""
    for start in range(first, last, 1_000):
        names = [f"d{number}" for number in range(start, min(start + 1_000, last))]
        sent = [{"controllerId": name, "name": name, "securityToken": TOKEN} for name in names]
        server.ask("POST", "/targets", sent)


def request(method: str, path: str, sent: bytes = b"") -> bytes:
    """Return a device's request."""
    body = f"Content-Type: application/json\r\nContent-Length: {len(sent)}\r\n" if sent else ""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: hub\r\nAccept: application/json\r\n"
        f"Authorization: TargetToken {TOKEN}\r\n{body}\r\n"
    )
    return head.encode() + sent


def poll_request(number: int) -> bytes:
    """Return the poll of ``d<number>``."""
    return request("GET", f"/DEFAULT/controller/v1/d{number}")


class Link(asyncio.Protocol):
    """A device's connection: one request at a time, the answer's body as a future or to a call."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._got = bytearray()
        self._waits: asyncio.Future[bytes] | None = None
        self._then: Callable[[bytes], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def ask(self, asked: bytes) -> asyncio.Future[bytes]:
        """Send a request."""
        self._waits = asyncio.get_running_loop().create_future()
        self.send(asked, None)
        return self._waits

    def send(self, asked: bytes, then: Callable[[bytes], None] | None) -> None:
        """Send a request; ``then`` is called with the answer's body."""
        if self.transport is None or not self.is_open:
            raise ConnectionResetError("the hub closed the connection")
        self._then = then
        self.transport.write(asked)

    def data_received(self, data: bytes) -> None:
        self._got += data
        end = self._got.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._got[:end]).lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self._got) < end + 4 + length:
            return
        body = bytes(self._got[end + 4 : end + 4 + length])
        self._got.clear()
        if not head.startswith(b"http/1.1 200"):
            self._fail(RuntimeError(f"the hub answered {head!r} {body!r}"))
        elif self._waits is not None:
            waits, self._waits = self._waits, None
            waits.set_result(body)
        elif self._then is not None:
            self._then(body)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or ConnectionResetError("the hub closed the connection"))

    def _fail(self, exc: Exception) -> None:
        if self._waits is not None and not self._waits.done():
            self._waits.set_exception(exc)

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""
        return self.transport is not None and not self.transport.is_closing()

    def close(self) -> None:
        """Hang up."""
        self._waits = self._then = None
        if self.transport is not None:
            self.transport.close()


async def connect(server: Server, count: int) -> list[Link]:
    """Open connections, not more at a time than the server lets wait."""
    loop = asyncio.get_running_loop()
    links: list[Link] = []
    for start in range(0, count, 500):
        some = range(start, min(start + 500, count))
        made = await asyncio.gather(*(loop.create_connection(Link, *server.address) for _ in some))
        links += [link for _, link in made]
    return links


def p99_ms(latencies: Sequence[float]) -> float:
    """Return the 99th percentile of latencies in seconds, in milliseconds."""
    ordered = sorted(latencies)
    return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] if ordered else 0.0


def memory_mib(pid: int, field: str = "VmRSS") -> float:
    """Return a process's resident memory, or its highest (``VmHWM``)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    return 0.0


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


@contextmanager
def highest_memory(pid: int) -> Iterator[list[float]]:
    """Watch a process; the list's one number is the most it had, in MiB, when the block ends."""
    found = [memory_mib(pid)]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            found[0] = max(found[0], memory_mib(pid))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield found
    finally:
        over.set()
        watcher.join()


def beside(value: float, wanted: float, *, most: bool = False) -> str:
    """Return whether a figure is as wanted."""
    good = value <= wanted if most else value >= wanted
    return f"wanted {'<=' if most else '>='} {wanted:g}: {'yes' if good else 'NO'}"

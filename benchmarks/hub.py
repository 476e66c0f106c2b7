"""The hub with 2,000 polling devices on loopback: polls a second, p99, memory.

The peer is a bare ASGI application on the same server (uvicorn, uvloop, httptools) that answers
a constant of the same size, in the same run. The server has one core, the devices the other; the
devices keep their connections and 64 of them poll at a time.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

DEVICES, WORKERS, SECONDS = 2_000, 64, 6.0
TOKEN = "0123456789abcdef0123456789abcdef"
PEER = """\
import sys, uvicorn
BODY = b'{"config": {"polling": {"sleep": "00:05:00"}}}' + b" " * 200
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200,
                    "headers": [(b"content-type", b"application/json"),
                                (b"content-length", str(len(BODY)).encode())]})
        await send({"type": "http.response.body", "body": BODY})
uvicorn.run(app, port=int(sys.argv[1]), loop="uvloop", http="httptools", access_log=False,
            log_level="error", lifespan="off")
"""


def pinned(command: list[str], core: int) -> subprocess.Popen[bytes]:
    """Start a server on one core."""
    return subprocess.Popen(
        command,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),  # noqa: PLW1509 - no threads here yet
    )


@contextmanager
def hub(data: Path) -> Iterator[tuple[str, int]]:
    """Run a hub with the devices registered; yields its address and process id."""
    command = [sys.executable, "-m", "edgectl.cli.main", "hub", "--data", str(data), "--port", "0"]
    with pinned(command, 0) as process:
        try:
            while not (data / "hub.json").exists():
                time.sleep(0.05)
            url = json.loads((data / "hub.json").read_text())["url"]
            password = (data / "admin-password").read_text().strip()
            login = base64.b64encode(f"admin:{password}".encode()).decode()
            for start in range(0, DEVICES, 500):
                targets = [
                    {"controllerId": f"d{n}", "name": f"d{n}", "securityToken": TOKEN}
                    for n in range(start, start + 500)
                ]
                request = urllib.request.Request(
                    f"{url}/rest/v1/targets",
                    json.dumps(targets).encode(),
                    {"Authorization": f"Basic {login}", "Content-Type": "application/json"},
                )
                urllib.request.urlopen(request).read()
            yield url, process.pid
        finally:
            process.send_signal(signal.SIGTERM)


@contextmanager
def peer() -> Iterator[tuple[str, int]]:
    """Run the bare application."""
    with pinned([sys.executable, "-c", PEER, "18290"], 0) as process:
        try:
            time.sleep(1.5)
            yield "http://127.0.0.1:18290", process.pid
        finally:
            process.send_signal(signal.SIGTERM)


async def poll_for(url: str, seconds: float) -> list[float]:
    """Poll for a while; returns the latency of every poll in seconds."""
    address = urlsplit(url)
    latencies: list[float] = []
    end = time.perf_counter() + seconds

    async def worker(first: int) -> None:
        links = []
        for number in range(first, DEVICES, WORKERS):
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            head = (
                f"GET /DEFAULT/controller/v1/d{number} HTTP/1.1\r\nHost: hub\r\n"
                f"Accept: application/json\r\nAuthorization: TargetToken {TOKEN}\r\n\r\n"
            )
            links.append((reader, writer, head.encode()))
        while time.perf_counter() < end:
            for reader, writer, head in links:
                start = time.perf_counter()
                writer.write(head)
                answer = await reader.readuntil(b"\r\n\r\n")
                if not answer.startswith(b"HTTP/1.1 200"):
                    raise SystemExit(answer.decode())
                length = int(answer.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                latencies.append(time.perf_counter() - start)
        for _, writer, _ in links:
            writer.close()

    await asyncio.gather(*(worker(first) for first in range(WORKERS)))
    return latencies


def rss_mib(pid: int) -> float:
    """Return a process's resident memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def measure(name: str, url: str, pid: int) -> float:
    """Poll, print, and return polls a second."""
    uvloop.run(poll_for(url, 1.5))
    start = time.perf_counter()
    latencies = uvloop.run(poll_for(url, SECONDS))
    rate = len(latencies) / (time.perf_counter() - start)
    p99 = statistics.quantiles(latencies, n=100)[98] * 1000
    print(f"{name:10} {rate:8.0f} polls/s   p99 {p99:6.1f} ms   {rss_mib(pid):5.0f} MiB")
    return rate


def main() -> None:
    """Measure and print."""
    os.sched_setaffinity(0, {1 % (os.cpu_count() or 1)})
    with peer() as (url, pid):
        bare = measure("bare ASGI", url, pid)
    with tempfile.TemporaryDirectory() as place, hub(Path(place)) as (url, pid):
        ours = measure("hub", url, pid)
    print(f"the hub answers {ours / bare:.2f} of what a bare application does")


if __name__ == "__main__":
    main()

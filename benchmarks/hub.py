"""The hub with 10,000 devices connected, and with 100,000 registered: polls a second, p99, memory.

The peer is a bare ASGI application on the same server (uvicorn, uvloop, httptools) that answers
a constant of the same size, in the same run. The server has one core, the devices the other, and
every device keeps its connection. Three loads:

* *busy*: 64 polls are on their way at any time, one after the other from every device; what the
  server can answer.
* *storm*: every device sends its poll in the same moment, so that as many are in flight as there
  are devices; how long until the last is answered.
* *paced*: polls begin by the clock whatever is still unanswered, and count from when they were
  due; what devices see at a steady rate.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import uvloop

sys.path.insert(0, str(Path(__file__).parent))  # make bench runs Python with -P
from _hub import (
    Link,
    Server,
    allow_connections,
    beside,
    connect,
    cpu_s,
    hub,
    memory_mib,
    p99_ms,
    peer,
    poll_request,
    register,
    use_second_core,
)

WORKERS = 64
PEER = """\
import socket, uvicorn
BODY = b'{"config": {"polling": {"sleep": "00:05:00"}}}' + b" " * 200
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200,
                    "headers": [(b"content-type", b"application/json"),
                                (b"content-length", str(len(BODY)).encode())]})
        await send({"type": "http.response.body", "body": BODY})
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(2048)
print(listener.getsockname()[1], flush=True)
config = uvicorn.Config(app, loop="uvloop", http="httptools", access_log=False, ws="none",
                        log_level="error", lifespan="off", backlog=2048,
                        timeout_keep_alive=75)
uvicorn.Server(config).run([listener])
"""


class Size(NamedTuple):
    """How much is measured."""

    devices: int = 10_000
    registered: int = 100_000
    seconds: float = 6.0
    storms: int = 5
    paced: int = 3_000


class Found(NamedTuple):
    """What was measured at one server."""

    rate: float
    p99: float
    cpu_us: float
    storm_rate: float
    storm_s: float
    paced_rate: float
    paced_p99: float
    paced_cpu: float
    mib: float

    def show(self, name: str) -> None:
        """Print."""
        print(
            f"{name:22} busy {self.rate:7.0f} polls/s p99 {self.p99:6.1f} ms "
            f"{self.cpu_us:4.0f} us CPU each   "
            f"storm {self.storm_rate:7.0f} polls/s, last after {self.storm_s:5.2f} s   "
            f"paced {self.paced_rate:6.0f} polls/s p99 {self.paced_p99:6.1f} ms "
            f"{100 * self.paced_cpu:3.0f} % CPU   {self.mib:5.0f} MiB",
            flush=True,
        )


async def busy(links: list[Link], polls: list[bytes], seconds: float) -> list[float]:
    """Keep some polls on their way; returns their latencies."""
    latencies: list[float] = []
    end = time.perf_counter() + seconds

    async def worker(first: int) -> None:
        while True:
            for number in range(first, len(links), WORKERS):
                start = time.perf_counter()
                if start > end:
                    return
                await links[number].ask(polls[number])
                latencies.append(time.perf_counter() - start)

    await asyncio.gather(*(worker(first) for first in range(min(WORKERS, len(links)))))
    return latencies


async def storm(links: list[Link], polls: list[bytes]) -> float:
    """Send everybody's poll at once; returns the seconds until the last is answered."""
    left = len(links)
    over = asyncio.get_running_loop().create_future()

    def answered(_: bytes) -> None:
        nonlocal left
        left -= 1
        if not left:
            over.set_result(None)

    start = time.perf_counter()
    for link, poll in zip(links, polls, strict=True):
        link.send(poll, answered)
    await over
    return time.perf_counter() - start


async def paced(links: list[Link], polls: list[bytes], rate: int, seconds: float) -> list[float]:
    """Begin polls by the clock; returns their latencies from when they were due."""
    latencies: list[float] = []
    total = int(rate * seconds)
    over = asyncio.get_running_loop().create_future()
    begin = time.perf_counter()

    def noted(due: float) -> Callable[[bytes], None]:
        def answered(_: bytes) -> None:
            latencies.append(time.perf_counter() - due)
            if len(latencies) == total:
                over.set_result(None)

        return answered

    sent = 0
    while sent < total:
        due = min(total, int((time.perf_counter() - begin) * rate))
        for number in range(sent, due):
            at = number % len(links)
            links[at].send(polls[at], noted(begin + number / rate))
        sent = due
        await asyncio.sleep(0.001)
    await over
    return latencies


async def load(server: Server, size: Size) -> Found:
    """Put the three loads on a server."""
    polls = [poll_request(number) for number in range(size.devices)]
    links = await connect(server, size.devices)
    await storm(links, polls)
    await busy(links, polls, 1.0)
    used, start = cpu_s(server.pid), time.perf_counter()
    latencies = await busy(links, polls, size.seconds)
    rate = len(latencies) / (time.perf_counter() - start)
    each_us = 1e6 * (cpu_s(server.pid) - used) / len(latencies)
    storms = [await storm(links, polls) for _ in range(size.storms)]
    used, start = cpu_s(server.pid), time.perf_counter()
    steady = await paced(links, polls, size.paced, size.seconds)
    took = time.perf_counter() - start
    found = Found(
        rate=rate,
        p99=p99_ms(latencies),
        cpu_us=each_us,
        storm_rate=size.devices * size.storms / sum(storms),
        storm_s=max(storms),
        paced_rate=len(steady) / took,
        paced_p99=p99_ms(steady),
        paced_cpu=(cpu_s(server.pid) - used) / took,
        mib=memory_mib(server.pid, "VmHWM"),
    )
    for link in links:
        link.close()
    return found


def measure(name: str, server: Server, size: Size) -> Found:
    """Measure and print."""
    found: Found = uvloop.run(load(server, size))
    found.show(name)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small run, to see that it works")
    asked = parser.parse_args()
    size = Size(200, 1_000, 0.5, 2, 300) if asked.quick else Size()
    allow_connections(size.devices)
    use_second_core()
    with peer(PEER) as server:
        bare = measure("bare ASGI", server, size)
    with hub() as server:
        register(server, 0, size.devices)
        small = measure(f"hub, {size.devices} devices", server, size)
        register(server, size.devices, size.registered)
        large = measure(f"hub, {size.registered} devices", server, size)
    print(f"the hub answers {small.rate / bare.rate:.2f} of what a bare application does")
    print(f"polls a second: {small.rate:.0f} ({beside(small.rate, 3_000)})")
    print(f"p99 at {size.paced} polls/s: {small.paced_p99:.1f} ms ", end="")
    print(f"({beside(small.paced_p99, 50, most=True)})")
    print(f"most memory: {large.mib:.0f} MiB ({beside(large.mib, 300, most=True)})")
    share = large.rate / small.rate
    print(f"with {size.registered} registered: {share:.2f} of the rate ({beside(share, 0.95)})")


if __name__ == "__main__":
    main()

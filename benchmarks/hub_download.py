"""200 devices that fetch the same 100 MB at once: bytes a second, memory, and others' polls.

The peer is a plain loopback copy in the same run: a program that answers each connection with
``sendfile`` of the same file, a thread each. The receivers are the same for both, in a process of
their own that throws away what it reads. Meanwhile other devices poll at a steady rate, and their
p99 is shown beside what it is without downloads. Server on one core, all clients on the other.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

import uvloop

sys.path.insert(0, str(Path(__file__).parent))  # make bench runs Python with -P
from _hub import (
    TOKEN,
    Server,
    allow_connections,
    beside,
    connect,
    cpu_s,
    highest_memory,
    hub,
    memory_mib,
    p99_ms,
    peer,
    poll_request,
    register,
    use_second_core,
)
from hub import paced

PEER = """\
import os, socket, sys, threading
path = sys.argv[1]
size = os.path.getsize(path)
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(1024)
print(listener.getsockname()[1], flush=True)
def serve(link):
    with link, open(path, "rb") as file:
        got = b""
        while not got.endswith(b"\\r\\n\\r\\n"):
            got += link.recv(4096)
        link.sendall(b"HTTP/1.1 200 OK\\r\\ncontent-length: %d\\r\\n\\r\\n" % size)
        at = 0
        while at < size:
            at += os.sendfile(link.fileno(), file.fileno(), at, size - at)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""
RECEIVER = """\
import json, selectors, socket, sys, time
host, port, size, requests = json.loads(sys.stdin.read())
chooser = selectors.DefaultSelector()
scratch = memoryview(bytearray(1 << 20))
start = time.perf_counter()
left = {}
for request in requests:
    link = socket.create_connection((host, port))
    link.sendall(request.encode())
    head = b""
    while b"\\r\\n\\r\\n" not in head:
        head += link.recv(4096)
    assert head.startswith(b"HTTP/1.1 200"), head
    link.setblocking(False)
    left[link] = size - (len(head) - head.index(b"\\r\\n\\r\\n") - 4)
    chooser.register(link, selectors.EVENT_READ)
while left:
    for key, _ in chooser.select():
        count = key.fileobj.recv_into(scratch)
        assert count, "the server hung up"
        left[key.fileobj] -= count
        if not left[key.fileobj]:
            del left[key.fileobj]
            chooser.unregister(key.fileobj)
            key.fileobj.close()
print(time.perf_counter() - start)
"""


class Size(NamedTuple):
    """How much is measured; ``mb`` is the package's size."""

    devices: int = 200
    mb: int = 100
    pollers: int = 1_000
    rate: int = 500


def fetch(server: Server, paths: list[str], size: int) -> float:
    """Fetch all at once in a process of its own; returns the seconds."""
    host, port = server.address
    requests = [
        f"GET {path} HTTP/1.1\r\nHost: hub\r\nAuthorization: TargetToken {TOKEN}\r\n\r\n"
        for path in paths
    ]
    told = json.dumps([host, port, size, requests])
    run = subprocess.run(
        [sys.executable, "-c", RECEIVER], input=told, stdout=subprocess.PIPE, text=True, check=True
    )
    return float(run.stdout)


def offer(server: Server, size: Size, file: Path) -> list[str]:
    """Give the devices a package with the file; returns where each fetches it."""
    register(server, 0, size.devices + size.pollers)
    module = server.ask(
        "POST", "/softwaremodules", [{"name": "model", "version": "1", "type": "application"}]
    )[0]["id"]
    boundary = "frontier"
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="model"\r\n\r\n'
    ).encode()
    upload = urllib.request.Request(
        f"{server.url}/rest/v1/softwaremodules/{module}/artifacts",
        body + file.read_bytes() + f"\r\n--{boundary}--\r\n".encode(),
        {
            "Authorization": f"Bearer {server.password}",
            "Content-Type": f"multipart/form-data; boundary={boundary}",
        },
    )
    urllib.request.urlopen(upload).read()
    sent = [{"name": "model", "version": "1", "type": "app", "modules": [{"id": module}]}]
    dset = server.ask("POST", "/distributionsets", sent)[0]["id"]
    ids = [{"id": f"d{number}"} for number in range(size.devices)]
    server.ask("POST", f"/distributionsets/{dset}/assignedTargets", ids)
    return [
        f"/DEFAULT/controller/v1/d{number}/softwaremodules/{module}/artifacts/model"
        for number in range(size.devices)
    ]


def check(server: Server, path: str, file: Path) -> None:
    """Fetch once and compare."""
    request = urllib.request.Request(
        server.url + path, headers={"Authorization": f"TargetToken {TOKEN}"}
    )
    with urllib.request.urlopen(request) as answer:
        found = hashlib.file_digest(answer, "sha256").hexdigest()
    if found != hashlib.sha256(file.read_bytes()).hexdigest():
        raise SystemExit("what came is not what was offered")


class Polls(threading.Thread):
    """Polls at a steady rate until told to end; ``latencies`` in seconds."""

    def __init__(self, server: Server, size: Size) -> None:
        super().__init__(daemon=True)
        self.server = server
        self.size = size
        self.warm = threading.Event()
        self.enough = threading.Event()
        self.latencies: list[float] = []

    def run(self) -> None:
        """Poll."""
        uvloop.run(self._poll())

    async def _poll(self) -> None:
        first = self.size.devices
        polls = [poll_request(n) for n in range(first, first + self.size.pollers)]
        links = await connect(self.server, self.size.pollers)
        await paced(links, polls, self.size.rate, 1.0)
        self.warm.set()
        while not self.enough.is_set():
            self.latencies += await paced(links, polls, self.size.rate, 0.5)
        for link in links:
            link.close()

    def end(self) -> float:
        """Stop; returns the p99 in milliseconds."""
        self.enough.set()
        self.join()
        return p99_ms(self.latencies)


def measure(size: Size, file: Path) -> None:
    """Measure and print."""
    total = size.devices * size.mb
    with peer(PEER, str(file)) as server:
        plain_s = fetch(server, ["/"] * size.devices, file.stat().st_size)
        print(f"plain sendfile   {total / plain_s:6.0f} MB/s", flush=True)
    with hub() as server:
        paths = offer(server, size, file)
        check(server, paths[0], file)
        before = memory_mib(server.pid)
        with highest_memory(server.pid) as most:
            used, start = cpu_s(server.pid), time.perf_counter()
            alone_s = fetch(server, paths, file.stat().st_size)
            cpu = (cpu_s(server.pid) - used) / (time.perf_counter() - start)
        print(f"hub              {total / alone_s:6.0f} MB/s   {100 * cpu:3.0f} % CPU", flush=True)
        quiet = Polls(server, size)
        quiet.start()
        quiet.warm.wait()
        time.sleep(min(3.0, alone_s))
        quiet_ms = quiet.end()
        busy = Polls(server, size)
        busy.start()
        busy.warm.wait()
        both_s = fetch(server, paths, file.stat().st_size)
        busy_ms = busy.end()
    print(f"hub beside polls {total / both_s:6.0f} MB/s")
    share = plain_s / alone_s
    print(f"the hub serves {share:.2f} of a plain sendfile copy ({beside(share, 0.8)})")
    more = most[0] - before
    print(f"memory grew by {more:.1f} MiB, to {most[0]:.0f} MiB ({beside(more, 20, most=True)})")
    print(f"p99 of others' polls: {quiet_ms:.1f} ms without downloads, ", end="")
    print(f"{busy_ms:.1f} ms beside them ({beside(busy_ms, 50, most=True)})")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small run, to see that it works")
    size = Size(20, 4, 50, 100) if parser.parse_args().quick else Size()
    allow_connections(3 * size.devices + size.pollers)
    use_second_core()
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "model"
        piece = os.urandom(1 << 20)
        with file.open("wb") as out:
            for _ in range(size.mb):
                out.write(piece)
        measure(size, file)


if __name__ == "__main__":
    main()

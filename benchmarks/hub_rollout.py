"""A rollout in 10 groups over 10,000 devices to its end: time to converge, polls, CPU, memory.

The rollout is the hub's own (hawkBit's ``/rest/v1/rollouts``): a group starts when the one before
has reached its threshold. Every device polls every 3 s, and when there is something to do it reads
the order, says that it proceeds, says that it is done, and sends its attributes: what an agent
says, without the download. No rollout can end before its groups have polled one after the other,
which is the limit that the time is shown beside. When in those 3 s a device polls has nothing to do
with its group. p99 is of all polls, from when they were due.

``--kill`` ends the hub with SIGKILL in the middle and starts it again on its folder. A device that
had its feedback acknowledged and is told to do the same again shows what was lost.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import uvloop

sys.path.insert(0, str(Path(__file__).parent))  # make bench runs Python with -P
from _hub import (
    Link,
    Server,
    allow_connections,
    beside,
    connect,
    cpu_s,
    highest_memory,
    hub,
    p99_ms,
    poll_request,
    register,
    request,
    use_second_core,
)

PROCEEDS = json.dumps(
    {"status": {"execution": "proceeding", "result": {"finished": "none"}}}
).encode()
DONE = json.dumps({"status": {"execution": "closed", "result": {"finished": "success"}}}).encode()
ABOUT = json.dumps({"mode": "merge", "data": {"edgectl_release": "7"}}).encode()


class Size(NamedTuple):
    """How much is measured."""

    devices: int = 10_000
    groups: int = 10
    every_s: float = 3.0

    @property
    def limit_s(self) -> float:
        """What the groups' polls alone take: on average a group's last device polls last."""
        return self.groups * self.every_s


class Device:
    """A device: its connection, and whether it is in the middle of something."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.root = f"/DEFAULT/controller/v1/d{number}"
        self.poll = poll_request(number)
        self.link: Link | None = None
        self.busy_since = 0.0


class Fleet:
    """The devices, and what came of them.

    Attributes:
        latencies: Of polls, from when they were due; seconds.
        done: Actions whose last feedback was acknowledged, by device.
        again: How often a device was told to do again what it was acknowledged for.
    """

    def __init__(self, server: Server, size: Size) -> None:
        self.server = server
        self.size = size
        self.devices = [Device(number) for number in range(size.devices)]
        random.Random(7).shuffle(self.devices)
        self.latencies: list[float] = []
        self.done: dict[int, str] = {}
        self.again = 0
        self.over = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Let every device poll in its turn until it is over."""
        for device, link in zip(
            self.devices, await connect(self.server, len(self.devices)), strict=True
        ):
            device.link = link
        rate = len(self.devices) / self.size.every_s
        begin, sent = time.perf_counter(), 0
        while not self.over:
            due = int((time.perf_counter() - begin) * rate)
            for number in range(sent, due):
                self._poll(self.devices[number % len(self.devices)], begin + number / rate)
            sent = due
            await asyncio.sleep(0.001)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for device in self.devices:
            if device.link is not None:
                device.link.close()

    def _poll(self, device: Device, due: float) -> None:
        link = device.link
        if link is None or not link.is_open:
            device.link, device.busy_since = None, due
            self._begin(self._connect(device))
        elif not device.busy_since:
            device.busy_since = due
            link.send(device.poll, lambda answer: self._polled(device, link, answer))

    def _polled(self, device: Device, link: Link, answer: bytes) -> None:
        self.latencies.append(time.perf_counter() - device.busy_since)
        if b"deploymentBase" in answer:
            self._begin(self._install(device, link, answer))
        elif b"configData" in answer:
            self._begin(self._tell(device, link))
        else:
            device.busy_since = 0.0

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        async def guarded() -> None:
            with contextlib.suppress(OSError):  # the hub was killed; the next poll connects
                await work

        task = asyncio.create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, device: Device) -> None:
        loop = asyncio.get_running_loop()
        _, device.link = await loop.create_connection(Link, *self.server.address)
        device.busy_since = 0.0

    async def _tell(self, device: Device, link: Link) -> None:
        await link.ask(request("PUT", f"{device.root}/configData", ABOUT))
        device.busy_since = 0.0

    async def _install(self, device: Device, link: Link, answer: bytes) -> None:
        links: dict[str, Any] = json.loads(answer)["_links"]
        path = "/" + links["deploymentBase"]["href"].split("/", 3)[3]
        action = path.partition("?")[0]
        self.again += self.done.get(device.number) == action
        await link.ask(request("GET", path))
        await link.ask(request("POST", f"{action}/feedback", PROCEEDS))
        await link.ask(request("POST", f"{action}/feedback", DONE))
        self.done[device.number] = action
        device.busy_since = 0.0


def make_rollout(server: Server, size: Size) -> int:
    """Make a set without files and a rollout of it; returns the rollout once it is ready."""
    kind = [{"name": "model", "version": "1", "type": "application"}]
    module = server.ask("POST", "/softwaremodules", kind)[0]["id"]
    sent = [{"name": "model", "version": "1", "type": "app", "modules": [{"id": module}]}]
    dset = server.ask("POST", "/distributionsets", sent)[0]["id"]
    rollout = {
        "name": "all",
        "distributionSetId": dset,
        "targetFilterQuery": "name==d*",
        "amountGroups": size.groups,
        "successCondition": {"condition": "THRESHOLD", "expression": "100"},
        "errorCondition": {"condition": "THRESHOLD", "expression": "5"},
    }
    id_ = int(server.ask("POST", "/rollouts", rollout)["id"])
    while status_of(server, id_) != "ready":
        time.sleep(0.05)
    return id_


def status_of(server: Server, rollout: int) -> str:
    """Return a rollout's status."""
    return str(server.ask("GET", f"/rollouts/{rollout}")["status"])


class Hubs:
    """A hub that can be killed and started again on its folder."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.stack = stack
        self.now = self.start()

    def start(self) -> Server:
        """Start it."""
        self.now = self.stack.enter_context(hub(keep=self.folder))
        return self.now

    def kill(self) -> Server:
        """End it as a power cut would, and start it again."""
        os.kill(self.now.pid, signal.SIGKILL)
        return self.start()


async def converge(hubs: Hubs, size: Size, rollout: int, *, kill: bool) -> tuple[Fleet, float]:
    """Run the rollout to its end; returns what came of it and how long it took."""
    fleet = Fleet(hubs.now, size)
    devices = asyncio.create_task(fleet.run())
    await asyncio.sleep(3 * size.every_s)  # by then all have told their attributes
    fleet.latencies.clear()
    start = time.perf_counter()
    await asyncio.to_thread(hubs.now.ask, "POST", f"/rollouts/{rollout}/start")
    killed = not kill
    while await asyncio.to_thread(status_of, hubs.now, rollout) != "finished":
        if not killed and len(fleet.done) > size.devices // 2:
            killed = True
            fleet.server = await asyncio.to_thread(hubs.kill)
            print(f"killed and started again after {len(fleet.done)} devices", flush=True)
        await asyncio.sleep(0.2)
    took = time.perf_counter() - start
    fleet.over = True
    await devices
    return fleet, took


def check(server: Server, size: Size, rollout: int) -> None:
    """Look whether everybody has it, by the hub's own count."""
    shown = server.ask("GET", f"/rollouts/{rollout}")["totalTargetsPerStatus"]
    if shown["finished"] != size.devices:
        raise SystemExit(f"the hub counts {shown}")


@contextmanager
def prepared(size: Size) -> Iterator[tuple[Hubs, int]]:
    """Run a hub with devices and a rollout that is ready."""
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        hubs = Hubs(Path(place), stack)
        register(hubs.now, 0, size.devices)
        start = time.perf_counter()
        rollout = make_rollout(hubs.now, size)
        print(f"made ready in {time.perf_counter() - start:.1f} s", flush=True)
        yield hubs, rollout


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small run, to see that it works")
    parser.add_argument("--kill", action="store_true", help="SIGKILL in the middle")
    parser.add_argument("--devices", type=int, default=Size().devices, metavar="N")
    asked = parser.parse_args()
    size = Size(200, 10, 0.3) if asked.quick else Size(asked.devices)
    allow_connections(size.devices)
    use_second_core()
    with prepared(size) as (hubs, rollout), highest_memory(hubs.now.pid) as most:
        used = cpu_s(hubs.now.pid)
        fleet, took = uvloop.run(converge(hubs, size, rollout, kill=asked.kill))
        cpu = cpu_s(hubs.now.pid) - (0 if asked.kill else used)
        check(hubs.now, size, rollout)
    polls, p99 = len(fleet.latencies) / took, p99_ms(fleet.latencies)
    print(f"{size.devices} devices in {size.groups} groups, a poll every {size.every_s} s each")
    print(f"converged in {took:.1f} s; the polls alone need {size.limit_s:.0f} s ", end="")
    print(f"({beside(took / size.limit_s, 1.5, most=True)} of it)")
    print(f"{polls:.0f} polls/s meanwhile, p99 {p99:.1f} ms ({beside(p99, 50, most=True)})")
    print(f"{cpu:.1f} s CPU ({100 * cpu / took:.0f} % of a core), ", end="")
    print(f"{1000 * cpu / size.devices:.2f} ms a device; {most[0]:.0f} MiB ", end="")
    print(f"({beside(most[0], 300, most=True)})")
    print(f"acknowledged and asked for again: {fleet.again} ({beside(fleet.again, 0, most=True)})")
    if fleet.again:
        raise SystemExit(1)


if __name__ == "__main__":
    main()

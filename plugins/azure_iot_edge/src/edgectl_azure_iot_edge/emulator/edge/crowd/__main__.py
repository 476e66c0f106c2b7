"""``python -m …edge.crowd --folder DIR --hub HOST:PORT --mqtt-port N``: run pretended devices.

The folder's ``devices.json`` says who they are. It prints ``{"connected": N}`` when all have a
connection, and ends with SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import resource
import signal
import ssl
import sys
from pathlib import Path

from edgectl_azure_iot_edge.emulator.edge.crowd.client import Place
from edgectl_azure_iot_edge.emulator.edge.crowd.enroll import read_crowd
from edgectl_azure_iot_edge.emulator.edge.crowd.member import Member, Turns

_AT_ONCE = 32
_FILES_A_DEVICE = 4


def main(arguments: list[str] | None = None) -> int:
    """Run a crowd until it is told to end; return the exit code."""
    given = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    devices = read_crowd(given.folder)
    _raise_file_limit(len(devices) * _FILES_A_DEVICE + 256)
    tls = ssl.create_default_context(cafile=str(given.ca) if given.ca else None)
    place = Place(given.hub, given.mqtt_port, tls)
    asyncio.run(_run(place, devices, given.failing, given.writes_per_second))
    return 0


async def _run(place: Place, devices: dict[str, str], failing: int, writes_per_s: float) -> None:
    turns, ended = Turns(_AT_ONCE, writes_per_s), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    members = [
        Member(place, name, key, turns, fails=number < failing)
        for number, (name, key) in enumerate(devices.items())
    ]
    tasks = [asyncio.create_task(member.run()) for member in members]
    announcing = asyncio.create_task(_announce(members))
    await ended.wait()
    for task in (announcing, *tasks):
        task.cancel()
    for task in (announcing, *tasks):
        with contextlib.suppress(asyncio.CancelledError):
            await task
    await asyncio.gather(*(member.close() for member in members), return_exceptions=True)


async def _announce(members: list[Member]) -> None:
    for member in members:
        await member.connected.wait()
    print(json.dumps({"connected": len(members)}), flush=True)  # noqa: T201  # read by the fleet


def _raise_file_limit(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m edgectl_azure_iot_edge.emulator.edge.crowd")
    parser.add_argument("--folder", type=Path, required=True, help="has devices.json")
    parser.add_argument("--hub", required=True, metavar="HOST:PORT", help="the hub's name")
    parser.add_argument("--mqtt-port", type=int, required=True, help="where it speaks MQTT")
    parser.add_argument("--ca", type=Path, help="PEM file of the authority, or the system's")
    parser.add_argument("--failing", type=int, default=0, help="so many fail every release")
    parser.add_argument(
        "--writes-per-second", type=float, default=20.0, help="reports of all together"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())

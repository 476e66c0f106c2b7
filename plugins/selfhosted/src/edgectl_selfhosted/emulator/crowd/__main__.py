"""``python -m edgectl_selfhosted.emulator.crowd --folder DIR --hub URL``: run pretended devices.

The folder's ``devices.json`` says who they are. It prints ``{"connected": N}`` once each has
polled, and ends with SIGTERM or SIGINT. The devices poll in turn, each as often as asked, but all
together no more often than the hub of a small machine answers beside other work.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import sys
from pathlib import Path

from edgectl_selfhosted.emulator.crowd.enroll import read_crowd
from edgectl_selfhosted.emulator.crowd.member import Known, Member
from edgectl_selfhosted.emulator.crowd.wire import Line, RefusedError

_LINES = 32
_LOG = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> int:
    """Run a crowd until it is told to end; return the exit code."""
    given = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    known = Known()
    members = [
        Member(name, token, given.hardware, known, fails=number < given.failing)
        for number, (name, token) in enumerate(read_crowd(given.folder).items())
    ]
    asyncio.run(_run(members, given.hub, given.every, given.polls_per_second))
    return 0


async def _run(members: list[Member], hub: str, every_s: float, polls_per_s: float) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    turns = Turns(members, pause_s=max(every_s / len(members), 1 / polls_per_s))
    async with (
        asyncio.TaskGroup() as group
    ):  # what one of them did not expect ends all, and is told
        tasks = [group.create_task(_work(turns, Line(hub))) for _ in range(_LINES)]
        tasks.append(group.create_task(_announce(turns, len(members))))
        await ended.wait()
        for task in tasks:
            task.cancel()


class Turns:
    """Who polls next, and when.

    Args:
        members: The devices.
        pause_s: Seconds from one poll to the next one's.
    """

    def __init__(self, members: list[Member], *, pause_s: float) -> None:
        self._members = members
        self._pause_s = pause_s
        self._number = 0
        self._at = 0.0
        self._heard: set[Member] = set()
        self.all_heard = asyncio.Event()

    async def next(self) -> Member:
        """Wait for the next turn and return whose it is."""
        now = asyncio.get_running_loop().time()
        member = self._members[self._number % len(self._members)]
        self._number += 1
        self._at = turn = max(self._at + self._pause_s, now)
        await asyncio.sleep(turn - now)
        return member

    def heard(self, member: Member) -> None:
        """Note that a device had its answer."""
        if not self.all_heard.is_set():
            self._heard.add(member)
            if len(self._heard) == len(self._members):
                self.all_heard.set()


async def _work(turns: Turns, line: Line) -> None:
    while True:
        member = await turns.next()
        try:
            await member.turn(line)
        except (OSError, RefusedError) as exc:
            _LOG.info("a device begins again at its next turn: %s", exc)
        else:
            turns.heard(member)


async def _announce(turns: Turns, size: int) -> None:
    await turns.all_heard.wait()
    print(json.dumps({"connected": size}), flush=True)  # noqa: T201  # read by the fleet


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m edgectl_selfhosted.emulator.crowd")
    parser.add_argument("--folder", type=Path, required=True, help="has devices.json")
    parser.add_argument("--hub", required=True, metavar="URL", help="where the hub is")
    parser.add_argument("--hardware", default="x86-64-cpu", help="their hardware profile")
    parser.add_argument("--failing", type=int, default=0, help="so many fail every release")
    parser.add_argument("--every", type=float, default=1.0, help="seconds between a device's polls")
    parser.add_argument(
        "--polls-per-second", type=float, default=500.0, help="polls of all together"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""One rollout over a whole fleet, killed on its way and finished by somebody else elsewhere.

A fleet of pretended devices gets a release in three waves. The first driver is killed (SIGKILL)
while the last wave is under way. A second operator, in another folder that has nothing but the
project file and the key, goes on with ``edgectl resume`` and has the verdict. Then ``edgectl
deploy`` finds nothing to do. The same at a tenth of the size says how cost grows.

Limits: 300 MiB of memory for a driver of 10,000 devices, 1.0 deliveries a device, what the vendor
documents for a minute or a second, a screenful of progress (40 lines) from each driver, and cost
that grows no faster than the fleet (1.0). What the kill cost is told too: the lease of a driver
that fell silent ends after a minute.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent))  # make bench runs Python with -P
from _cloud import Cloud
from _fleets import FLEETS, Books, Fleet, most

DEVICES = dict.fromkeys(FLEETS, 10_000) | {"memory": 100_000}
QUICK = dict.fromkeys(FLEETS, 40) | {"memory": 2_000}
LIMIT_MIB, LIMIT_LINES = 300.0, 40
LAST_WAVE = "devices of wave 3 have not settled"
AWAY_S = 300.0
PARTLY = 3
"""Exit code where devices are unreachable: on a machine that is too small emulated ones are."""
SMALLEST = 20
"""Fewer are not three waves."""


class Driver(NamedTuple):
    """What one driver took.

    Attributes:
        said: Its lines of progress.
        rows: What it printed, read as JSON; nothing if it was killed.
    """

    wall_s: float
    cpu_s: float
    mib: float
    said: list[str]
    rows: list[dict[str, Any]]
    code: int


class Rehearsal(NamedTuple):
    """A rollout in two parts, and a deploy that found nothing to do.

    Attributes:
        away_s: From the kill until the second operator had the target.
        given: Devices that the drivers' journals say were given the release, each time counted.
        journal_bytes: Both journals together.
        verdict: The counts of the verdict.
    """

    size: int
    killed: Driver
    second: Driver
    again: Driver
    away_s: float
    given: int
    journal_bytes: int
    verdict: dict[str, int]
    books: Books

    @property
    def cpu_s(self) -> float:
        """CPU time of both drivers."""
        return self.killed.cpu_s + self.second.cpu_s


class Operator:
    """Somebody who works in a folder.

    Args:
        name: Who.
        cloud: What is reached from there.
        edgectl: The command.
    """

    def __init__(self, name: str, cloud: Cloud, edgectl: Sequence[str]) -> None:
        self.folder = cloud.folder
        self._edgectl = edgectl
        self._env = cloud.env | {"LOGNAME": name, "USER": name}

    def drive(self, command: str, *, kill_at: str = "") -> Driver:
        """Run a command of edgectl to its end, or kill it once it has said something."""
        start = time.perf_counter()
        # Not a pipe: what many devices fill would wait there for somebody to read it.
        with tempfile.TemporaryFile("w+") as printed:
            process = subprocess.Popen(
                [*self._edgectl, "-o", "json", command],
                cwd=self.folder,
                env=self._env,
                stdout=printed,
                stderr=subprocess.PIPE,
                text=True,
            )
            assert process.stderr is not None
            said = []
            for line in process.stderr:
                said.append(line.rstrip())
                if kill_at and kill_at in line:
                    process.kill()
                    break
            _, status, used = os.wait4(process.pid, 0)
            printed.seek(0)
            words = printed.read()
        process.returncode = os.waitstatus_to_exitcode(status)
        return Driver(
            time.perf_counter() - start,
            used.ru_utime + used.ru_stime,
            used.ru_maxrss / 1024,
            said,
            json.loads(words or "[]") if not kill_at else [],
            process.returncode,
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("providers", nargs="*", metavar="PROVIDER", help=", ".join(FLEETS))
    parser.add_argument("--devices", type=int, help="devices of each fleet")
    parser.add_argument("--quick", action="store_true", help="small fleets, to see that it runs")
    parser.add_argument("--once", action="store_true", help="only the full size")
    given = parser.parse_args()
    for provider in given.providers or FLEETS:
        wanted = given.devices or (QUICK if given.quick else DEVICES)[provider]
        size = most(provider, wanted)
        small = None if given.once else rehearse(provider, max(size // 10, SMALLEST))
        if small is not None:
            show(provider, small)
        large = rehearse(provider, size)
        show(provider, large)
        if small is not None:
            compare(small, large)


def rehearse(provider: str, size: int) -> Rehearsal:
    """Roll out to a fleet, with a kill on the way."""
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryDirectory() as other:
        start = time.perf_counter()
        with FLEETS[provider](Path(name), size) as fleet:
            up_s = time.perf_counter() - start
            print(f"{provider}: {size} devices are up after {up_s:.0f} s", flush=True)
            return _rehearse(fleet, size, Path(other))


def _rehearse(fleet: Fleet, size: int, other: Path) -> Rehearsal:
    here = fleet.cloud
    shutil.copyfile(here.folder / "edgectl.yaml", other / "edgectl.yaml")
    key = str(here.folder / ".edgectl/keys/publisher.pem")
    there = Cloud(other, here.env | {"EDGECTL_SIGNING_KEY": key}, here.control, here.trust)
    first, second = (
        Operator(name, cloud, fleet.edgectl) for name, cloud in (("first", here), ("second", there))
    )
    fleet.forget()
    killed = first.drive("deploy", kill_at=LAST_WAVE)
    if LAST_WAVE not in killed.said[-1]:
        raise SystemExit("\n".join(killed.said))
    at = time.perf_counter()
    went_on = second.drive("resume")
    while _is_held(went_on) and time.perf_counter() - at < AWAY_S:
        time.sleep(1)
        went_on = second.drive("resume")
    if went_on.code not in {0, PARTLY} or _is_held(went_on):
        raise SystemExit(f"{went_on.code}: {went_on.rows} {went_on.said}")
    away_s = time.perf_counter() - at - went_on.wall_s
    books = fleet.books()
    fleet.forget()
    again = first.drive("deploy")
    journals = [folder / ".edgectl/journal.jsonl" for folder in (here.folder, other)]
    return Rehearsal(
        size,
        killed,
        went_on,
        again,
        away_s,
        sum(map(_given, journals)),
        sum(journal.stat().st_size for journal in journals),
        went_on.rows[0]["verdict"]["counts"],
        books,
    )


def _is_held(driver: Driver) -> bool:
    """Whether the first operator is still taken for alive."""
    held = [f"{one.get('driven_by', '')} {one.get('error', '')}" for one in driver.rows]
    return any("first@" in words for words in [*held, *driver.said])


def _given(journal: Path) -> int:
    """Return to how many devices a driver's journal says the release was given."""
    entries = map(json.loads, journal.read_text().splitlines())
    return sum(int(one["devices"]) for one in entries if one["action"] == "assign")


def show(provider: str, found: Rehearsal) -> None:
    """Print what a rehearsal took."""
    wall_s = found.killed.wall_s + found.second.wall_s
    mib = max(found.killed.mib, found.second.mib)
    lines = max(len(found.killed.said), len(found.second.said))
    longest = max(map(len, found.killed.said + found.second.said))
    size = found.size
    print(f"{provider}, {size} devices: {found.verdict}")
    print(
        f"  drivers: {wall_s:.0f} s, of that {found.cpu_s / wall_s:.2f} at work "
        f"({found.cpu_s:.1f} s of CPU), {mib:.0f} MiB ({mib / LIMIT_MIB:.2f} of {LIMIT_MIB:.0f})"
    )
    print(
        f"  taken over {found.away_s:.0f} s after the kill; nothing to do: "
        f"{found.again.wall_s:.1f} s, {found.again.cpu_s:.1f} s of CPU"
    )
    given = found.books.given if found.books.given is not None else found.given
    print(
        f"  given to {given} ({given / size:.4f} a device); progress {lines} lines "
        f"({lines / LIMIT_LINES:.2f} of a screenful), the longest has {longest} characters; "
        f"journals {found.journal_bytes} bytes"
    )
    if found.books.calls is not None and found.books.writes is not None:
        print(
            f"  {found.books.calls} calls ({found.books.calls / size:.3f} a device), "
            f"{found.books.writes} of them writing ({found.books.writes / size:.3f} a device)"
        )
    nearest = sorted(found.books.peaks.items(), key=lambda one: -one[1][0] / one[1][1])
    for kind, (peak, limit, span) in nearest[:6]:
        print(f"  {kind:40} {peak:7.0f} within a {span}, {peak / limit:.2f} of the documented rate")
    sys.stdout.flush()


def compare(small: Rehearsal, large: Rehearsal) -> None:
    """Print how cost grew, as a share of how the fleet grew; 1.0 is linear."""
    grown = large.size / small.size
    print(f"  from {small.size} to {large.size} devices, beside the fleet's own growth:")
    print(f"    CPU of the drivers {large.cpu_s / small.cpu_s / grown:.2f}", end="")
    if large.books.calls and small.books.calls:
        print(f", calls {large.books.calls / small.books.calls / grown:.2f}", end="")
    mib = [max(one.killed.mib, one.second.mib) for one in (small, large)]
    print(f", memory {mib[1] / mib[0] / grown:.2f}", flush=True)


if __name__ == "__main__":
    main()

"""What a deploy to 1,000 things asks of the account, beside the request rates that AWS documents.

An emulated account, whose request rates are AWS's, gets a crowd of pretended core devices; then
one `edgectl deploy` gives them a release in three waves, and a second one finds nothing to do.
The account counts the calls, those of the devices for S3 too; what it throttled is told apart.
Ratio: the most calls within any second over the limit, which is not to go above 1. AWS documents
one rate for all of greengrassv2, and one for each operation of iot.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # make bench runs Python with -P
from _cloud import Cost, emulated

THINGS = 1000
READS = ("Get", "List", "Describe", "Head", "Search")
PROJECT = """\
apiVersion: edgectl/v1
name: tiny
version: "1"
train: {command: [python, train.py], outputs: {model: out/model.onnx}}
model: {path: out/model.onnx}
device: {soak: 0s}
targets:
  all: {provider: aws, hardware: x86-64-cpu, selector: {thing_group: tiny-fleet}}
rollout: {waves: [1, 10%, 100%], soak: 0s}
providers:
  aws: {region: us-east-1, bucket: tiny-models}
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--things", type=int, default=THINGS)
    things = parser.parse_args().things
    with tempfile.TemporaryDirectory() as name:
        start = time.perf_counter()
        crowd = ("--devices", "0", "--crowd", str(things), "all")
        with emulated("aws", PROJECT, Path(name), *crowd) as cloud:
            print(f"{things} things are up after {time.perf_counter() - start:.0f} s")
            cloud.build("aws")
            cloud.ask("calls", "DELETE")
            cost = cloud.edgectl("deploy")
            counted = cloud.ask("calls")
            show("first deploy", cost, counted)
            compare(counted, cloud.ask("rates"))
            cloud.ask("calls", "DELETE")
            show("second deploy", cloud.edgectl("deploy"), cloud.ask("calls"))


def compare(counted: dict[str, Any], limits: dict[str, float]) -> None:
    """Print the most calls within a second beside what is documented."""
    print(f"  {'most calls within a second':42}{'calls':>8}{'peak':>6}{'limit':>7}{'ratio':>7}")
    for name in ordered(counted["peak_per_second"], limits):
        limit, peak = limits.get(name), counted["peak_per_second"][name]
        calls = sum(n for key, n in counted["total"].items() if f"{key}.".startswith(f"{name}."))
        beside = f"{limit:7.0f}{peak / limit:7.2f}" if limit else f"{'-':>7}{'-':>7}"
        print(f"  {name:42}{calls:8}{peak:6}{beside}")


def ordered(peaks: dict[str, int], limits: dict[str, float]) -> list[str]:
    """Return services, then the operations that have a limit, the nearest to it first."""
    operations = [name for name in peaks if "." in name and name in limits]
    nearest = sorted(operations, key=lambda name: (-peaks[name] / limits[name], name))
    return [*sorted(name for name in peaks if "." not in name), *nearest]


def show(title: str, cost: Cost, counted: dict[str, Any]) -> None:
    """Print what a deploy cost, here and in the account."""
    total = counted["total"]
    writes = sum(n for name, n in total.items() if not name.split(".")[1].startswith(READS))
    throttled = sum(counted["throttled"].values())
    print(f"{title}: {cost.said}")
    print(
        f"  {cost.wall_s:.1f} s, {cost.cpu_s:.1f} s of CPU, {cost.peak_mb:.0f} MB at most; "
        f"{sum(total.values())} calls, {writes} of them writing, {throttled} throttled"
    )


if __name__ == "__main__":
    main()

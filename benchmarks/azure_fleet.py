"""What a deploy to 1,000 devices asks of the hub, beside the request rates that Azure documents.

An emulated hub of one S1 unit, whose request rates are Azure's, gets a crowd of pretended edge
devices; then one `edgectl deploy` gives them a release in four waves, and a second one finds
nothing to do. The hub counts the calls; what it throttled is told apart. Ratio: the most calls
within any minute (or second) over the documented rate, which is not to go above 1.
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

DEVICES = 1000
READS = ("Get", "List", "Query", "Test")
MINUTE_KINDS = ("Configuration", "Query", "Registry")
SECOND_KINDS = ("TwinRead", "TwinWrite")
PROJECT = """\
apiVersion: edgectl/v1
name: tiny
version: "1"
train: {command: [python, train.py], outputs: {model: out/model.onnx}}
model: {path: out/model.onnx}
device: {soak: 0s}
targets:
  all: {provider: azure, hardware: x86-64-cpu, selector: {tags: {site: tiny}}}
rollout: {waves: [1, 10%, 50%, 100%], soak: 0s}
providers:
  azure:
    subscription_id: none
    resource_group: edgectl
    iot_hub: edgectl-hub
    registry: ${EDGECTL_AZURE_REGISTRY:-none}
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--devices", type=int, default=DEVICES)
    devices = parser.parse_args().devices
    with tempfile.TemporaryDirectory() as name:
        start = time.perf_counter()
        crowd = ("--devices", "0", "--crowd", str(devices), "all")
        with emulated("azure", PROJECT, Path(name), *crowd) as cloud:
            print(f"{devices} devices are up after {time.perf_counter() - start:.0f} s")
            cloud.build()
            limits = cloud.ask("rates")
            cloud.ask("calls", "DELETE")
            cost = cloud.edgectl("deploy")
            counted = cloud.ask("calls")
            show("first deploy", cost, counted)
            compare(counted, limits)
            cloud.ask("calls", "DELETE")
            show("second deploy", cloud.edgectl("deploy"), cloud.ask("calls"))


def compare(counted: dict[str, Any], limits: dict[str, float]) -> None:
    """Print the most calls of each kind beside what is documented; limits are by the second."""
    print(f"  {'kind of call':24}{'calls':>8}{'within':>9}{'peak':>6}{'limit':>7}{'ratio':>7}")
    spans = (("minute", 60.0, MINUTE_KINDS), ("second", 1.0, SECOND_KINDS))
    for span, seconds, kinds in spans:
        for kind in kinds:
            calls = counted["total"].get(f"rate.{kind}", 0)
            peak = counted[f"peak_per_{span}"].get(f"rate.{kind}", 0)
            limit = limits[kind] * seconds
            print(f"  {kind:24}{calls:8}{span:>9}{peak:6}{limit:7.0f}{peak / limit:7.2f}")


def show(title: str, cost: Cost, counted: dict[str, Any]) -> None:
    """Print what a deploy cost, here and in the hub."""
    total = {n: c for n, c in counted["total"].items() if n.startswith("hub.")}
    writes = sum(c for n, c in total.items() if not n.removeprefix("hub.").startswith(READS))
    throttled = sum(counted["throttled"].values())
    print(f"{title}: {cost.said}")
    print(
        f"  {cost.wall_s:.1f} s, {cost.cpu_s:.1f} s of CPU, {cost.peak_mb:.0f} MB at most; "
        f"{sum(total.values())} calls, {writes} of them writing, {throttled} throttled"
    )


if __name__ == "__main__":
    main()

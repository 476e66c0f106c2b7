"""Run one runtime under mixed traffic for as long as you like, and say whether it stayed as it was.

Good requests of every kind (REST JSON and binary, gRPC raw and typed, several models), broken ones
from ``malformed``, two releases that replace each other, models that come and go, probes, and a
telemetry receiver that goes away and comes back. It fails when one good request failed, an answer
was the server's own fault, memory rose, files or threads were left, or a record of telemetry was
lost; the table says which. ``make soak`` runs it for an hour.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "edge" / "runtime" / "support"))
sys.path.insert(0, str(Path(__file__).parent))

from receiver import Receiver
from report import Counts, Report, Sample, judge, slope_bytes_per_hour
from rt_process import Served, starting, until
from traffic import Traffic, folders

WARM_UP_SHARE = 0.25


def main() -> int:
    """Soak, print the table, and return 0 if all was well."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3600.0, help="how long (3600)")
    parser.add_argument("--seed", default="soak", help="of the broken requests (soak)")
    options = parser.parse_args()
    report = soak(options.seconds, options.seed)
    sys.stdout.write(report.table())
    return 0 if report.ok else 1


def soak(seconds: float, seed: str) -> Report:
    """Run the traffic, then look whether the runtime is as it should be."""
    with tempfile.TemporaryDirectory(prefix="soak-") as name, Receiver() as receiver:
        root = Path(name)
        releases, models = folders(root)
        with starting(root / "r") as start:
            served = start(
                *("--version-dir", releases[0], "--precision", "fp32", "--device", "soak"),
                *("--models", models, "--load", "*", "--grpc-port", "0"),
                *("--max-body-bytes", "300000", "--drain-s", "20"),
                *("--telemetry-url", receiver.url, "--telemetry-interval-s", "0.5"),
                *("--telemetry-health-interval-s", "5"),
            )
            traffic = Traffic(served, releases, seed)
            samples = drive(served, traffic, receiver, seconds)
            return finish(served, traffic.counts, receiver, samples)


def drive(served: Served, traffic: Traffic, receiver: Receiver, seconds: float) -> list[Sample]:
    """Let everybody at the runtime for so long, and measure it meanwhile."""
    stop = threading.Event()
    toggler = threading.Thread(target=receiver.come_and_go, args=(stop,))
    threads = [*traffic.threads(stop), toggler]
    for thread in threads:
        thread.start()
    samples = []
    interval_s = max(0.25, seconds / 1000)
    began = time.monotonic()
    while time.monotonic() - began < seconds and served.process.poll() is None:
        samples.append(Sample.of(served.process.pid, time.monotonic() - began))
        stop.wait(interval_s)
    stop.set()
    for thread in threads:
        thread.join(60)
    return samples


def finish(served: Served, counts: Counts, receiver: Receiver, samples: list[Sample]) -> Report:
    """Look at what is left when the traffic has ended, then end the runtime."""
    receiver.open()
    until(lambda: served.metric("edge_connections") <= 2, seconds=30)
    final = Sample.of(served.process.pid, samples[-1].at_s)
    until(lambda: served.metric("edge_telemetry_queued") == 0, seconds=120)
    dropped = sum(served.metrics("edge_telemetry_dropped_total"))
    status = served.control("GET", "/control/status")[1]
    served.process.terminate()
    code = served.process.wait(40)
    return judge(
        counts=counts,
        samples=samples[int(len(samples) * WARM_UP_SHARE) :],
        final=final,
        lost=receiver.missing(),
        dropped=int(dropped),
        taken=len(receiver.sequences),
        release=(status["release"], counts.release),
        exit_code=code,
        slope=slope_bytes_per_hour(samples[int(len(samples) * WARM_UP_SHARE) :]),
    )


if __name__ == "__main__":
    sys.exit(main())

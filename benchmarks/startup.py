"""What ``edgectl --help`` costs beside ``import click``: median of alternating runs.

Limit: at most 25 ms more.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

RUNS = 15
LIMIT_MS = 25.0
COMMANDS = {
    "import click": [sys.executable, "-c", "import click"],
    "edgectl --help": [sys.executable, "-m", "edgectl.cli.main", "--help"],
}


def main() -> None:
    """Measure and print."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for run in range(RUNS + 1):
        for name, command in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            if run:
                times[name].append((time.perf_counter() - start) * 1000)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, value in medians.items():
        print(f"{name:16} {value:7.1f} ms (median of {RUNS})")
    more = medians["edgectl --help"] - medians["import click"]
    print(f"difference       {more:7.1f} ms, limit {LIMIT_MS} ms, ratio {more / LIMIT_MS:.2f}")


if __name__ == "__main__":
    main()

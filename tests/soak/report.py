"""What a soak measured, what is wrong with it, and the table that says so."""

from __future__ import annotations

import os
import statistics
from collections import Counter
from pathlib import Path
from typing import NamedTuple

# What the allocator and the caches of a healthy runtime still take after the warm-up. A leak of
# ten bytes a request shows within a few minutes of these rates.
MAX_GROWTH_BYTES = 12 << 20
MORE_FILES = 8
MORE_THREADS = 2


class Counts:
    """What happened.

    Attributes:
        done: Good things by kind.
        failed: Good requests that were not answered right, and faults of the server, as text.
        release: The last one that was activated.
    """

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        self.failed: list[str] = []
        self.release = 1


class Sample(NamedTuple):
    """What the kernel says of the process at one moment."""

    at_s: float
    rss_bytes: int
    files: int
    threads: int

    @staticmethod
    def of(pid: int, at_s: float) -> Sample:
        """Look at a process."""
        folder = Path(f"/proc/{pid}")
        pages = int((folder / "statm").read_text().split()[1])
        files, threads = (sum(1 for _ in (folder / name).iterdir()) for name in ("fd", "task"))
        return Sample(at_s, pages * os.sysconf("SC_PAGE_SIZE"), files, threads)


class Row(NamedTuple):
    """One line of the table; ``wrong`` says what is wrong with it."""

    name: str
    value: str
    wrong: str = ""


class Report(NamedTuple):
    """The outcome."""

    rows: list[Row]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not any(row.wrong for row in self.rows)

    def table(self) -> str:
        """Return all lines, and the verdict."""
        width = max(len(row.name) for row in self.rows)
        lines = [
            f"{row.name:<{width}}  {row.value}{f'  WRONG: {row.wrong}' if row.wrong else ''}"
            for row in self.rows
        ]
        return "\n".join([*lines, "all is well" if self.ok else "SOMETHING IS WRONG", ""])


def slope_bytes_per_hour(samples: list[Sample]) -> float:
    """Return how memory rises, by least squares."""
    if len(samples) < 2:
        return 0.0
    line = statistics.linear_regression(
        [sample.at_s for sample in samples], [float(sample.rss_bytes) for sample in samples]
    )
    return line.slope * 3600


def judge(
    *,
    counts: Counts,
    samples: list[Sample],
    final: Sample,
    lost: int,
    dropped: int,
    taken: int,
    release: tuple[int, int],
    exit_code: int,
    slope: float,
) -> Report:
    """Say what is wrong.

    Args:
        counts: What the clients counted.
        samples: Of the process after its warm-up.
        final: When the clients had gone.
        lost: Telemetry records that the receiver never got.
        dropped: Those that the runtime says it dropped.
        taken: Those that it got.
        release: The one that answers, and the one that should.
        exit_code: Of the runtime, after SIGTERM.
        slope: Of the memory in bytes an hour.
    """
    rows = [Row(kind, f"{count:,}") for kind, count in sorted(counts.done.items())]
    failed = len(counts.failed)
    rows.append(Row("failed", str(failed), "; ".join(counts.failed[:3])))
    third = max(1, len(samples) // 3)
    early, late = samples[:third], samples[-third:]
    before, after = (statistics.median(s.rss_bytes for s in part) for part in (early, late))
    grown = after - before
    memory = f"{before / 1e6:.1f} to {after / 1e6:.1f} MB, {slope / 1e6:+.1f} MB/h"
    rows.append(Row("memory", memory, "it grew" if grown > MAX_GROWTH_BYTES else ""))
    files = max(sample.files for sample in early)
    left = final.files > files + MORE_FILES
    rows.append(Row("files", f"at most {files}, {final.files} left", "left open" if left else ""))
    threads = max(sample.threads for sample in early)
    more = max(sample.threads for sample in late) > threads + MORE_THREADS
    rows.append(Row("threads", f"{threads}, {final.threads} left", "they grew" if more else ""))
    wrong = "lost without a word" if lost > dropped else "" if taken else "none came"
    rows.append(Row("telemetry", f"{taken:,} taken, {lost} missing, {dropped} dropped", wrong))
    answers, should = release
    rows.append(Row("release", str(answers), "" if answers == should else f"not {should}"))
    rows.append(Row("exit code", str(exit_code), "" if exit_code == 0 else "not 0"))
    return Report(rows)

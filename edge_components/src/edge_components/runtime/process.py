"""What the kernel says of this process and machine; zeros where it says nothing."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import time
from pathlib import Path

_AWAY_S = 0.001


def rss_bytes() -> int:
    """Return the resident memory of this process."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def allow_files(wanted: int) -> None:
    """Let this process open so many files, or as many as the system lets it.

    The usual 1,024 are soon taken by connections that say nothing, and then nobody gets in.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def disk_bytes(path: Path) -> dict[str, int]:
    """Return what the disk of ``path`` holds and has left; nothing where it does not say."""
    try:
        usage = shutil.disk_usage(path)
    except OSError:
        return {}
    return {"disk_total_bytes": usage.total, "disk_free_bytes": usage.free}


def cores() -> int:
    """Return how many CPUs this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def give_way() -> None:
    """Let whoever answers requests have the only core between two steps of other work.

    The kernel lets a thread that has the core keep it for milliseconds; a model of microseconds
    answers dozens of requests in that time. Where there are more cores this does nothing.
    """
    if cores() == 1:
        time.sleep(_AWAY_S)


class CpuMeter:
    """The share of one core that this process used since the last look."""

    def __init__(self) -> None:
        self._wall = time.monotonic()
        self._cpu = time.process_time()

    def share(self) -> float:
        """Return the share since the last call, 1.0 for one whole core."""
        wall, cpu = time.monotonic(), time.process_time()
        passed = wall - self._wall
        used = cpu - self._cpu
        self._wall, self._cpu = wall, cpu
        return used / passed if passed > 0 else 0.0

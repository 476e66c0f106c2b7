"""Nodes and controllers of one cluster as a program: ``python -m … SETTINGS.json``.

The settings are ``ClusterSettings`` as JSON. It ends with SIGTERM, and leaves the containers
running: whoever starts it again finds them. When whoever started it is gone without a word,
nobody will, and it ends with its containers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from pathlib import Path

import msgspec

from edgectl_gke_edge.emulator.nodes.cluster import Cluster, ClusterSettings
from edgectl_gke_edge.emulator.nodes.kubelet.runtime import can_isolate, end_all

_LOOK_S = 1.0


def main() -> int:
    """Run; return the exit code: 1 if this machine allows no containers."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    settings = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=ClusterSettings)
    folder = Path(settings.folder)
    folder.mkdir(parents=True, exist_ok=True)
    why_not = can_isolate(folder)
    if why_not:
        sys.stderr.write(f"this machine runs no containers: {why_not}\n")
        return 1
    asyncio.run(_run(settings))
    return 0


async def _run(settings: ClusterSettings) -> None:
    running = asyncio.ensure_future(Cluster(settings).run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, running.cancel)
    watching = asyncio.ensure_future(_end_with_parent(running))
    with contextlib.suppress(asyncio.CancelledError):
        await running
    watching.cancel()
    if watching.done():
        end_all(Path(settings.folder))


async def _end_with_parent(running: asyncio.Future[None]) -> None:
    parent = os.getppid()
    while os.getppid() == parent:  # noqa: ASYNC110 - nothing tells a process of its parent's end
        await asyncio.sleep(_LOOK_S)
    running.cancel()


if __name__ == "__main__":
    sys.exit(main())

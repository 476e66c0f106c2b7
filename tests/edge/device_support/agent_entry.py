"""Starts the real agent quickly: a process that has imported everything and forks per agent.

One JSON order per line on standard input, one answer per line on standard output. An agent can be
told to kill itself with SIGKILL at the n-th step of its durable file operations.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec

from edge_components.agent.agent import AgentTiming
from edge_components.agent.backoff import Backoff
from edge_components.agent.download import DownloadPolicy
from edge_components.agent.http import Timeouts
from edge_components.agent.import_command import import_file
from edge_components.agent.supervisor import SupervisorTiming
from edge_components.agent.wiring import Tuning, run
from edge_components.contract.errors import ContractError
from edge_components.contract.package import Manifest
from edge_components.contract.release import ReleaseDocument
from edge_components.store.disk import Disk
from edge_components.store.store import StoreError
from edge_components.update.errors import RefusedError
from edge_components.update.executor import Timing
from edge_components.verify import VerifyError, load_publishers, verify_package, verify_release

FAKE = (sys.executable, "-S", "-E", str(Path(__file__).with_name("fake_runtime.py")))
QUICK = Tuning(
    runtime=FAKE,
    agent=AgentTiming(
        settle_s=1.0,
        resume_s=0.1,
        stop_s=2.0,
        backoff=Backoff(first_s=0.02, most_s=0.2),
        download=DownloadPolicy(fruitless=5, backoff=Backoff(first_s=0.01, most_s=0.1)),
    ),
    supervisor=SupervisorTiming(
        look_s=0.03,
        start_s=10.0,
        silence_s=3.0,
        stop_s=2.0,
        backoff=Backoff(first_s=0.02, most_s=0.5),
    ),
    soak=Timing(look_s=0.02, patience_s=1.0),
    timeouts=Timeouts(connect_s=2.0, read_s=1.0),
    control_s=2.0,
    check_s=2.0,
)


REAL = Tuning(
    agent=msgspec.structs.replace(QUICK.agent, settle_s=15.0),
    supervisor=msgspec.structs.replace(QUICK.supervisor, start_s=60.0, silence_s=20.0),
    soak=Timing(look_s=0.05, patience_s=5.0),
)


class DirectTrust:
    """Verification in the agent's own process: the same functions, without a child's start."""

    def __init__(self, publishers: list[str]) -> None:
        self._publishers = load_publishers(publishers)

    def release(self, envelope: bytes) -> ReleaseDocument:
        try:
            return verify_release(envelope, self._publishers)
        except VerifyError as exc:
            raise RefusedError(exc.reason, exc.detail, exc.claimed) from exc

    def package(self, bundle: bytes, manifest: Manifest) -> None:
        try:
            verify_package(bundle, manifest, self._publishers)
        except VerifyError as exc:
            raise RefusedError(exc.reason, exc.detail) from exc


class KillingDisk(Disk):
    """Kills its own process at the n-th step, and writes down how far it came."""

    def __init__(self, kill_at: int, trace: str) -> None:
        super().__init__(self._count)
        self._kill_at = kill_at
        self._trace = Path(trace).open("a", encoding="utf-8") if trace else None  # noqa: SIM115
        self._steps = 0

    def _count(self, name: str) -> None:
        self._steps += 1
        if self._trace is not None:
            self._trace.write(name + "\n")
            self._trace.flush()
        if self._steps == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


def agent(order: dict[str, Any]) -> int:
    logging.basicConfig(
        level=logging.INFO,
        filename=order["log"],
        format="%(asctime)s %(process)d %(name)s %(message)s",
        force=True,
    )
    disk = KillingDisk(order.get("kill_at", 0), order.get("trace", ""))
    if order.get("real"):
        return run(Path(order["config"]), tuning=REAL)
    try:
        return run(
            Path(order["config"]), tuning=QUICK, disk=disk, trust=DirectTrust(order["publishers"])
        )
    except StoreError as exc:
        logging.getLogger().warning("%s", exc)
        return 3


def bring(order: dict[str, Any]) -> int:
    """Run ``edge-agent import`` with its output in files."""
    for name, descriptor in (("said", 2), ("result", 1)):
        file = os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, descriptor)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, force=True)
    # The process that forks keeps its own buffers to itself.
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", closefd=False)
    try:
        return import_file(
            Path(order["config"]),
            Path(order["file"]),
            tuning=QUICK,
            disk=KillingDisk(order.get("kill_at", 0), ""),
            trust=DirectTrust(order["publishers"]),
        )
    except (ContractError, StoreError) as exc:
        print(exc, file=sys.stderr, flush=True)
        return 1


def main() -> int:
    for line in sys.stdin:
        order = json.loads(line)
        if order["op"] == "wait":
            _, status = os.waitpid(order["pid"], 0)
            answer = {"exit": os.waitstatus_to_exitcode(status)}
        elif order["op"] == "look":
            pid, status = os.waitpid(order["pid"], os.WNOHANG)
            answer = {"exit": os.waitstatus_to_exitcode(status) if pid else None}
        else:
            sys.stdout.flush()
            pid = os.fork()
            if pid == 0:
                code = 70
                try:
                    code = bring(order) if order["op"] == "import" else agent(order)
                finally:
                    logging.shutdown()
                    os._exit(code)
            answer = {"pid": pid}
        print(json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

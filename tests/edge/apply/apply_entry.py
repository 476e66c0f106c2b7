"""Starts ``edge-agent apply`` quickly: a process with everything imported forks per order."""

from __future__ import annotations

import errno
import json
import logging
import os
import resource
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "device_support"))

from agent_entry import FAKE, DirectTrust, KillingDisk

from edge_components.apply.command import Tuning, apply
from edge_components.apply.external import RuntimeTiming
from edge_components.apply.folder import Delivery
from edge_components.store.disk import Disk
from edge_components.update.executor import Timing

QUICK = Tuning(
    program=FAKE,
    runtime=RuntimeTiming(look_s=0.02, wait_s=1.5, load_s=0.3, start_s=5.0),
    soak=Timing(look_s=0.02, patience_s=1.0),
    lock_s=5.0,
    control_s=2.0,
    check_s=2.0,
)


class FullDisk(Disk):
    """Takes nothing more."""

    def __init__(self) -> None:
        super().__init__(self._refuse)

    def _refuse(self, name: str) -> None:
        if name.endswith(": written"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def order(words: dict[str, Any]) -> int:
    logging.basicConfig(
        level=logging.INFO,
        filename=words["log"],
        format="%(asctime)s %(process)d %(name)s %(message)s",
        force=True,
    )
    if limit := words["largest_file"]:
        # What a disk that is nearly full looks like to a program, without the right to mount one.
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    with Path(words["output"]).open("w", encoding="utf-8") as output:
        sys.stdout = output
        return apply(
            Delivery(folder=Path(words["folder"])),
            Path(words["config"]),
            tuning=QUICK,
            disk=FullDisk() if words["full"] else KillingDisk(words["kill_at"], ""),
            trust=DirectTrust(words["publishers"]),
        )


def main() -> int:
    for line in sys.stdin:
        words = json.loads(line)
        if words["op"] == "wait":
            _, status = os.waitpid(words["pid"], 0)
            answer = {"exit": os.waitstatus_to_exitcode(status)}
        else:
            sys.stdout.flush()
            pid = os.fork()
            if pid == 0:
                code = 70
                try:
                    code = order(words)
                except Exception:
                    logging.getLogger().exception("the order failed")
                finally:
                    logging.shutdown()
                    os._exit(code)
            answer = {"pid": pid}
        print(json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

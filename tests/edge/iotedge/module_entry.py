"""Starts ``edge-module`` quickly: a process that has imported everything forks per module."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "device_support"))

import msgspec
import paho.mqtt.client  # noqa: F401 - what the module imports late
from agent_entry import FAKE, DirectTrust, KillingDisk

from edge_components.agent.backoff import Backoff
from edge_components.agent.download import DownloadPolicy
from edge_components.agent.supervisor import SupervisorTiming
from edge_components.contract.errors import ContractError
from edge_components.iotedge.hub import HubTiming
from edge_components.iotedge.methods import Journal
from edge_components.iotedge.module import ModuleTiming
from edge_components.iotedge.orders import OrderTiming
from edge_components.iotedge.wiring import Place, Tuning, run
from edge_components.store.store import StoreError
from edge_components.update.executor import Timing

QUICK = Tuning(
    runtime=FAKE,
    module=ModuleTiming(answer_s=0.5, gap_s=0.0, settle_s=1.0, stop_s=2.0),
    orders=OrderTiming(again=Backoff(first_s=0.2, most_s=0.5)),
    hub=HubTiming(connect_s=5.0, backoff=Backoff(first_s=0.02, most_s=0.2)),
    supervisor=SupervisorTiming(
        look_s=0.03,
        start_s=10.0,
        silence_s=3.0,
        stop_s=2.0,
        backoff=Backoff(first_s=0.02, most_s=0.5),
    ),
    soak=Timing(look_s=0.02, patience_s=1.0),
    download=DownloadPolicy(fruitless=3, backoff=Backoff(first_s=0.01, most_s=0.05)),
    control_s=2.0,
    check_s=2.0,
    load_s=2.0,
    send_s=2.0,
)


def module(order: dict[str, Any]) -> int:
    journal = Journal()
    logging.basicConfig(
        level=logging.INFO,
        filename=order["log"],
        format="%(asctime)s %(process)d %(name)s %(message)s",
        force=True,
    )
    logging.getLogger().addHandler(journal)
    place = Place(
        config=Path(order["config"]), baked=Path(order["baked"]) if order["baked"] else None
    )
    tuning = QUICK
    if order["token_s"]:
        # A token's life is short where a test waits for its end.
        tuning = msgspec.structs.replace(QUICK, token_s=order["token_s"])
    try:
        return run(
            place,
            order["environment"],
            journal,
            tuning=tuning,
            disk=KillingDisk(order["kill_at"], ""),
            trust=DirectTrust(order["publishers"]),
        )
    except (ContractError, StoreError) as exc:
        logging.getLogger().warning("%s", exc)
        return 3


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
                    code = module(order)
                except Exception:
                    logging.getLogger().exception("the module failed")
                finally:
                    logging.shutdown()
                    os._exit(code)
            answer = {"pid": pid}
        print(json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

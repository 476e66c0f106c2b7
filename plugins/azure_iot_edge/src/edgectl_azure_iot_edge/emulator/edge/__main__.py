"""``python -m edgectl_azure_iot_edge.emulator.edge --config FILE --folder DIR``: run a device.

It ends with SIGTERM or SIGINT, and its modules with it. ``faults.json`` in its folder makes things
go wrong while it runs (:mod:`.faults`).
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from pathlib import Path

from edgectl.api import ProviderError
from edgectl_azure_iot_edge.emulator.edge.agent import CYCLE_S, AgentPace
from edgectl_azure_iot_edge.emulator.edge.device import Device, DeviceOptions
from edgectl_azure_iot_edge.emulator.edge.engines import ENGINES_HELP, choose_engine
from edgectl_azure_iot_edge.emulator.edge.pulls import WAIT_S
from edgectl_azure_iot_edge.emulator.edge.restarts import Pace
from edgectl_azure_iot_edge.emulator.edge.settings import (
    MQTT_PORT,
    SettingsError,
    read_settings,
)


def main(arguments: list[str] | None = None) -> int:
    """Run a device until it is told to end; return the exit code."""
    given = _parser().parse_args(arguments)
    try:
        settings = read_settings(given.config, given.folder, given.mqtt_port)
        make_engine = choose_engine(given.engine)
    except (SettingsError, ProviderError) as exc:
        print(f"error: {exc}", file=sys.stderr)  # noqa: T201  # a program's own output
        return 2
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    usual = Pace()
    options = DeviceOptions(
        pace=AgentPace(
            cycle_s=given.cycle,
            restarts=Pace(
                unit_s=given.cool_off,
                max_restarts=given.max_restarts,
                healthy_s=usual.healthy_s,
            ),
        ),
        pull_wait_s=given.pull_wait,
        plain_registries=frozenset(given.plain_registry),
        root=given.root,
    )
    device = Device(settings, options, make_engine)
    logging.getLogger(__name__).info("modules are %s", device.engine.describe())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: device.stop())
    device.run()
    return 0


def _parser() -> argparse.ArgumentParser:
    usual = Pace()
    parser = argparse.ArgumentParser(prog="python -m edgectl_azure_iot_edge.emulator.edge")
    add = parser.add_argument
    add("--config", type=Path, required=True, help="the runtime's own config.toml")
    add("--folder", type=Path, required=True, help="where the device keeps everything")
    add("--root", type=Path, help="the device's own files, for binds; FOLDER/root if not given")
    add("--mqtt-port", type=int, default=MQTT_PORT, help="where the hub speaks MQTT")
    add("--engine", default="process", help=f"what runs modules: {ENGINES_HELP}")
    add("--cycle", type=float, default=CYCLE_S, help="seconds between two looks")
    add("--pull-wait", type=float, default=WAIT_S, help="seconds that a pull is waited for")
    add("--cool-off", type=float, default=usual.unit_s, help="unit of pauses, in seconds")
    add("--max-restarts", type=int, default=usual.max_restarts, help="tries until it gives up")
    add(
        "--plain-registry",
        action="append",
        default=[],
        metavar="HOST:PORT",
        help="a registry without TLS; may be given several times",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""``python -m edgectl_aws_greengrass.emulator.nucleus --init-config FILE``: run a core device.

It ends with SIGTERM or SIGINT, and its components with it. A number in the file ``disk-bytes`` in
its root folder pretends a disk of that size, as ``--disk-bytes`` does from the start.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from pathlib import Path

from edgectl_aws_greengrass.emulator.nucleus.nucleus import Nucleus
from edgectl_aws_greengrass.emulator.nucleus.settings import SettingsError, read_settings


def main(arguments: list[str] | None = None) -> int:
    """Run a device until it is told to end; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m edgectl_aws_greengrass.emulator.nucleus")
    parser.add_argument("--init-config", type=Path, required=True, help="the nucleus's own file")
    parser.add_argument("--s3-endpoint", help="S3's address, if not AWS's own")
    parser.add_argument("--disk-bytes", type=int, help="pretend that the disk is this small")
    given = parser.parse_args(arguments)
    try:
        settings = read_settings(given.init_config)
    except SettingsError as exc:
        print(f"error: {exc}", file=sys.stderr)  # noqa: T201  # a program's own output
        return 2
    logs = settings.root / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        filename=logs / "greengrass.log",
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    endpoint = given.s3_endpoint or os.environ.get("AWS_ENDPOINT_URL_S3")
    nucleus = Nucleus(settings, endpoint, given.disk_bytes)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: nucleus.stop())
    nucleus.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())

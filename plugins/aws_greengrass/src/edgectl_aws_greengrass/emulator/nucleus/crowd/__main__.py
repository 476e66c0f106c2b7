"""``python -m edgectl_aws_greengrass.emulator.nucleus.crowd``: run many pretended core devices.

The account is where ``AWS_ENDPOINT_URL`` and the credentials of the environment say. It prints
``{"connected": N}`` when all have a connection, and ends with SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import ssl
import sys
import threading
from pathlib import Path

from edgectl_aws_greengrass.emulator.nucleus.cloud import CloudApi, open_pools
from edgectl_aws_greengrass.emulator.nucleus.crowd.enroll import enroll
from edgectl_aws_greengrass.emulator.nucleus.crowd.loop import Loop
from edgectl_aws_greengrass.emulator.nucleus.crowd.member import Member
from edgectl_aws_greengrass.emulator.nucleus.settings import NucleusSettings

_THREADS = 8


def main(arguments: list[str] | None = None) -> int:
    """Run a crowd until it is told to end; return the exit code."""
    given = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    ca = Path(given.ca or os.environ["AWS_CA_BUNDLE"])
    names = [f"{given.name}-{number:04d}" for number in range(1, given.things + 1)]
    made = enroll(names, given.thing_group, given.folder, given.hardware)
    tls = ssl.create_default_context(cafile=str(ca))
    tls.load_cert_chain(made.certificate, made.private_key)
    loop = Loop(tls)
    common = {
        "root": given.folder,
        "certificate": made.certificate,
        "private_key": made.private_key,
        "root_ca": ca,
        "region": made.region,
        "role_alias": made.role_alias,
        "data_host": given.host,
        "credentials_url": f"https://{given.host}:{given.data_port}",
        "mqtt_port": given.mqtt_port,
        "data_port": given.data_port,
    }
    pools = open_pools(NucleusSettings(thing=names[0], **common), _THREADS)
    s3_endpoint = f"https://{given.host}:{given.data_port}"
    members = []
    fetched: set[str] | None = None if given.every_download else set()
    for number, name in enumerate(names):
        settings = NucleusSettings(thing=name, **common)
        api = CloudApi(settings, s3_endpoint, pools)
        has_room = number >= given.full_disks
        members.append(
            Member(settings, api, has_room=has_room, fetched=fetched, submit=loop.submit)
        )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.stop())
    threading.Thread(target=_announce, args=(loop, len(members)), daemon=True).start()
    loop.run(members)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m edgectl_aws_greengrass.emulator.nucleus.crowd")
    parser.add_argument("--things", type=int, required=True, help="how many devices")
    parser.add_argument("--thing-group", required=True, help="the group that they join")
    parser.add_argument("--name", required=True, help="what their names begin with")
    parser.add_argument("--host", default="localhost", help="host of all endpoints")
    parser.add_argument("--mqtt-port", type=int, required=True)
    parser.add_argument("--data-port", type=int, required=True, help="data plane and S3")
    parser.add_argument("--folder", type=Path, required=True, help="takes their certificate")
    parser.add_argument("--ca", help="PEM file of the authority; default AWS_CA_BUNDLE")
    parser.add_argument("--hardware", default="x86-64-cpu", help="their hardware profile")
    parser.add_argument("--full-disks", type=int, default=0, help="so many have a full disk")
    parser.add_argument(
        "--every-download",
        action="store_true",
        help="have each device fetch each artifact; without it the first does for all",
    )
    return parser


def _announce(loop: Loop, wanted: int) -> None:
    waiting = threading.Event()
    while loop.connected < wanted:
        waiting.wait(0.1)
    print(json.dumps({"connected": wanted}), flush=True)  # noqa: T201  # a program's own output


if __name__ == "__main__":
    sys.exit(main())

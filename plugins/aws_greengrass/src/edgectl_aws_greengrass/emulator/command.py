"""``edgectl emulate aws``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from edgectl.api import Project, load_project
from edgectl.emulation import DEFAULT_HARDWARE, parse_device, run_until_told, tell
from edgectl_aws_greengrass.emulator.account import Ports
from edgectl_aws_greengrass.emulator.fleet import (
    Crowd,
    Fleet,
    FleetInfo,
    VirtualDevice,
    check_targets,
)
from edgectl_aws_greengrass.selector import read_selector


@click.command("aws")
@click.option(
    "-p",
    "--project",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="PATH",
    help="The project whose account and targets are set up.",
)
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".edgectl/emulator-aws"),
    show_default=True,
    help="Where certificates, devices and logs are kept. The account itself is in memory.",
)
@click.option(
    "--devices",
    "count",
    default=1,
    show_default=True,
    type=click.IntRange(0, 200),
    help="Core devices a target.",
)
@click.option(
    "--device",
    "named",
    multiple=True,
    metavar="TARGET/NAME[=PROFILE]",
    help="One core device by name, instead of --devices; may be given several times.",
)
@click.option(
    "--disk",
    "disks",
    multiple=True,
    metavar="NAME=BYTES",
    help="The disk of a core device is to seem this small; may be given several times.",
)
@click.option(
    "--crowd",
    "crowds",
    nargs=2,
    type=(click.IntRange(1, 10_000), str),
    multiple=True,
    metavar="N TARGET",
    help="N more things in a target that only pretend to run components.",
)
@click.option(
    "--crowd-full-disks",
    "full_disks",
    default=0,
    type=click.IntRange(min=0),
    help="So many things of each crowd have a full disk.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on for devices; the API stays on loopback.",
)
@click.option(
    "--host-name",
    "names",
    multiple=True,
    help="A name that devices call this machine by; the first stands in their configuration.",
)
@click.option("--port", default=0, help="Port of the API for boto3; 0 takes a free one.")
@click.option(
    "--data-port",
    "data_ports",
    type=int,
    multiple=True,
    help="Port of data plane, credentials and S3 for devices; may be given several times.",
)
@click.option("--mqtt-port", default=0, help="Port of MQTT for devices.")
@click.option(
    "--info",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write addresses and settings as JSON once all is up.",
)
@click.option("--stop-on-eof", is_flag=True, help="End when standard input ends.")
def emulate(
    *,
    project: Path,
    folder: Path,
    count: int,
    named: tuple[str, ...],
    disks: tuple[str, ...],
    crowds: tuple[tuple[int, str], ...],
    full_disks: int,
    host: str,
    names: tuple[str, ...],
    port: int,
    data_ports: tuple[int, ...],
    mqtt_port: int,
    info: Path | None,
    stop_on_eof: bool,
) -> None:
    """Start an AWS account in memory and core devices that really run what is deployed.

    Serves S3, IAM, STS, IoT, Greengrass V2, SageMaker, ECR and CloudWatch Logs until Ctrl-C, and
    prints the settings that `edgectl` needs to reach them.
    """
    loaded = load_project(project)
    devices = tuple(_parse(text) for text in named) or _devices(loaded, count)
    sizes = dict(_parse_disk(text) for text in disks)
    devices = tuple(
        msgspec.structs.replace(device, disk_bytes=sizes.get(device.name)) for device in devices
    )
    joining = tuple(Crowd(size=n, target=name, full_disks=full_disks) for n, name in crowds)
    check_targets(loaded, devices, joining)
    ports = Ports(api=port, data=(*data_ports, 0)[0], more_data=data_ports[1:], mqtt=mqtt_port)
    fleet = Fleet(folder, loaded, ports=ports, host=host, names=names)

    def start() -> None:
        running = fleet.start(devices, joining)
        tell(running, _notes(running), info)

    run_until_told(fleet, start, stop_on_eof=stop_on_eof)


def _notes(running: FleetInfo) -> Iterator[str]:
    yield f"devices: data plane, credentials and S3 at {running.data_url}"
    yield f"devices: MQTT at {running.mqtt_host}:{running.mqtt_port}"
    for name, arn in running.roles.items():
        yield f"role for {name}: {arn}"
    for device in running.devices:
        yield f"{device.name} ({device.target}, {device.hardware}) answers at {device.url}"


def _devices(project: Project, count: int) -> tuple[VirtualDevice, ...]:
    """Return devices for every target: those that it names, else as many as asked for."""
    found = []
    for name, spec in sorted(project.spec.targets.items()):
        if spec.provider != "aws":
            continue
        things = read_selector(project.target(name)).things
        numbered = tuple(f"{name}-{number}" for number in range(1, count + 1))
        for thing in things if things and count else numbered:
            hardware = spec.hardware or DEFAULT_HARDWARE
            found.append(VirtualDevice(name=thing, target=name, hardware=hardware))
    return tuple(found)


def _parse_disk(text: str) -> tuple[str, int]:
    name, _, size = text.partition("=")
    if not name or not size.isdigit():
        raise click.BadParameter(f"'{text}' is not NAME=BYTES", param_hint="--disk")
    return name, int(size)


def _parse(text: str) -> VirtualDevice:
    try:
        target, name, hardware = parse_device(text)
    except ValueError as exc:
        raise click.BadParameter(str(exc), param_hint="--device") from exc
    return VirtualDevice(name=name, target=target, hardware=hardware)

"""``edgectl emulate azure``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import get_args

import click
import msgspec

from edgectl.api import Project, load_project
from edgectl.emulation import DEFAULT_HARDWARE, parse_device, run_until_told, tell
from edgectl_azure_iot_edge.config import Tier
from edgectl_azure_iot_edge.emulator.edge.engines import ENGINES_HELP
from edgectl_azure_iot_edge.emulator.fleet import (
    Crowd,
    Fleet,
    FleetInfo,
    FleetOptions,
    VirtualDevice,
    check_targets,
)
from edgectl_azure_iot_edge.emulator.hub.settings import HubSettings
from edgectl_azure_iot_edge.emulator.place import setting
from edgectl_azure_iot_edge.selector import read_selector


@click.command("azure")
@click.option(
    "-p",
    "--project",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="PATH",
    help="The project whose hub and targets are set up.",
)
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".edgectl/emulator-azure"),
    show_default=True,
    help="Where certificates, registry, devices and logs are kept.",
)
@click.option(
    "--devices",
    "count",
    default=1,
    show_default=True,
    type=click.IntRange(0, 200),
    help="Edge devices a target.",
)
@click.option(
    "--device",
    "named",
    multiple=True,
    metavar="TARGET/NAME[=PROFILE]",
    help="One edge device by name, instead of --devices; may be given several times.",
)
@click.option(
    "--crowd",
    "crowds",
    nargs=2,
    type=(click.IntRange(1, 10_000), str),
    multiple=True,
    metavar="N TARGET",
    help="N more devices in a target that only pretend to run modules.",
)
@click.option(
    "--engine",
    default="process",
    show_default=True,
    help=f"What runs the devices' modules: {ENGINES_HELP}.",
)
@click.option(
    "--tier",
    type=click.Choice(get_args(Tier)),
    default=None,
    help="Tier of the hub, which decides rates and limits; the project's if not given.",
)
@click.option(
    "--units", type=click.IntRange(1, 200), default=None, help="Units of the hub; the same."
)
@click.option(
    "--bare",
    is_flag=True,
    help="Begin with an empty hub; else there is a base deployment and another team's layer.",
)
@click.option("--no-throttle", is_flag=True, help="Count requests, and refuse none.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on for whatever devices use.",
)
@click.option(
    "--host-name",
    "names",
    multiple=True,
    help="A name that devices call this machine by; the first stands in their configuration.",
)
@click.option("--port", default=0, help="Port of the hub's and all other APIs; 0 takes a free one.")
@click.option("--mqtt-port", default=0, help="Port of MQTT for devices; the hub has 8883.")
@click.option("--registry-port", default=0, help="Port of the registry.")
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
    crowds: tuple[tuple[int, str], ...],
    engine: str,
    tier: Tier | None,
    units: int | None,
    bare: bool,
    no_throttle: bool,
    host: str,
    names: tuple[str, ...],
    port: int,
    mqtt_port: int,
    registry_port: int,
    info: Path | None,
    stop_on_eof: bool,
) -> None:
    """Start an Azure subscription and edge devices that really run what is deployed.

    Serves IoT Hub, Azure ML, Blob storage, a registry, the hub's telemetry endpoint, Microsoft
    Entra ID and Azure Resource Manager until Ctrl-C, and prints the settings that `edgectl`,
    Azure's SDKs and its CLI need to reach them.
    """
    loaded = load_project(project)
    devices = tuple(_parse(text) for text in named) or _devices(loaded, count)
    joining = tuple(Crowd(size=n, target=name) for n, name in crowds)
    check_targets(loaded, devices, joining)
    hub = bought_hub(
        loaded,
        {"tier": tier, "units": units, "throttle": not no_throttle, "mqtt_port": mqtt_port},
    )
    options = FleetOptions(
        host=host,
        names=names,
        port=port,
        registry_port=registry_port,
        hub=hub,
        engine=engine,
        seeded=not bare,
    )
    fleet = Fleet(folder, loaded, options)

    def start() -> None:
        running = fleet.start(devices, joining)
        tell(running, _notes(running), info)

    run_until_told(fleet, start, stop_on_eof=stop_on_eof)


def bought_hub(project: Project, chosen: Mapping[str, object]) -> HubSettings:
    """Return how the hub is bought: as options say, else as the project does.

    Raises:
        ProjectError: The project says what cannot be bought.
    """
    usual = {key: setting(project, key) for key in ("tier", "units")}
    wanted = {**usual, **{key: value for key, value in chosen.items() if value is not None}}
    try:
        return msgspec.convert(
            {key: value for key, value in wanted.items() if value is not None},
            HubSettings,
            strict=False,
        )
    except msgspec.ValidationError as exc:
        raise project.error("providers.azure", str(exc)) from exc


def _notes(running: FleetInfo) -> Iterator[str]:
    yield f"registry with the runtime's image: {running.registry}"
    yield f"steered below {running.url}/emulator/"
    yield f"devices: MQTT on port {running.mqtt_port}"
    for device in running.devices:
        yield f"{device.name} ({device.target}, {device.hardware}) answers at {device.url}"


def _devices(project: Project, count: int) -> tuple[VirtualDevice, ...]:
    """Return devices for every target: those that it names, else as many as asked for."""
    found = []
    for name, spec in sorted(project.spec.targets.items()):
        if spec.provider != "azure":
            continue
        chosen = read_selector(project.target(name)).devices
        numbered = tuple(f"{name}-{number}" for number in range(1, count + 1))
        for device in chosen if chosen and count else numbered:
            hardware = spec.hardware or DEFAULT_HARDWARE
            found.append(VirtualDevice(name=device, target=name, hardware=hardware))
    return tuple(found)


def _parse(text: str) -> VirtualDevice:
    try:
        target, name, hardware = parse_device(text)
    except ValueError as exc:
        raise click.BadParameter(str(exc), param_hint="--device") from exc
    return VirtualDevice(name=name, target=target, hardware=hardware)

"""``edgectl emulate selfhosted``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from edgectl.api import load_project
from edgectl.emulation import DEFAULT_HARDWARE, parse_device, run_until_told, tell
from edgectl_selfhosted.emulator.fleet import Crowd, Fleet, FleetInfo, VirtualDevice


@click.command("selfhosted")
@click.option(
    "-p",
    "--project",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="PATH",
    help="The project whose targets the devices join.",
)
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".edgectl/emulator"),
    show_default=True,
    help="Where everything keeps its state.",
)
@click.option(
    "--devices",
    "count",
    default=1,
    show_default=True,
    type=click.IntRange(0, 200),
    help="Devices a target.",
)
@click.option(
    "--device",
    "named",
    multiple=True,
    metavar="TARGET/NAME[=PROFILE]",
    help="One device by name, instead of --devices; may be given several times.",
)
@click.option(
    "--crowd",
    "crowds",
    nargs=2,
    type=(click.IntRange(1, 100_000), str),
    multiple=True,
    metavar="N TARGET",
    help="N more devices in a target that only pretend to run a release.",
)
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
    info: Path | None,
    stop_on_eof: bool,
) -> None:
    """Start a hub and virtual devices that really run what is deployed, until Ctrl-C.

    Prints the settings that `edgectl` needs to reach the hub.
    """
    loaded = load_project(project)
    if named:
        devices = tuple(_parse(text) for text in named)
    else:
        devices = tuple(
            VirtualDevice(
                name=f"{name}-{number}", target=name, hardware=spec.hardware or DEFAULT_HARDWARE
            )
            for name, spec in sorted(loaded.spec.targets.items())
            if spec.provider == "selfhosted"
            for number in range(1, count + 1)
        )
    fleet = Fleet(folder, loaded)
    joining = tuple(Crowd(size=size, target=name) for size, name in crowds)

    def start() -> None:
        running = fleet.start(devices, joining)
        tell(running, _notes(running), info)

    run_until_told(fleet, start, stop_on_eof=stop_on_eof)


def _notes(running: FleetInfo) -> Iterator[str]:
    for device in running.devices:
        yield f"{device.name} ({device.target}, {device.hardware}) answers at {device.url}"


def _parse(text: str) -> VirtualDevice:
    try:
        target, name, hardware = parse_device(text)
    except ValueError as exc:
        raise click.BadParameter(str(exc), param_hint="--device") from exc
    return VirtualDevice(name=name, target=target, hardware=hardware)

"""Virtual devices: named by a user, added as a user adds them, moved to a folder and port here."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from edge_components.contract.device import parse_device_config
from edge_components.contract.hardware import PROFILES
from edgectl.errors import ProviderError

EDGECTL = (sys.executable, "-m", "edgectl.cli.main")
DEFAULT_HARDWARE = "x86-64-cpu"


def parse_device(text: str) -> tuple[str, str, str]:
    """Read ``TARGET/NAME[=PROFILE]``; return target, name and profile.

    Raises:
        ValueError: It is written otherwise, or there is no such profile.
    """
    place, _, profile = text.partition("=")
    target, separator, name = place.partition("/")
    if not separator or not name or (profile and profile not in PROFILES):
        known = ", ".join(sorted(PROFILES))
        raise ValueError(f"'{text}' is not TARGET/NAME[=PROFILE] (profiles: {known})")
    return target, name, profile or DEFAULT_HARDWARE


def add_device(
    name: str, target: str, hardware: str, *, folder: Path, project: Path, env: Mapping[str, str]
) -> None:
    """Run ``edgectl devices add``; the device's files are in ``folder`` then.

    Raises:
        ProviderError: The command refused it; what it said is in the message.
    """
    arguments = ["-q", "devices", "add", name, "--target", target, "--hardware", hardware]
    arguments += ["--write", str(folder), "--project", str(project)]
    done = subprocess.run(
        [*EDGECTL, *arguments], env=env, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise ProviderError(f"device '{name}' cannot be added: {done.stderr.strip()}")


def settle_device(file: Path, state_dir: Path) -> int:
    """Give a device's configuration a folder and a free port of this machine; return the port.

    Its telemetry comes in seconds, so that whoever looks on sees it.
    """
    config = parse_device_config(file.read_text())
    port = _free_port()
    config = msgspec.structs.replace(
        config,
        device=msgspec.structs.replace(config.device, state_dir=str(state_dir)),
        runtime=msgspec.structs.replace(config.runtime, port=port),
        telemetry=msgspec.structs.replace(config.telemetry, interval_s=1.0, health_interval_s=2.0),
    )
    file.write_text(config.to_toml())
    return port


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

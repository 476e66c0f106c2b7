"""This pod's configuration: what all pods of a release share, and what only this pod knows.

The shared part is the device's configuration as on every other device, from a ConfigMap. The name
of the node and the pod's address come from the downward API; the state folder is the pod's own
volume. The whole is written into the state folder, so that prepare and serve read the same file.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from edge_components.agent.config import load_config
from edge_components.contract.device import DeviceConfig, parse_device_config
from edge_components.contract.errors import ContractError
from edge_components.contract.hardware import HardwareProfile

CONFIG_PATH = Path("/etc/edgectl/device.toml")
STATE_DIR = Path("/var/lib/edgectl")
EFFECTIVE_FILE = "device.toml"


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a pod finds and keeps things, and who it is.

    Attributes:
        config: The configuration that all pods of the release share.
        state: The pod's own folder.
        device: The device's id, or "" for what the configuration says.
        host: The address to listen on, or "" for what the configuration says.
    """

    config: Path = CONFIG_PATH
    state: Path = STATE_DIR
    device: str = ""
    host: str = ""

    @property
    def effective(self) -> Path:
        """The configuration as it holds for this pod."""
        return self.state / EFFECTIVE_FILE


def own_config(shared: DeviceConfig, place: Place) -> DeviceConfig:
    """Return the shared configuration as it holds for one pod."""
    device = msgspec.structs.replace(
        shared.device, id=place.device or shared.device.id, state_dir=str(place.state)
    )
    runtime = msgspec.structs.replace(shared.runtime, host=place.host or shared.runtime.host)
    return msgspec.structs.replace(shared, device=device, runtime=runtime)


def settle(place: Place) -> tuple[DeviceConfig, HardwareProfile]:
    """Write this pod's configuration into its state folder and read it back.

    Raises:
        ContractError: ``bad-config``, with the file in the message.
    """
    try:
        shared = parse_device_config(place.config.read_text(encoding="utf-8"))
    except OSError as exc:
        raise ContractError(
            "bad-config", f"'{place.config}' cannot be read: {exc.strerror}"
        ) from exc
    except (ContractError, UnicodeDecodeError) as exc:
        raise ContractError("bad-config", f"'{place.config}': {exc}") from exc
    try:
        place.state.mkdir(parents=True, exist_ok=True)
        part = place.effective.with_name(EFFECTIVE_FILE + ".part")
        part.write_text(own_config(shared, place).to_toml(), encoding="utf-8")
        part.replace(place.effective)
        _make_scratch(place.state)
    except OSError as exc:
        raise ContractError(
            "bad-config", f"the state folder '{place.state}' cannot be used: {exc.strerror}"
        ) from exc
    return load_config(place.effective)


def _make_scratch(state: Path) -> None:
    """Have temporary files in the state folder: a restricted pod can write nowhere else."""
    scratch = state / "tmp"
    scratch.mkdir(exist_ok=True)
    os.environ["TMPDIR"] = str(scratch)

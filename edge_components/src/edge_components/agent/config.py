"""Reading the device's configuration, and refusing early what could only fail later."""

from __future__ import annotations

from pathlib import Path

import edge_components
from edge_components.agent.reporting import Identity
from edge_components.contract.device import PEM_MARK, DeviceConfig, parse_device_config
from edge_components.contract.errors import ContractError
from edge_components.contract.hardware import PROFILES, HardwareProfile


def load_config(path: Path) -> tuple[DeviceConfig, HardwareProfile]:
    """Read the device's configuration and find its hardware profile.

    Raises:
        ContractError: ``bad-config``, with the file in the message.
    """
    try:
        config = parse_device_config(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise ContractError("bad-config", f"'{path}' cannot be read: {exc.strerror}") from exc
    except (ContractError, UnicodeDecodeError) as exc:
        raise ContractError("bad-config", f"'{path}': {exc}") from exc
    profile = PROFILES.get(config.device.hardware)
    if profile is None:
        known = ", ".join(sorted(PROFILES))
        raise ContractError(
            "bad-config",
            f"'{path}': device.hardware '{config.device.hardware}' is not one of {known}",
        )
    if not config.trust.publishers:
        raise ContractError("bad-config", f"'{path}': trust.publishers names no key")
    for file in _named_files(config):
        if not Path(file).is_file():
            raise ContractError("bad-config", f"'{path}': there is no file '{file}'")
    return config, profile


def identity_of(config: DeviceConfig) -> Identity:
    """Return who this device is in its reports."""
    return Identity(
        application=config.device.application,
        hardware=config.device.hardware,
        agent=f"edge-agent/{edge_components.__version__}",
    )


def _named_files(config: DeviceConfig) -> list[str]:
    hub = config.hub
    certificates = () if hub is None else (hub.ca, hub.certificate, hub.key)
    keys = [key for key in config.trust.publishers if not key.lstrip().startswith(PEM_MARK)]
    return [*keys, *(file for file in certificates if file)]

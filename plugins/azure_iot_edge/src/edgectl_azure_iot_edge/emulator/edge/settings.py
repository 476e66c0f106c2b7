"""Reads the device's ``config.toml``, the file that the vendor's own runtime is given.

Keys: aziot-edge's ``/etc/aziot/config.toml``, provisioning by hand with a symmetric key. What else
stands there (certificates' life times, DPS, moby) is of no matter to a virtual device.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from edgectl.api import Record

HTTPS_PORT = 443
MQTT_PORT = 8883


class SettingsError(Exception):
    """A configuration that names no device."""


class DeviceSettings(Record, frozen=True, kw_only=True):
    """Who the device is, and where its cloud is.

    Attributes:
        hub_host: The hub's name, with its port where that is not 443.
        key: The device's symmetric key, base64.
        hostname: What modules call the device's edgeHub, unless the virtual device has an address
            of its own.
        trust: PEM file of the authorities to trust in the cloud, or None for the system's.
        agent_env: Variables of ``edgeAgent`` (``[agent.env]``).
        mqtt_port: Where the hub speaks MQTT; 8883 but for an emulator.
    """

    hub_host: str
    device_id: str
    key: str
    hostname: str
    folder: Path
    trust: Path | None = None
    agent_image: str = ""
    agent_env: dict[str, str] = {}
    mqtt_port: int = MQTT_PORT

    @property
    def host(self) -> str:
        """The hub's name without a port."""
        return self.hub_host.partition(":")[0]

    @property
    def port(self) -> int:
        """Where the hub speaks HTTPS."""
        _, _, port = self.hub_host.partition(":")
        return int(port) if port else HTTPS_PORT


def read_settings(file: Path, folder: Path, mqtt_port: int = MQTT_PORT) -> DeviceSettings:
    """Read ``config.toml``.

    Raises:
        SettingsError: It is not there, no TOML, or names no hub, device or key.
    """
    try:
        content = tomllib.loads(file.read_text())
    except (OSError, tomllib.TOMLDecodeError) as exc:
        raise SettingsError(f"'{file}' cannot be read: {exc}") from exc
    hub, device, key = _provisioning(content.get("provisioning"), file)
    agent = content.get("agent") or {}
    return DeviceSettings(
        hub_host=hub,
        device_id=device,
        key=key,
        hostname=str(content.get("hostname") or device),
        folder=folder.absolute(),
        trust=_file(content.get("trust_bundle_cert")),
        agent_image=str((agent.get("config") or {}).get("image", "")),
        agent_env={name: str(value) for name, value in (agent.get("env") or {}).items()},
        mqtt_port=mqtt_port,
    )


def _provisioning(section: Any, file: Path) -> tuple[str, str, str]:
    if not isinstance(section, dict) or section.get("source") != "manual":
        raise SettingsError(f"'{file}': [provisioning] has to have source = \"manual\"")
    if "connection_string" in section:
        fields = dict(
            part.split("=", 1)
            for part in str(section["connection_string"]).split(";")
            if "=" in part
        )
        found = (fields.get("HostName"), fields.get("DeviceId"), fields.get("SharedAccessKey"))
    else:
        authentication = section.get("authentication") or {}
        private = authentication.get("device_id_pk") or {}
        found = (section.get("iothub_hostname"), section.get("device_id"), private.get("value"))
    hub, device, key = found
    if not (hub and device and key):
        raise SettingsError(f"'{file}': [provisioning] lacks the hub's name, the device's or a key")
    return str(hub), str(device), str(key)


def _file(value: Any) -> Path | None:
    if not value:
        return None
    parts = urlsplit(str(value))
    return Path(unquote(parts.path)) if parts.scheme == "file" else Path(str(value))

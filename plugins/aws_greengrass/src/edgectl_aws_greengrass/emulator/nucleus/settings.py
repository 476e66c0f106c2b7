"""Decides what the nucleus's own configuration file says.

It is the file that the real nucleus is started with (``--init-config``): sections ``system`` and
``services``, where ``aws.greengrass.Nucleus`` or ``aws.greengrass.NucleusLite`` has the endpoints.
Source: developer guide, greengrass-nucleus-component and manual-installation.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from edgectl.api import Record

NUCLEUS = "aws.greengrass.Nucleus"
NUCLEUS_LITE = "aws.greengrass.NucleusLite"
VERSION = "2.14.0"
_MQTT_PORT = 8883
_DATA_PORT = 8443
_STORE_BYTES = 10_000_000_000
_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "aarch64", "arm64": "aarch64"}


class SettingsError(Exception):
    """The configuration file cannot be used; the message names the key."""


class NucleusSettings(Record, frozen=True, kw_only=True):
    """A core device.

    Attributes:
        root: The Greengrass root folder.
        data_host: Host of the IoT data endpoint.
        credentials_url: The credentials endpoint, ``https://host[:port]``.
        store_max_bytes: What all artifacts and recipes together may take
            (``componentStoreMaxSizeBytes``).
        interpolate: ``interpolateComponentConfiguration``.
        platform_override: Further platform attributes.
    """

    thing: str
    root: Path
    certificate: Path
    private_key: Path
    root_ca: Path
    region: str
    role_alias: str
    data_host: str
    credentials_url: str
    mqtt_port: int = _MQTT_PORT
    data_port: int = _DATA_PORT
    posix_user: str | None = None
    store_max_bytes: int = _STORE_BYTES
    interpolate: bool = False
    platform_override: dict[str, str] = {}
    nucleus: str = NUCLEUS

    @property
    def platform(self) -> dict[str, str]:
        """The platform attributes that components are resolved for."""
        found = {
            "os": "linux",
            "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
            "runtime": "aws_nucleus_classic",
        }
        return {**found, **self.platform_override}


def read_settings(path: Path) -> NucleusSettings:
    """Read the file.

    Raises:
        SettingsError: It cannot be read, or something is missing.
    """
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as exc:
        raise SettingsError(f"'{path}' cannot be read: {exc}") from exc
    system = _section(document, "system")
    services = _section(document, "services")
    name = NUCLEUS if NUCLEUS in services else NUCLEUS_LITE
    options = _section(_section(services, name), "configuration")
    host, port = _endpoint(_text(options, "iotDataEndpoint"), _DATA_PORT)
    cred_host, cred_port = _endpoint(
        _text(options, "iotCredEndpoint"), int(options.get("iotCredPort", 443))
    )
    run_with = options.get("runWithDefault") or {}
    return NucleusSettings(
        thing=_text(system, "thingName"),
        root=Path(_text(system, "rootpath") if "rootpath" in system else _text(system, "rootPath")),
        certificate=Path(_text(system, "certificateFilePath")),
        private_key=Path(_text(system, "privateKeyPath")),
        root_ca=Path(_text(system, "rootCaPath")),
        region=_text(options, "awsRegion"),
        role_alias=_text(options, "iotRoleAlias"),
        data_host=host,
        data_port=int(options.get("greengrassDataPlanePort", port)),
        credentials_url=f"https://{cred_host}:{cred_port}",
        mqtt_port=int((options.get("mqtt") or {}).get("port", _MQTT_PORT)),
        posix_user=run_with.get("posixUser"),
        store_max_bytes=int(options.get("componentStoreMaxSizeBytes", _STORE_BYTES)),
        interpolate=str(options.get("interpolateComponentConfiguration", "false")) in _TRUE,
        platform_override={k: str(v) for k, v in (options.get("platformOverride") or {}).items()},
        nucleus=name,
    )


_TRUE = {"true", "True"}


def _section(document: object, key: str) -> Mapping[str, Any]:
    found = document.get(key) if isinstance(document, Mapping) else None
    if not isinstance(found, Mapping):
        raise SettingsError(f"the nucleus configuration has no '{key}'")
    return found


def _text(section: Mapping[str, Any], key: str) -> str:
    found = section.get(key)
    if not isinstance(found, str) or not found:
        raise SettingsError(f"the nucleus configuration has no '{key}'")
    return found


def _endpoint(text: str, port: int) -> tuple[str, int]:
    host, _, given = text.partition(":")
    return host, int(given) if given else port

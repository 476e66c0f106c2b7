"""Docker's ContainerCreate for our module, and how IoT Edge carries it: texts of 512 characters.

edgeAgent puts ``createOptions``, ``createOptions01`` … ``createOptions99`` together (iotedge,
Docker/Constants.cs). Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from edgectl.api import PROFILES, HardwareProfile, LimitError, PlanError, ProjectError
from edgectl_azure_iot_edge.config import RuntimeConfig

PART_CHARS = 512
MAX_PARTS = 100
KEY = "createOptions"
CONFIG_DIR = "/etc/edgectl"
STATE_DIR = "/var/lib/edgectl"
PORT = 8080
GRPC_PORT = 8081
MIB = 1 << 20
GPU = "/dev/dri"
"""Where Linux has a graphics processor that OpenVINO runs on."""

Options = dict[str, Any]


def accelerator_options(profile: HardwareProfile | None) -> Options:
    """Return what a container needs to reach a device's accelerator.

    JetPack's Docker takes the runtime ``nvidia``; on x86 it is the device request of the NVIDIA
    container toolkit. Coral's Edge TPU takes no ONNX, so it is not handed in.
    """
    if profile is None or profile.accelerator in {"none", "edge-tpu"}:
        return {}
    if profile.accelerator == "intel":
        return {
            "Devices": [{"PathOnHost": GPU, "PathInContainer": GPU, "CgroupPermissions": "rwm"}]
        }
    if profile.arch == "aarch64":
        return {"Runtime": "nvidia"}
    return {"DeviceRequests": [{"Driver": "", "Count": -1, "Capabilities": [["gpu"]]}]}


def module_options(runtime: RuntimeConfig, hardware: str | None) -> Options:
    """Return ContainerCreate for our module.

    Args:
        runtime: What the project file says.
        hardware: The target's hardware profile, which decides what is handed in.

    Raises:
        ProjectError: ``create_options`` and ours cannot be put together.
    """
    host: Options = {
        "Binds": [f"{runtime.config_dir}:{CONFIG_DIR}:ro", f"{runtime.state_dir}:{STATE_DIR}"],
        **accelerator_options(PROFILES.get(hardware or "")),
    }
    options: Options = {}
    ports = {
        f"{inside}/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(outside)}]
        for inside, outside in ((PORT, runtime.host_port), (GRPC_PORT, runtime.grpc_port))
        if outside is not None
    }
    if ports:
        options["ExposedPorts"] = {name: {} for name in ports}
        host["PortBindings"] = ports
    if runtime.memory_mb is not None:
        host["Memory"] = runtime.memory_mb * MIB
    if runtime.user is not None:
        options["User"] = runtime.user
    options["HostConfig"] = host
    return _merged(options, runtime.create_options, "runtime.create_options")


def check_one_kind(target: str, kinds: Mapping[str, int]) -> None:
    """Check that one deployment fits all devices of a target.

    Raises:
        PlanError: Their accelerators need other containers.
    """
    needs = {
        json.dumps(accelerator_options(PROFILES.get(kind)), sort_keys=True): kind for kind in kinds
    }
    if len(needs) > 1:
        named = ", ".join(sorted(needs.values()))
        raise PlanError(
            f"target '{target}' has devices that need other containers: {named}",
            hint="a deployment has one `createOptions` for all its devices: make a target for each "
            "kind of accelerator",
        )


def split_options(options: Mapping[str, object]) -> dict[str, str]:
    """Cut ContainerCreate into the parts that a module's settings hold; nothing for no options.

    Raises:
        LimitError: It does not fit into 100 parts.
    """
    if not options:
        return {}
    text = json.dumps(options, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    parts = [text[at : at + PART_CHARS] for at in range(0, len(text), PART_CHARS)]
    if len(parts) > MAX_PARTS:
        raise LimitError(
            f"`create_options` have {len(text)} characters, IoT Edge takes at most "
            f"{PART_CHARS * MAX_PARTS}"
        )
    return {f"{KEY}{number:02}" if number else KEY: part for number, part in enumerate(parts)}


def join_options(settings: Mapping[str, object]) -> str:
    """Return what the parts in a module's settings are together; "" for none."""
    parts = sorted((key, value) for key, value in settings.items() if key.startswith(KEY))
    return "".join(str(value) for _, value in parts)


def _merged(ours: Options, theirs: Mapping[str, Any], path: str) -> Options:
    """Return both; lists are put together, what the user says otherwise wins."""
    found = dict(ours)
    for key, value in theirs.items():
        present, where = found.get(key), f"{path}.{key}"
        if isinstance(present, dict):
            if not isinstance(value, dict):
                raise ProjectError(f"providers.azure.{where}: expected a mapping")
            found[key] = _merged(present, value, where)
        elif isinstance(present, list):
            if not isinstance(value, list):
                raise ProjectError(f"providers.azure.{where}: expected a list")
            found[key] = [*present, *value]
        else:
            found[key] = value
    return found

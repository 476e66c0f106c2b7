"""What a device gets when it is added: IoT Edge's configuration, and what our module reads. Pure.

``config.toml`` is what ``iotedge config apply`` takes (iotedge, config.toml templates); the other
files lie in the folder that the module has as ``/etc/edgectl``.
"""

from __future__ import annotations

import json

from edgectl.api import (
    DeviceConfig,
    DeviceSection,
    EnrollRequest,
    RuntimeSection,
    TelemetrySection,
    TrustSection,
)
from edgectl_azure_iot_edge.config import AzureConfig
from edgectl_azure_iot_edge.createoptions import CONFIG_DIR, GRPC_PORT, PORT, STATE_DIR

EDGE_FILE = "config.toml"
DEVICE_FILE = "device.toml"
PUBLISHER_FILE = "publisher.pem"
REGISTRY_FILE = "registry.json"
IMAGE_USER = "10001:10001"
"""Who the runtime's image runs as."""
TELEMETRY_URL = "edgehub:telemetry"
ALL_ADDRESSES = "0.0.0.0"  # noqa: S104 - of the container: the deployment publishes loopback only


def edge_config(connection_string: str) -> str:
    """Return IoT Edge's configuration for a device with a symmetric key.

    Args:
        connection_string: The device's own; it is a secret.
    """
    return f"""\
# For /etc/aziot/config.toml; then: sudo iotedge config apply

[provisioning]
source = "manual"
connection_string = {json.dumps(connection_string)}
"""


def connection_string(host: str, device: str, key: str) -> str:
    """Return a device's connection string."""
    return f"HostName={host};DeviceId={device};SharedAccessKey={key}"


def device_config(config: AzureConfig, request: EnrollRequest) -> DeviceConfig:
    """Return the module's configuration.

    The publisher's key lies beside it on the device's disk: it never goes through the cloud, so a
    subscription that was taken over cannot make a device trust somebody else.
    """
    return DeviceConfig(
        device=DeviceSection(
            id=request.name,
            application=request.application,
            hardware=request.hardware,
            state_dir=f"{STATE_DIR}/{request.application}",
        ),
        trust=TrustSection(publishers=(f"{CONFIG_DIR}/{PUBLISHER_FILE}",)),
        runtime=RuntimeSection(
            host=ALL_ADDRESSES,
            port=PORT,
            grpc_port=GRPC_PORT if config.runtime.grpc_port is not None else None,
        ),
        telemetry=TelemetrySection(url=TELEMETRY_URL),
    )


def registry_config() -> str:
    """Return the file of a device's registry login, of the form of docker's, with nobody in it."""
    return json.dumps({"auths": {}}, indent=2) + "\n"


def install_notes(config: AzureConfig, request: EnrollRequest) -> tuple[str, ...]:
    """Return what is left to do by hand on the device, with the commands."""
    runtime = config.runtime
    ours = f"{DEVICE_FILE} {PUBLISHER_FILE} {REGISTRY_FILE}"
    user = runtime.user or IMAGE_USER
    login = (
        f"put the registry's pull token into {runtime.config_dir}/{REGISTRY_FILE}: "
        '{"auths": {"' + (config.registry or "REGISTRY") + '": {"auth": "BASE64 of user:token"}}}'
    )
    owner, _, group = user.partition(":")
    state = f"{runtime.state_dir}/{request.application}"
    edge = (
        f"sudo install -D -m 0600 {EDGE_FILE} /etc/aziot/config.toml && sudo iotedge config apply"
    )
    place = f"sudo install -d {runtime.config_dir} && sudo install -m 0640 {ours}"
    last = (
        f"see that a base deployment holds '{request.name}' (docs/providers/azure.md has one), "
        "then `edgectl deploy`"
    )
    return (
        f"on the device, with a container engine and aziot-edge installed: {edge}",
        f"{place} {runtime.config_dir} && sudo chown -R {user} {runtime.config_dir}",
        f"sudo install -d -o {owner} -g {group or owner} {state}",
        login,
        last,
    )

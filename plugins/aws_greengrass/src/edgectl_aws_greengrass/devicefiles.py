"""What a device gets when it is added: its policy in the account, and the files that it needs.

The policy lets a thing speak for itself only: every topic and client id has its own name in it
(AWS IoT developer guide, thing policy variables; Greengrass developer guide, device-auth). Pure.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import yaml

from edgectl.api import (
    DeviceConfig,
    DeviceSection,
    EnrollRequest,
    Record,
    TelemetrySection,
    TrustSection,
)
from edgectl_aws_greengrass.config import AwsConfig

DEVICE_FILE = "device.toml"
NUCLEUS_FILE = "config.yaml"
LITE_FILE = "config-lite.yaml"
CERTIFICATE_FILE = "device.pem.crt"
KEY_FILE = "private.pem.key"
CA_FILE = "AmazonRootCA1.pem"
TELEMETRY_URL = "greengrass-ipc:edgectl/{{thing}}/{application}/telemetry"
NUCLEUS_VERSION = "2.14.0"
NUCLEUS = "aws.greengrass.Nucleus"
LITE = "aws.greengrass.NucleusLite"
LITE_OWNER = "ggcore:ggcore"
LITE_USER = "gg_component:gg_component"
"""Nucleus lite runs as the one and has components run as the other, so that none reads its key."""
_THING = "${iot:Connection.Thing.ThingName}"


class Place(Record, frozen=True, kw_only=True):
    """Where a device finds AWS.

    Attributes:
        data_endpoint: The account's IoT data endpoint.
        credential_endpoint: The account's credentials endpoint.
        data_port: Where its HTTPS data plane listens, None for the nucleus's default.
        mqtt_port: Where MQTT listens, None for the nucleus's default.
    """

    region: str
    data_endpoint: str
    credential_endpoint: str
    data_port: int | None = None
    mqtt_port: int | None = None


def device_policy(arn_prefix: str, role_alias_arn: str) -> str:
    """Return the policy that all devices share: what a core device needs of its own thing.

    AWS IoT takes 2,048 characters, so topics that differ little share a wildcard.

    Args:
        arn_prefix: ``arn:aws:iot:REGION:ACCOUNT``.
        role_alias_arn: The role alias that gives devices their credentials.
    """
    topics = [
        f"$aws/things/{_THING}/jobs/*",
        f"$aws/things/{_THING}/greengrass*/health/json",
        f"$aws/things/{_THING}/shadow/name/*",
        f"edgectl/{_THING}/*",
    ]
    names = [f"{arn_prefix}:client/{_THING}", f"{arn_prefix}:client/{_THING}#*"]
    statements = [
        _allow("iot:Connect", names),
        # "topic*" is topic and topicfilter: IoT takes policies of 2048 characters at most.
        _allow(
            ["iot:Publish", "iot:Receive", "iot:Subscribe"],
            [f"{arn_prefix}:topic*/{topic}" for topic in topics],
        ),
        _allow(
            [
                "greengrass:GetComponentVersionArtifact",
                "greengrass:GetDeploymentConfiguration",
                "greengrass:ListThingGroupsForCoreDevice",
                "greengrass:ResolveComponentCandidates",
            ],
            ["*"],  # these know no resources for devices (device-auth, minimal policy)
        ),
        _allow("iot:AssumeRoleWithCertificate", [role_alias_arn]),
    ]
    return json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":"))


def _allow(actions: str | list[str], resources: list[str]) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": actions, "Resource": resources}


def nucleus_config(config: AwsConfig, place: Place, thing: str) -> str:
    """Return the nucleus's configuration (developer guide, manual-installation)."""
    root = config.nucleus_root
    settings: dict[str, Any] = {
        **_where(place),
        "iotRoleAlias": config.token_exchange_role_alias,
    }
    if config.posix_user is not None:
        settings["runWithDefault"] = {"posixUser": config.posix_user}
    if place.data_port is not None:
        settings["greengrassDataPlanePort"] = place.data_port
    if place.mqtt_port is not None:
        settings["mqtt"] = {"port": place.mqtt_port}
    return _yaml(
        {
            "system": {
                "certificateFilePath": f"{root}/{CERTIFICATE_FILE}",
                "privateKeyPath": f"{root}/{KEY_FILE}",
                "rootCaPath": f"{root}/{CA_FILE}",
                "rootpath": root,
                "thingName": thing,
            },
            "services": {
                NUCLEUS: {
                    "componentType": "NUCLEUS",
                    "version": NUCLEUS_VERSION,
                    "configuration": settings,
                }
            },
        }
    )


def lite_config(config: AwsConfig, place: Place, thing: str) -> str:
    """Return the same for nucleus lite, which spells some keys otherwise."""
    root = config.nucleus_root
    settings = {
        **_where(place),
        "iotRoleAlias": config.token_exchange_role_alias,
        "runWithDefault": {"posixUser": config.posix_user or LITE_USER},
        "greengrassDataPlanePort": str(place.data_port or 8443),
    }
    return _yaml(
        {
            "system": {
                "certificateFilePath": f"{root}/{CERTIFICATE_FILE}",
                "privateKeyPath": f"{root}/{KEY_FILE}",
                "rootCaPath": f"{root}/{CA_FILE}",
                "rootPath": root,
                "thingName": thing,
            },
            "services": {LITE: {"componentType": "NUCLEUS", "configuration": settings}},
        }
    )


def device_config(config: AwsConfig, request: EnrollRequest) -> DeviceConfig:
    """Return the runtime's configuration.

    The publisher's key stands here, beside the nucleus's configuration: it never goes through
    the cloud, so an account that was taken over cannot make a device trust somebody else.
    """
    return DeviceConfig(
        device=DeviceSection(
            id=request.name,
            application=request.application,
            hardware=request.hardware,
            state_dir=f"{config.device_state_dir.rstrip('/')}/{request.name}",
        ),
        trust=TrustSection(publishers=(request.publisher_key,)),
        telemetry=TelemetrySection(
            url=TELEMETRY_URL.format(application=quote(request.application))
        ),
    )


def install_notes(config: AwsConfig, request: EnrollRequest) -> tuple[str, ...]:
    """Return what is left to do by hand on the device."""
    user = config.posix_user or "ggc_user:ggc_group"
    state = f"{config.device_state_dir.rstrip('/')}/{request.name}"
    root = config.nucleus_root
    secrets = f"{CERTIFICATE_FILE}, {KEY_FILE}, {CA_FILE}"
    install = f"--init-config {root}/{NUCLEUS_FILE} --component-default-user {user}"
    lite_user = config.posix_user or LITE_USER
    lite = (
        f"nucleus lite takes {LITE_FILE} as /etc/greengrass/config.yaml instead: there {root} and "
        f"{KEY_FILE} belong to {LITE_OWNER}, {state} to {lite_user}, who also reads {DEVICE_FILE}"
    )
    return (
        f"copy {secrets} and {NUCLEUS_FILE} to {root} on the device ({KEY_FILE}: root, mode 0600)",
        f"copy {DEVICE_FILE} to /etc/edgectl/{DEVICE_FILE}, readable for {user}",
        f"make {state}, owned by {user}",
        f"install Greengrass with {install}",
        lite,
    )


def _where(place: Place) -> dict[str, Any]:
    return {
        "awsRegion": place.region,
        "iotDataEndpoint": place.data_endpoint,
        "iotCredEndpoint": place.credential_endpoint,
    }


def _yaml(document: dict[str, Any]) -> str:
    return str(yaml.safe_dump(document, sort_keys=False, default_flow_style=False))

"""Makes the things of a crowd: one certificate and policy for all, which AWS IoT allows."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from edgectl.api import Record
from edgectl_aws_greengrass.devicefiles import device_policy

_WORKERS = 4
_ATTEMPTS = 10


class Enrolled(Record, frozen=True, kw_only=True):
    """What the devices of a crowd connect with."""

    certificate: Path
    private_key: Path
    role_alias: str
    region: str


def enroll(names: list[str], group: str, folder: Path, hardware: str) -> Enrolled:
    """Make things, and let them into a thing group.

    Args:
        names: The things' names.
        group: The group, which has to be there.
        folder: Takes the certificate and its key.
        hardware: The hardware profile that the things are said to be.
    """
    retries: Any = {"max_attempts": _ATTEMPTS, "mode": "adaptive"}
    iot = boto3.client("iot", config=Config(retries=retries))
    alias = iot.list_role_aliases()["roleAliases"][0]
    arn = iot.describe_role_alias(roleAlias=alias)["roleAliasDescription"]["roleAliasArn"]
    made = iot.create_keys_and_certificate(setAsActive=True)
    policy = f"{names[0]}-policy"
    prefix = arn.split(":rolealias/", 1)[0]
    iot.create_policy(policyName=policy, policyDocument=device_policy(prefix, arn))
    iot.attach_policy(policyName=policy, target=made["certificateArn"])
    folder.mkdir(parents=True, exist_ok=True)
    certificate, key = folder / "device.pem", folder / "device.key"
    certificate.write_text(made["certificatePem"])
    key.write_text(made["keyPair"]["PrivateKey"])
    key.chmod(0o600)

    def add(name: str) -> None:
        attributes = {"attributes": {"hardware": hardware}}
        iot.create_thing(thingName=name, attributePayload=attributes)
        iot.attach_thing_principal(thingName=name, principal=made["certificateArn"])
        iot.add_thing_to_thing_group(thingName=name, thingGroupName=group)

    with ThreadPoolExecutor(_WORKERS) as pool:
        list(pool.map(add, names))
    return Enrolled(
        certificate=certificate,
        private_key=key,
        role_alias=alias,
        region=str(iot.meta.region_name),
    )

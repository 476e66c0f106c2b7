"""Makes the things of a crowd: one certificate and policy for all, which AWS IoT allows."""

from __future__ import annotations

import json
import os
import ssl
import urllib.request
from pathlib import Path

import boto3

from edgectl.api import Record
from edgectl_aws_greengrass.devicefiles import device_policy

_TIMEOUT_S = 60.0


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
    iot = boto3.client("iot")
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

    things = {"names": names, "group": group, "certificate": made["certificateArn"]}
    _add({**things, "attributes": {"hardware": hardware}})
    return Enrolled(
        certificate=certificate,
        private_key=key,
        role_alias=alias,
        region=str(iot.meta.region_name),
    )


def _add(things: dict[str, object]) -> None:
    """Add all of them in one request: the API takes minutes for ten thousand."""
    url = f"{os.environ['AWS_ENDPOINT_URL']}/_edgectl/things"
    tls = ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE"))
    request = urllib.request.Request(url, json.dumps(things).encode(), method="POST")  # noqa: S310  # the emulator
    with urllib.request.urlopen(request, context=tls, timeout=_TIMEOUT_S):  # noqa: S310  # as above
        pass

"""What an account has before the project comes: its bucket, its roles, its thing groups.

An empty account is set up by hand once (docs/providers/aws.md); the emulator does it by itself.
The roles have the policies that the documentation gives, no more, so that a permission that is
missing there is missing here too.
"""

from __future__ import annotations

import json
from typing import Any, cast

from moto.s3.models import s3_backends

from edgectl_aws_greengrass.config import AwsConfig
from edgectl_aws_greengrass.emulator.callers import PARTITION
from edgectl_aws_greengrass.emulator.cloud import CREDENTIALS_SERVICE, EmulatedCloud

DEVICE_ROLE = "GreengrassV2TokenExchangeRole"
TRAINING_ROLE = "edgectl-training"
RULE_ROLE = "edgectl-telemetry"


def seed(cloud: EmulatedCloud, config: AwsConfig, groups: tuple[str, ...]) -> dict[str, str]:
    """Set an account up for a project.

    Returns:
        Role's purpose → its ARN: ``device``, ``training`` and ``rule``.
    """
    buckets = s3_backends[cloud.account][PARTITION]
    if config.bucket not in buckets.buckets:
        buckets.create_bucket(config.bucket, cloud.region)
    bucket = f"arn:aws:s3:::{config.bucket}"
    below = f"{bucket}/{config.prefix}"
    device = [
        _allow(["s3:GetObject"], [f"{below}/blobs/*"]),
        _allow(["s3:GetBucketLocation"], [bucket]),
    ]
    train = [
        _allow(["s3:GetObject", "s3:PutObject"], [f"{below}/training/*"]),
        _allow(["s3:ListBucket", "s3:GetBucketLocation"], [bucket]),
    ]
    rule = [_allow(["s3:PutObject"], [f"{below}/telemetry/*"])]
    training = (config.role or "").rpartition("/")[2] or TRAINING_ROLE
    roles = {
        "device": _role(cloud, DEVICE_ROLE, CREDENTIALS_SERVICE, device),
        "training": _role(cloud, training, "sagemaker.amazonaws.com", train),
        "rule": _role(cloud, RULE_ROLE, "iot.amazonaws.com", rule),
    }
    backend = cloud.things.backend
    if config.token_exchange_role_alias not in backend.role_aliases:
        backend.create_role_alias(config.token_exchange_role_alias, roles["device"], 3600)
    for group in groups:
        if not cloud.things.group_exists(cloud.things.group_arn(group)):
            backend.create_thing_group(group, cast("str", None), {})
    return roles


def _role(cloud: EmulatedCloud, name: str, service: str, statements: list[dict[str, Any]]) -> str:
    iam = cloud.callers.iam
    known = [role for role in iam.get_roles() if role.name == name]
    if known:
        return str(known[0].arn)
    trust = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    role = iam.create_role(name, _document([trust]), "/", None, "", [], "3600")
    iam.put_role_policy(name, "edgectl", _document(statements))
    return str(role.arn)


def _allow(actions: list[str], resources: list[str]) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": actions, "Resource": resources}


def _document(statements: list[dict[str, Any]]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})

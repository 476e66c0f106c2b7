"""The emulated account as a process and real core devices, driven by the command line."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "site_support"))
from tiny_site import TinySite

PROJECT = """\
apiVersion: edgectl/v1
name: tiny
version: "{version}"
train:
  provider: {site.trainer}
  command: [python, train.py]
  outputs: {{model: out/model.onnx}}
model: {{path: out/model.onnx}}
device: {{soak: 0.5s}}
targets:
  all: {{provider: aws, hardware: x86-64-cpu, selector: {{thing_group: tiny-fleet}}}}
rollout: {{waves: {site.waves}, soak: 0s, unreachable_grace: 60s,
  failure_threshold: {site.threshold}}}
providers:
  aws:
    region: us-east-1
    bucket: tiny-models
    role: arn:aws:iam::123456789012:role/edgectl-training
    telemetry_role: arn:aws:iam::123456789012:role/edgectl-telemetry
    training: {{image: "123456789012.dkr.ecr.us-east-1.amazonaws.com/train:1"}}
"""


class Site(TinySite):
    """A project, its emulated account and its core devices."""

    project = PROJECT
    foreign = ("AWS_",)

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.env["AWS_ENDPOINT_URL"],
            region_name="us-east-1",
            aws_access_key_id=self.env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.env["AWS_SECRET_ACCESS_KEY"],
        )

    @contextlib.contextmanager
    def account(self, devices: int, *more: str) -> Iterator[None]:
        """Start the account and ``devices`` core devices."""
        with self.emulated("aws", "--devices", str(devices), *more):
            yield


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """An account with four things that pretend to run components, and a release to give them."""
    site = Site(tmp_path_factory.mktemp("crowd"))
    with site.account(0, "--crowd", "4", "all"):
        site.build("1", 1.0)
        yield site

"""What every provider's telemetry has to keep, with records that came through a topic rule."""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest

from edgectl.api import Kind, Provider, Target, TelemetryRecord, to_otlp
from edgectl.testing.conformance import TelemetryConformance
from edgectl_aws_greengrass._sdk.account import Account
from edgectl_aws_greengrass._sdk.pace import shared_pace
from edgectl_aws_greengrass._sdk.telemetry import ensure_rule
from edgectl_aws_greengrass.config import AwsConfig


class TestAwsTelemetry(TelemetryConformance):
    """Two devices, whose batches overlap."""

    @pytest.fixture
    def provider(self, aws: Provider) -> Provider:
        return aws

    @pytest.fixture
    def target(self, group: Target) -> Target:
        return group

    @pytest.fixture
    def devices(self, unique: str) -> tuple[str, ...]:
        return (f"one-{unique}", f"two-{unique}")

    @pytest.fixture
    def told(self, aws: Provider, site: Any, application: str, devices: tuple[str, ...]) -> None:
        del aws
        config = AwsConfig(bucket="edgectl-work", telemetry_role=site.roles["rule"])
        ensure_rule(Account(config, shared_pace()), application)
        now = time.time_ns()
        for offset, device in enumerate(devices):
            records = [
                TelemetryRecord(
                    id=str(uuid.uuid4()),
                    kind=Kind.HEALTH if number % 2 else Kind.PREDICTION,
                    time_unix_ns=now - (10 * number + offset) * 10**8,
                    device=device,
                    application=application,
                )
                for number in range(5)
            ]
            site.tell(device, application, to_otlp(records))

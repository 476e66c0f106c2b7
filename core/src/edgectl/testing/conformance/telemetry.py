"""What `telemetry` has to keep."""

# ruff: noqa: S101 - a test asserts

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from edge_components.contract.telemetry import TelemetryRecord
from edgectl.provider import Provider
from edgectl.records import Package, Target
from edgectl.requests import TelemetryRequest
from edgectl.testing.conformance.base import Fixtures, MakeRelease, Settle, give, need

Read = Callable[..., list[TelemetryRecord]]


class TelemetryConformance(Fixtures):
    """`telemetry` reads back what devices told."""

    @pytest.fixture
    def told(
        self,
        *,
        provider: Provider,
        target: Target,
        devices: tuple[str, ...],
        package: Package,
        release_factory: MakeRelease,
        settle: Settle,
    ) -> None:
        """Let devices tell something; override it where a rollout alone does not."""
        need(provider, "telemetry", "package", "deploy", "observe")
        release = release_factory(package)
        give(provider, target, package, release, *devices)
        settle(release)

    @pytest.fixture
    def read(self, provider: Provider, target: Target, application: str, told: None) -> Read:
        """Read all records that a request finds."""
        del told

        def read(**wanted: Any) -> list[TelemetryRecord]:
            request = TelemetryRequest(target=target, application=application)
            request = msgspec.structs.replace(request, **wanted)
            return [record for page in provider.telemetry(request) for record in page.records]

        if not read():
            pytest.skip("the devices told nothing; override the fixture `told`")
        return read

    def test_telemetry_of_an_unknown_application_is_empty(
        self, provider: Provider, target: Target
    ) -> None:
        """It is no error."""
        need(provider, "telemetry")
        request = TelemetryRequest(target=target, application="nobody-runs-me")
        assert [r for page in provider.telemetry(request) for r in page.records] == []

    def test_telemetry_lists_each_record_once_and_oldest_first(self, read: Read) -> None:
        """Over all pages."""
        records = read()
        assert len({record.id for record in records}) == len(records)
        times = [record.time_unix_ns for record in records]
        assert times == sorted(times)

    def test_telemetry_is_the_same_in_small_pages(self, read: Read) -> None:
        """Where a page ends decides nothing."""
        assert [r.id for r in read(limit=1)] == [r.id for r in read()]

    def test_telemetry_keeps_to_the_limit(
        self, provider: Provider, target: Target, application: str, read: Read
    ) -> None:
        """No page is longer than was asked for."""
        del read
        request = TelemetryRequest(target=target, application=application, limit=2)
        assert all(len(page.records) <= 2 for page in provider.telemetry(request))

    def test_telemetry_can_be_asked_for_one_device(
        self, read: Read, devices: tuple[str, ...]
    ) -> None:
        """Records of others are left out."""
        wanted = [record.id for record in read() if record.device == devices[0]]
        assert [record.id for record in read(device=devices[0])] == wanted

    def test_telemetry_can_be_asked_for_one_kind(self, read: Read) -> None:
        """Records of other kinds are left out."""
        kind = read()[0].kind
        assert [r.id for r in read(kind=kind)] == [r.id for r in read() if r.kind is kind]

    def test_telemetry_can_be_asked_from_a_time_on(self, read: Read) -> None:
        """The time itself is included, nothing older is."""
        records = read()
        since = records[len(records) // 2].time_unix_ns
        wanted = [record.id for record in records if record.time_unix_ns >= since]
        assert [record.id for record in read(since_unix_ns=since)] == wanted
        assert read(since_unix_ns=records[-1].time_unix_ns + 1) == []

"""What `inventory`, `enroll`, `retire`, `capabilities` and `check` have to keep."""

# ruff: noqa: S101 - a test asserts

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from edgectl.package.keys import SigningKey
from edgectl.provider import Provider
from edgectl.records import Target
from edgectl.requests import CheckRequest, EnrollRequest, InventoryRequest, RetireRequest
from edgectl.testing.conformance.base import Fixtures, need


class CapabilitiesConformance(Fixtures):
    """`capabilities` says what the provider can do."""

    def test_capabilities_are_always_the_same(self, provider: Provider) -> None:
        """They depend on the configuration alone."""
        need(provider, "capabilities")
        assert provider.capabilities() == provider.capabilities()

    def test_capabilities_claim_no_hook_that_is_left_out(self, provider: Provider) -> None:
        """Who claims to withdraw or to read telemetry implements the hook."""
        need(provider, "capabilities")
        claims = provider.capabilities()
        assert provider.supports("withdraw") or not claims.withdraw
        assert provider.supports("telemetry") or not claims.telemetry


class CheckConformance(Fixtures):
    """`check` looks and changes nothing."""

    def test_check_finds_everything_well(self, provider: Provider, target: Target) -> None:
        """A provider whose tests can run is well, and says what it looked at."""
        need(provider, "check")
        findings = provider.check(CheckRequest(targets=(target,)))
        assert findings, "at least one thing is checked"
        assert [finding for finding in findings if not finding.ok] == []
        assert all(finding.name for finding in findings)

    def test_check_shows_no_secret(
        self, provider: Provider, target: Target, secrets: tuple[str, ...]
    ) -> None:
        """Findings are printed, so no token or password stands in them."""
        need(provider, "check")
        shown = repr(provider.check(CheckRequest(targets=(target,))))
        assert [secret for secret in secrets if secret in shown] == []


class InventoryConformance(Fixtures):
    """`inventory` lists the devices that the selector finds."""

    def test_inventory_lists_each_device_once_in_a_stable_order(
        self, provider: Provider, target: Target
    ) -> None:
        """Over all pages, twice the same."""
        need(provider, "inventory")
        first = [device.id for device in provider.inventory(InventoryRequest(target=target))]
        second = [device.id for device in provider.inventory(InventoryRequest(target=target))]
        assert len(first) >= 2, "the target of the conformance tests needs two devices"
        assert len(set(first)) == len(first)
        assert first == second

    def test_inventory_of_a_selector_that_finds_nothing_is_empty(
        self, provider: Provider, empty_target: Target | None
    ) -> None:
        """No match is no error here; the plan decides what it means."""
        need(provider, "inventory")
        if empty_target is None:
            pytest.skip("no `empty_target` was given")
        assert list(provider.inventory(InventoryRequest(target=empty_target))) == []


class _Enrolment(Fixtures):
    """A device that comes for one test and goes with it."""

    @pytest.fixture
    def enroll_request(
        self, provider: Provider, target: Target, application: str, key: SigningKey
    ) -> Iterator[EnrollRequest]:
        """A device that is not known yet; it is retired after the test."""
        need(provider, "enroll", "inventory")
        request = EnrollRequest(
            target=target,
            application=application,
            name=f"kit-{uuid.uuid4().hex[:10]}",
            hardware="x86-64-cpu",
            publisher_key=key.public_pem,
            labels={"rack": "7"},
        )
        yield request
        if provider.supports("retire"):
            provider.retire(RetireRequest(target=target, device=request.name))


class EnrollConformance(_Enrolment):
    """`enroll` makes a device known and hands out what it needs."""

    def test_enroll_puts_the_device_into_the_target(
        self, provider: Provider, target: Target, enroll_request: EnrollRequest
    ) -> None:
        """It is in the target's inventory, with its hardware."""
        result = provider.enroll(enroll_request)
        found = {d.id: d for d in provider.inventory(InventoryRequest(target=target))}
        assert result.device.id in found
        assert found[result.device.id].hardware == "x86-64-cpu"

    def test_enroll_again_returns_the_files_anew_and_makes_no_second_device(
        self, provider: Provider, target: Target, enroll_request: EnrollRequest
    ) -> None:
        """Who lost the files can have them again."""
        first = provider.enroll(enroll_request)
        second = provider.enroll(enroll_request)
        assert first.device.id == second.device.id
        assert first.files.keys() == second.files.keys()
        listed = [d.id for d in provider.inventory(InventoryRequest(target=target))]
        assert listed.count(first.device.id) == 1

    def test_enroll_shows_no_operator_secret(
        self, provider: Provider, enroll_request: EnrollRequest, secrets: tuple[str, ...]
    ) -> None:
        """A device's files hold its own secret at most, never the operator's."""
        shown = repr(provider.enroll(enroll_request))
        assert [secret for secret in secrets if secret in shown] == []


class RetireConformance(_Enrolment):
    """`retire` forgets a device."""

    def test_retire_takes_the_device_out_of_the_target(
        self, provider: Provider, target: Target, enroll_request: EnrollRequest
    ) -> None:
        """It is not listed any more, and the second time there is nothing to remove."""
        need(provider, "retire")
        device = provider.enroll(enroll_request).device.id
        assert provider.retire(RetireRequest(target=target, device=device)).removed
        assert device not in {d.id for d in provider.inventory(InventoryRequest(target=target))}
        assert not provider.retire(RetireRequest(target=target, device=device)).removed

    def test_retire_of_an_unknown_device_removes_nothing(
        self, provider: Provider, target: Target
    ) -> None:
        """It is no error."""
        need(provider, "retire")
        assert not provider.retire(RetireRequest(target=target, device="nobody-knows-me")).removed

    def test_retire_leaves_the_other_devices(
        self, provider: Provider, target: Target, enroll_request: EnrollRequest
    ) -> None:
        """Nobody else goes."""
        need(provider, "retire")
        before = {d.id for d in provider.inventory(InventoryRequest(target=target))}
        device = provider.enroll(enroll_request).device.id
        provider.retire(RetireRequest(target=target, device=device))
        assert {d.id for d in provider.inventory(InventoryRequest(target=target))} == before

"""What `preview`, `deploy`, `observe`, `history` and `withdraw` have to keep."""

# ruff: noqa: S101 - a test asserts

from __future__ import annotations

from collections.abc import Callable

import pytest

from edge_components.contract.state import State
from edgectl.errors import NotFoundError
from edgectl.provider import Provider
from edgectl.records import Package, Target
from edgectl.requests import (
    DeployRequest,
    HistoryRequest,
    ObserveRequest,
    PackageRequest,
    PreviewRequest,
    WithdrawRequest,
)
from edgectl.testing.conformance.base import (
    Fixtures,
    MakeRelease,
    Settle,
    give,
    need,
    observe,
    settle_with,
)

Make = Callable[[str], Package]


class PreviewConformance(Fixtures):
    """`preview` looks ahead and changes nothing."""

    def test_preview_says_sentences_and_gives_nobody_the_release(
        self,
        provider: Provider,
        target: Target,
        package: Package,
        release_factory: MakeRelease,
    ) -> None:
        """Twice the same, and afterwards nothing is there that was not there before."""
        need(provider, "preview", "observe", "history")
        release = release_factory(package)
        request = PreviewRequest(target=target, package=package, release=release.number)
        notes = provider.preview(request).notes
        assert all(note.strip() for note in notes)
        assert provider.preview(request).notes == notes
        assert observe(provider, target, release) == {}
        history = HistoryRequest(target=target, application=release.application)
        assert list(provider.history(history)) == []


class DeployConformance(Fixtures):
    """`deploy` gives a release to exactly the named devices."""

    def test_deploy_reaches_only_the_named_devices(
        self,
        provider: Provider,
        target: Target,
        devices: tuple[str, ...],
        package: Package,
        release_factory: MakeRelease,
    ) -> None:
        """Others stay as they are."""
        need(provider, "package", "deploy", "observe")
        release = release_factory(package)
        result = give(provider, target, package, release, devices[0])
        assert result.assigned == (devices[0],)
        assert result.unchanged == ()
        assert observe(provider, target, release).keys() == {devices[0]}

    def test_deploy_twice_changes_nothing(
        self,
        provider: Provider,
        target: Target,
        devices: tuple[str, ...],
        package: Package,
        release_factory: MakeRelease,
    ) -> None:
        """Devices that have the release are told as unchanged."""
        need(provider, "package", "deploy")
        release = release_factory(package)
        give(provider, target, package, release, devices[0])
        result = give(provider, target, package, release, *devices)
        assert result.assigned == (devices[1],)
        assert result.unchanged == (devices[0],)

    def test_deploy_to_an_unknown_device_is_refused(
        self,
        provider: Provider,
        target: Target,
        package: Package,
        release_factory: MakeRelease,
        secrets: tuple[str, ...],
    ) -> None:
        """It is a `NotFoundError` that names the device and shows no secret."""
        need(provider, "package", "deploy")
        release = release_factory(package)
        with pytest.raises(NotFoundError, match="nobody-knows-me") as caught:
            give(provider, target, package, release, "nobody-knows-me")
        assert caught.value.code == "not-found"
        shown = f"{caught.value.message} {caught.value.hint}"
        assert [secret for secret in secrets if secret in shown] == []

    def test_deploy_of_a_release_that_was_not_packaged_is_refused(
        self,
        provider: Provider,
        target: Target,
        devices: tuple[str, ...],
        package: Package,
        release_factory: MakeRelease,
    ) -> None:
        """`package` comes before `deploy`."""
        need(provider, "deploy")
        release = release_factory(package)
        with pytest.raises(NotFoundError):
            provider.deploy(
                DeployRequest(target=target, package=package, release=release, devices=devices)
            )


class ObserveConformance(Fixtures):
    """`observe` tells where each device stands, from its own words."""

    def test_observe_lists_nobody_before_the_release_is_given(
        self,
        provider: Provider,
        target: Target,
        package: Package,
        release_factory: MakeRelease,
    ) -> None:
        """Also not when it was packaged."""
        need(provider, "package", "observe")
        release = release_factory(package)
        provider.package(PackageRequest(target=target, package=package, release=release))
        assert observe(provider, target, release) == {}

    def test_observe_sees_devices_become_healthy(
        self,
        *,
        provider: Provider,
        target: Target,
        devices: tuple[str, ...],
        package: Package,
        release_factory: MakeRelease,
        settle: Settle,
    ) -> None:
        """A healthy device answers with this release and this package."""
        need(provider, "package", "deploy", "observe")
        release = release_factory(package)
        give(provider, target, package, release, *devices)
        states = settle(release)
        assert states.keys() == set(devices)
        for status in states.values():
            assert status.state is State.HEALTHY, f"{status}"
            assert status.release == release.number
            assert status.active_release in {None, release.number}
            assert status.active_package in {"", package.digest}

    def test_observe_lists_only_the_devices_asked_for(
        self,
        provider: Provider,
        target: Target,
        devices: tuple[str, ...],
        package: Package,
        release_factory: MakeRelease,
    ) -> None:
        """Unknown ones are left out, and are no error."""
        need(provider, "package", "deploy", "observe")
        release = release_factory(package)
        give(provider, target, package, release, *devices)
        asked = (devices[1], "nobody-knows-me")
        assert observe(provider, target, release, asked).keys() == {devices[1]}

    def test_observe_tells_that_a_newer_release_took_over(
        self,
        *,
        provider: Provider,
        target: Target,
        devices: tuple[str, ...],
        make_package: Make,
        release_factory: MakeRelease,
        settle: Settle,
    ) -> None:
        """Asked about the older release, a device is superseded (or not listed), not healthy."""
        need(provider, "package", "deploy", "observe")
        first, second = make_package("1.0.0"), make_package("2.0.0")
        old = release_factory(first)
        give(provider, target, first, old, devices[0])
        settle(old)
        new = release_factory(second, number=old.number + 1)
        give(provider, target, second, new, devices[0])
        assert settle(new)[devices[0]].active_package in {"", second.digest}
        states = {status.state for status in observe(provider, target, old).values()}
        assert states <= {State.SUPERSEDED}

    def test_observe_without_a_release_tells_what_each_device_did_last(
        self,
        *,
        provider: Provider,
        target: Target,
        devices: tuple[str, ...],
        package: Package,
        release_factory: MakeRelease,
        settle: Settle,
    ) -> None:
        """That is how a plan learns the present state."""
        need(provider, "package", "deploy", "observe")
        release = release_factory(package)
        give(provider, target, package, release, devices[0])
        settle(release)
        request = ObserveRequest(target=target, application=release.application)
        told = {s.device: s for s in provider.observe(request) if s.release == release.number}
        assert told.keys() == {devices[0]}
        assert told[devices[0]].state is State.HEALTHY


class HistoryConformance(Fixtures):
    """`history` remembers an application's releases."""

    def test_history_of_an_unknown_application_is_empty(
        self, provider: Provider, target: Target, application: str
    ) -> None:
        """It is no error."""
        need(provider, "history")
        request = HistoryRequest(target=target, application=application)
        assert list(provider.history(request)) == []

    def test_history_begins_with_the_newest_release(
        self,
        provider: Provider,
        target: Target,
        make_package: Make,
        release_factory: MakeRelease,
    ) -> None:
        """Each has its number, package, version and content."""
        need(provider, "history", "package")
        packages = [make_package(f"{number}.0.0") for number in (1, 2, 3)]
        releases = []
        for package in packages:
            releases.append(release_factory(package))
            provider.package(PackageRequest(target=target, package=package, release=releases[-1]))
        request = HistoryRequest(target=target, application=releases[0].application)
        records = list(provider.history(request))
        assert [(r.number, r.package, r.version, r.content) for r in records] == [
            (r.number, r.package, r.document.version, r.document.content_digest())
            for r in reversed(releases)
        ]


class WithdrawConformance(Fixtures):
    """`withdraw` takes back what devices have not finished, or removes the application."""

    def _need_withdraw(self, provider: Provider) -> None:
        need(provider, "withdraw", "capabilities")
        if not provider.capabilities().withdraw:
            pytest.skip("the provider says that it cannot withdraw")

    @pytest.mark.parametrize("release", [None, 7])
    def test_withdraw_of_what_is_not_there_is_harmless(
        self, provider: Provider, target: Target, application: str, release: int | None
    ) -> None:
        """Nothing was given, so nothing is taken back."""
        self._need_withdraw(provider)
        request = WithdrawRequest(target=target, application=application, release=release)
        assert provider.withdraw(request).devices == ()

    def test_withdraw_leaves_devices_that_have_finished(
        self,
        *,
        provider: Provider,
        target: Target,
        devices: tuple[str, ...],
        package: Package,
        release_factory: MakeRelease,
        settle: Settle,
    ) -> None:
        """A healthy device keeps its release."""
        self._need_withdraw(provider)
        need(provider, "package", "deploy", "observe")
        release = release_factory(package)
        give(provider, target, package, release, devices[0])
        settle(release)
        request = WithdrawRequest(
            target=target, application=release.application, release=release.number
        )
        assert provider.withdraw(request).devices == ()
        assert observe(provider, target, release)[devices[0]].state is State.HEALTHY

    def test_withdraw_takes_the_release_back_from_a_device_that_has_not_begun(
        self,
        *,
        provider: Provider,
        target: Target,
        devices: tuple[str, ...],
        package: Package,
        release_factory: MakeRelease,
        settle: Settle,
    ) -> None:
        """Such devices do not become healthy with it, until they are given it again."""
        self._need_withdraw(provider)
        need(provider, "package", "deploy", "observe")
        release = release_factory(package)
        give(provider, target, package, release, *devices)
        request = WithdrawRequest(
            target=target,
            application=release.application,
            release=release.number,
            devices=(devices[0],),
        )
        back = provider.withdraw(request).devices
        assert set(back) <= {devices[0]}
        states = settle(release)
        assert [d for d in back if d in states and states[d].state is State.HEALTHY] == []
        assert states[devices[1]].state is State.HEALTHY
        assert provider.withdraw(request).devices == ()
        if back:
            assert give(provider, target, package, release, *devices).assigned == back
            states = settle_with(settle, release, *devices)
            assert states[devices[0]].state is State.HEALTHY

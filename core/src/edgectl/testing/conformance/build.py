"""What `train`, `register` and `package` have to keep."""

# ruff: noqa: S101 - a test asserts

from __future__ import annotations

import sys
from collections.abc import Callable

import msgspec
import pytest

from edge_components.contract.digest import check_digest, sha256_digest
from edgectl.errors import ConflictError, TrainError
from edgectl.provider import Provider
from edgectl.records import Package, Target
from edgectl.requests import (
    ApprovalRequest,
    HistoryRequest,
    PackageRequest,
    RegisterRequest,
    TrainRequest,
)
from edgectl.testing.conformance.base import Fixtures, MakeRelease, keep_tiny_delta, need


class TrainConformance(Fixtures):
    """`train` runs the project's command and brings the result to this machine."""

    def test_train_brings_model_and_metrics(
        self, provider: Provider, train_request: TrainRequest
    ) -> None:
        """The model lies where it was asked for, and the metrics are numbers by name."""
        need(provider, "train")
        trained = provider.train(train_request)
        assert trained.model.is_file(), "the model is not on this machine"
        assert trained.metrics == {"accuracy": 0.5}

    def test_train_records_what_it_was_trained_from(
        self, provider: Provider, train_request: TrainRequest
    ) -> None:
        """The digests of all inputs and the command are in the result."""
        need(provider, "train")
        trained = provider.train(train_request)
        assert trained.inputs.keys() == train_request.inputs.keys()
        for digest in trained.inputs.values():
            check_digest(digest)
        assert trained.command == train_request.command

    def test_train_that_fails_is_told_with_its_last_lines(
        self, provider: Provider, train_request: TrainRequest
    ) -> None:
        """A command that fails is a `TrainError`, and its last lines are in the message."""
        need(provider, "train")
        code = "print('the data is gone'); raise SystemExit(3)"
        command = (sys.executable, "-c", code)
        with pytest.raises(TrainError, match="the data is gone"):
            provider.train(msgspec.structs.replace(train_request, command=command))


class RegisterConformance(Fixtures):
    """`register` keeps model versions that nobody can change any more."""

    def test_register_returns_the_version(
        self, provider: Provider, register_request: RegisterRequest
    ) -> None:
        """What comes back is the version that was given."""
        need(provider, "register")
        version = provider.register(register_request)
        wanted = register_request.version
        assert (version.name, version.version, version.digest) == (
            wanted.name,
            wanted.version,
            wanted.digest,
        )

    def test_register_twice_changes_nothing(
        self, provider: Provider, register_request: RegisterRequest
    ) -> None:
        """The same version with the same digest is the same version."""
        need(provider, "register")
        assert provider.register(register_request) == provider.register(register_request)

    def test_register_refuses_other_content_under_the_same_version(
        self, provider: Provider, register_request: RegisterRequest
    ) -> None:
        """Another digest under a known version is a `ConflictError`, and the old one stays."""
        need(provider, "register")
        provider.register(register_request)
        other = msgspec.structs.replace(register_request.version, digest=sha256_digest(b"other"))
        with pytest.raises(ConflictError):
            provider.register(msgspec.structs.replace(register_request, version=other))
        assert provider.register(register_request).digest == register_request.version.digest

    def test_register_keeps_the_approval(
        self, provider: Provider, register_request: RegisterRequest
    ) -> None:
        """An approval stays until another one is set."""
        need(provider, "register")
        provider.register(register_request)
        approve = msgspec.structs.replace(register_request, approval="approved")
        assert provider.register(approve).approval == "approved"
        assert provider.register(register_request).approval == "approved"


class ApprovalConformance(Fixtures):
    """`approval` says what was decided about a version, and changes nothing."""

    def test_approval_of_an_unknown_version_is_none(
        self, provider: Provider, register_request: RegisterRequest
    ) -> None:
        """A version that was never registered has no approval."""
        need(provider, "approval")
        assert provider.approval(_asked(register_request)).approval is None

    def test_approval_of_a_new_version_is_what_it_was_registered_with(
        self, provider: Provider, register_request: RegisterRequest
    ) -> None:
        """`initial` counts for a version that is new, and for no other."""
        need(provider, "register", "approval")
        provider.register(msgspec.structs.replace(register_request, initial="approved"))
        assert provider.approval(_asked(register_request)).approval == "approved"
        provider.register(msgspec.structs.replace(register_request, approval="rejected"))
        provider.register(msgspec.structs.replace(register_request, initial="approved"))
        assert provider.approval(_asked(register_request)).approval == "rejected"


def _asked(request: RegisterRequest) -> ApprovalRequest:
    return ApprovalRequest(name=request.version.name, version=request.version.version)


class PackageConformance(Fixtures):
    """`package` brings content where devices fetch it, once."""

    def test_package_says_where_it_is(
        self,
        provider: Provider,
        target: Target,
        package: Package,
        release_factory: MakeRelease,
    ) -> None:
        """The result names the place in the provider's words."""
        need(provider, "package")
        request = PackageRequest(target=target, package=package, release=release_factory(package))
        assert provider.package(request).location

    def test_package_twice_sends_nothing(
        self,
        provider: Provider,
        target: Target,
        package: Package,
        release_factory: MakeRelease,
    ) -> None:
        """Content that is there does not travel again, and the place is the same."""
        need(provider, "package")
        request = PackageRequest(target=target, package=package, release=release_factory(package))
        first = provider.package(request)
        second = provider.package(request)
        assert second.uploaded_bytes == 0
        assert second.location == first.location

    def test_package_brings_deltas_along_once(
        self,
        provider: Provider,
        target: Target,
        package: Package,
        release_factory: MakeRelease,
    ) -> None:
        """Deltas go out with their release; what is there does not travel again."""
        need(provider, "package")
        if not provider.capabilities().deltas:
            pytest.skip("this provider's devices do not take deltas")
        delta = keep_tiny_delta(package)
        request = PackageRequest(
            target=target, package=package, release=release_factory(package), deltas=(delta,)
        )
        assert provider.package(request).uploaded_bytes > delta.files[0].size
        assert provider.package(request).uploaded_bytes == 0

    def test_package_makes_one_release_in_the_history(
        self,
        provider: Provider,
        target: Target,
        package: Package,
        release_factory: MakeRelease,
    ) -> None:
        """The same release twice is one release."""
        need(provider, "package", "history")
        release = release_factory(package)
        request = PackageRequest(target=target, package=package, release=release)
        provider.package(request)
        provider.package(request)
        history = HistoryRequest(target=target, application=release.application)
        assert [record.number for record in provider.history(history)] == [release.number]

    def test_package_refuses_other_content_under_the_same_number(
        self,
        provider: Provider,
        target: Target,
        make_package: Callable[[str], Package],
        release_factory: MakeRelease,
    ) -> None:
        """A release number stands for one content for ever."""
        need(provider, "package")
        first, second = make_package("1.0.0"), make_package("2.0.0")
        release = release_factory(first)
        provider.package(PackageRequest(target=target, package=first, release=release))
        other = release_factory(second, number=release.number)
        with pytest.raises(ConflictError):
            provider.package(PackageRequest(target=target, package=second, release=other))

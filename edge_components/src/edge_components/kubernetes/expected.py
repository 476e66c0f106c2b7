"""What the updater meets in a pod: trust held to what the pod is for, and no runtime yet."""

from __future__ import annotations

import threading

import msgspec

from edge_components.contract.package import Manifest
from edge_components.contract.release import ReleaseDocument
from edge_components.contract.state import Reason
from edge_components.kubernetes.ledger import Ledger
from edge_components.update.errors import RefusedError
from edge_components.update.ports import Health, Trust
from edge_components.update.record import Installed


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What the pod was made for.

    Attributes:
        release: The release's number, or 0 for any.
        package: The package's digest, or "" for any.
    """

    release: int = 0
    package: str = ""


class PodTrust:
    """Trust in a publisher, for the one release that this pod was made for.

    A registry or an image that was swapped may hold another release of the same publisher: that
    is signed, and still not what the operator asked this pod to run.

    Args:
        inner: Who verifies signatures.
        expected: What the pod was made for.
        ledger: What this node accepted before, or None where it keeps nothing.
    """

    def __init__(self, inner: Trust, expected: Expected, ledger: Ledger | None) -> None:
        self._inner = inner
        self._expected = expected
        self._ledger = ledger
        self.verified: ReleaseDocument | None = None

    def release(self, envelope: bytes) -> ReleaseDocument:
        """Return the verified release, without its soak: that begins when the runtime does.

        Raises:
            RefusedError: It is not signed, not the one that was asked for, or older than allowed.
        """
        release = self._inner.release(envelope)
        expected = self._expected
        if expected.release not in (0, release.number):
            raise RefusedError(
                Reason.BAD_PACKAGE,
                f"the pod is for release {expected.release}, "
                f"release {release.number} was delivered",
                release,
            )
        if expected.package not in ("", release.package):
            raise RefusedError(
                Reason.DIGEST_MISMATCH,
                f"the pod is for package {expected.package}, the release is for {release.package}",
                release,
            )
        if self._ledger is not None:
            self._ledger.admit(release)
        self.verified = release
        settings = msgspec.structs.replace(release.settings, soak_s=0.0)
        return msgspec.structs.replace(release, settings=settings)

    def package(self, bundle: bytes, manifest: Manifest) -> None:
        """Check the package's signature; raises ``RefusedError``."""
        self._inner.package(bundle, manifest)


class NoRuntimeYet:
    """Stands for the container that starts after this one: it takes what it will find in place."""

    def __init__(self) -> None:
        self._release = 0

    def activate(self, version: Installed, stop: threading.Event) -> str:
        """Note the version; the provider that the golden check used stays in the record."""
        del stop
        self._release = version.number
        return ""

    def restore(self, version: Installed | None, stop: threading.Event) -> None:
        """Note the version."""
        del stop
        self._release = 0 if version is None else version.number

    def health(self) -> Health:
        """Say that nothing is wrong; the kubelet's probes say it of the real one."""
        return Health(release=self._release, ready=True)

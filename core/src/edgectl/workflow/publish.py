"""Bringing package and releases to each provider once, when the first of its targets begins."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from edgectl.errors import EdgectlError, PackageError
from edgectl.package.deltas import find_deltas
from edgectl.provider import Provider
from edgectl.records import Delta, Package, Release, Target
from edgectl.requests import PackageRequest, PackageResult
from edgectl.session import Session


class Publisher:
    """Publishes the releases of one package to several providers; used from several threads.

    Args:
        session: The project at work.
        package: What goes out.
        release: Makes a target's release when it is needed first, and gives the same one again.
        say: Takes one line of progress.
    """

    def __init__(
        self,
        session: Session,
        package: Package,
        release: Callable[[Target], Release],
        say: Callable[[str], None],
    ) -> None:
        self._session = session
        self._package = package
        self._release = release
        self._say = say
        self._lock = threading.Lock()
        self._turns: dict[str, threading.Lock] = {}
        self._outcomes: dict[tuple[str, int], EdgectlError | None] = {}

    def release(self, target: Target) -> Release:
        """Return a target's release, signed once."""
        with self._lock:
            return self._release(target)

    def bring(self, target: Target) -> None:
        """Bring package and release to the target's provider, unless that was done.

        Raises:
            EdgectlError: The provider refused; the same for all targets that share the release.
        """
        made = self.release(target)
        with self._lock:
            turn = self._turns.setdefault(target.provider, threading.Lock())
        with turn:
            key = target.provider, made.number
            if key not in self._outcomes:
                self._outcomes[key] = self._try(target, made)
            error = self._outcomes[key]
        if error is not None:
            raise error

    def _try(self, target: Target, made: Release) -> EdgectlError | None:
        try:
            provider = self._session.open(target.provider)
            result = bring_release(provider, target, self._package, made)
        except EdgectlError as exc:
            return exc
        sent = f" ({result.uploaded_bytes} bytes sent)" if result.uploaded_bytes else ""
        self._say(f"release {made.number} is at {result.location}{sent}")
        return None


def bring_release(
    provider: Provider, target: Target, package: Package, release: Release
) -> PackageResult:
    """Bring a package, its release and the deltas to it to where a target's devices fetch them.

    Raises:
        EdgectlError: The provider refused.
    """
    return provider.package(
        PackageRequest(
            target=target,
            package=package,
            release=release,
            deltas=known_deltas(provider, package),
        )
    )


def known_deltas(provider: Provider, package: Package) -> tuple[Delta, ...]:
    """Return the deltas that devices of a provider can be offered; none where it has no use."""
    return stored_deltas(package) if provider.capabilities().deltas else ()


def stored_deltas(package: Package) -> tuple[Delta, ...]:
    """Return the deltas to a package that are in the local store, if there is one."""
    with contextlib.suppress(PackageError):
        return find_deltas(package.layout, package.digest)
    return ()

"""Bringing package and release to each provider once, when the first of its targets begins."""

from __future__ import annotations

import threading
from collections.abc import Callable

from edgectl.errors import EdgectlError
from edgectl.records import Package, Release, Target
from edgectl.requests import PackageRequest
from edgectl.session import Session


class Publisher:
    """Publishes one release to several providers; used from several threads.

    Args:
        session: The project at work.
        package: What goes out.
        release: Makes the release when it is needed first, and gives the same one again.
        say: Takes one line of progress.
    """

    def __init__(
        self,
        session: Session,
        package: Package,
        release: Callable[[], Release],
        say: Callable[[str], None],
    ) -> None:
        self._session = session
        self._package = package
        self._release = release
        self._say = say
        self._lock = threading.Lock()
        self._turns: dict[str, threading.Lock] = {}
        self._outcomes: dict[str, EdgectlError | None] = {}

    def release(self) -> Release:
        """Return the release, signed once."""
        with self._lock:
            return self._release()

    def bring(self, target: Target) -> None:
        """Bring package and release to the target's provider, unless that was done.

        Raises:
            EdgectlError: The provider refused; the same for all of its targets.
        """
        with self._lock:
            turn = self._turns.setdefault(target.provider, threading.Lock())
        with turn:
            if target.provider not in self._outcomes:
                self._outcomes[target.provider] = self._try(target)
            error = self._outcomes[target.provider]
        if error is not None:
            raise error

    def _try(self, target: Target) -> EdgectlError | None:
        try:
            made = self.release()
            result = self._session.open(target.provider).package(
                PackageRequest(target=target, package=self._package, release=made)
            )
        except EdgectlError as exc:
            return exc
        sent = f" ({result.uploaded_bytes} bytes sent)" if result.uploaded_bytes else ""
        self._say(f"release {made.number} is at {result.location}{sent}")
        return None

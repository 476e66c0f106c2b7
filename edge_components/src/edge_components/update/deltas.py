"""Fetching a file as a delta to one that is here: decides when that is tried, and what if it fails.

A delta is only ever a shorter way to the same bytes. Whatever is wrong with it (it is not there,
was changed, takes too much memory or time, makes another file), the whole file is fetched, and the
update goes on. Old file and delta are read by a child process with bounds, because a delta is
believed by nobody; what the child writes is hashed here like anything else that comes.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol, runtime_checkable

import msgspec

from edge_components.contract.delta import Offer
from edge_components.contract.errors import ContractError
from edge_components.contract.package import Descriptor
from edge_components.contract.state import Reason
from edge_components.store.blobs import Partial, WrongContentError
from edge_components.store.disk import DiskFullError
from edge_components.update.delta_child import DeltaChild
from edge_components.update.errors import RefusedError

_LOG = logging.getLogger(__name__)
_SMALLEST = 64 << 10

Fill = Callable[[Partial], None]


@runtime_checkable
class DeltaSource(Protocol):
    """A source that may have deltas."""

    def offers(self, packages: frozenset[str], stop: threading.Event) -> tuple[Offer, ...]:
        """Return the deltas to files of the release's package.

        Args:
            packages: Digests of the packages that are here; empty where that is not known.
            stop: Ends it early.

        Raises:
            RefusedError: They cannot be listed.
            CalledOffError: ``stop`` was set.
        """


class Fetcher(Protocol):
    """What brings a file or a delta by its digest."""

    def fetch(self, layer: Descriptor, partial: Partial, stop: threading.Event) -> None:
        """Fill ``partial`` to its size."""


class Shelf(Protocol):
    """Where files lie by their digests."""

    def find(self, digest: str) -> Path | None:
        """Return the whole file of that digest, or None."""

    def missing(self, layer: Descriptor) -> int:
        """Return how many bytes of a file are still to be fetched."""

    def bring(self, delta: Descriptor, fill: Fill, stop: threading.Event) -> Path:
        """Return the delta, fetched if it is not here.

        Raises:
            RefusedError, WrongContentError, DiskFullError, CalledOffError: It cannot be had.
        """

    def drop(self, digest: str) -> None:
        """Remove a file and what was fetched of it."""


class Traffic(msgspec.Struct):
    """What an update fetched.

    Attributes:
        fetched: Bytes that came.
        needed: Bytes of all files that were not here.
        by_delta: How many files were made from a delta.
        kept: How many files were here already.
        failed: How many deltas were of no use.
    """

    fetched: int = 0
    needed: int = 0
    by_delta: int = 0
    kept: int = 0
    failed: int = 0

    def text(self) -> str:
        """Return it as a sentence for an operator."""
        parts = [f"{self.by_delta} by delta"] if self.by_delta else []
        parts += [f"{self.failed} by a delta of no use first"] if self.failed else []
        parts += [f"{self.kept} here already"] if self.kept else []
        told = f"fetched {self.fetched} bytes of {self.needed}"
        return "; ".join([told, *parts])


class Deltas:
    """Fetches the files of one update, by delta where one is offered that saves bytes.

    Args:
        source: Where files come from; deltas too, if it is a ``DeltaSource``.
        shelf: Where they go.
        child: What applies a delta.
    """

    def __init__(self, source: Fetcher, shelf: Shelf, child: DeltaChild | None = None) -> None:
        self._source = source
        self._shelf = shelf
        self._child = child or DeltaChild()
        self._chosen: dict[str, Offer] = {}
        self._begun: set[str] = set()
        self._made: set[str] = set()
        self.traffic = Traffic()

    def look(
        self, layers: Iterable[Descriptor], packages: frozenset[str], stop: threading.Event
    ) -> None:
        """Choose a delta for each file that is missing, where one is offered and its old file here.

        Raises:
            CalledOffError: ``stop`` was set.
        """
        self._chosen = {}
        missing = {one.digest: self._shelf.missing(one) for one in layers}
        missing = {digest: size for digest, size in missing.items() if size >= _SMALLEST}
        if not missing or not isinstance(self._source, DeltaSource):
            return
        try:
            offers = self._source.offers(packages, stop)
        except (RefusedError, ContractError, OSError) as exc:
            _LOG.warning("deltas cannot be listed: %s", exc)
            return
        for offer in sorted(offers, key=lambda one: -one.delta.size):
            if offer.delta.size < missing.get(offer.new, 0) and self._shelf.find(offer.old):
                self._chosen[offer.new] = offer

    def needed(self, layers: Iterable[Descriptor]) -> tuple[Descriptor, ...]:
        """Return the deltas that would be fetched for these files."""
        return tuple(self._chosen[one.digest].delta for one in layers if one.digest in self._chosen)

    def forget(self) -> None:
        """Use no delta: there is no room for them beside the files."""
        self._chosen = {}

    def fill(self, layer: Descriptor, partial: Partial, stop: threading.Event) -> None:
        """Fill ``partial``, by delta if one was chosen; a second call fetches the whole file.

        Raises:
            RefusedError: The file cannot be had.
            WrongContentError: The disk was full; the partial file has to be opened anew.
            DiskFullError: There is no room.
            CalledOffError: ``stop`` was set.
        """
        missing = partial.size - partial.offset
        if layer.digest not in self._begun:
            self._begun.add(layer.digest)
            self.traffic.needed += missing
        if layer.digest in self._made:  # with other bytes than it should have
            self._made.remove(layer.digest)
            self.traffic.failed += 1
        offer = self._chosen.pop(layer.digest, None)
        if offer and offer.delta.size < missing and self._by_delta(offer, partial, stop):
            self._made.add(layer.digest)
            return
        begin = partial.offset
        self._source.fetch(layer, partial, stop)
        self.traffic.fetched += partial.offset - begin

    def report(self) -> Traffic:
        """Return what was fetched so far."""
        return msgspec.structs.replace(self.traffic, by_delta=len(self._made))

    def _by_delta(self, offer: Offer, partial: Partial, stop: threading.Event) -> bool:
        """Make the file from its delta; return whether as many bytes came as it has."""
        before = partial.offset
        try:
            self._make(offer, partial, stop)
        except (RefusedError, WrongContentError, DiskFullError, OSError) as exc:
            _LOG.warning("the delta to %s is of no use: %s", offer.new, exc)
            # A link that broke may be back when the order comes again: then it goes on here.
            if not (isinstance(exc, RefusedError) and exc.reason is Reason.DOWNLOAD_FAILED):
                self._shelf.drop(offer.delta.digest)
            if partial.offset != before:
                partial.restart()
            self.traffic.failed += 1
            if isinstance(exc, DiskFullError):
                # The partial file may be gone: whoever opened it has to open it anew.
                raise WrongContentError(f"no room beside the delta: {exc}") from exc
            return False
        self._shelf.drop(offer.delta.digest)
        _LOG.info("%s was made from a delta of %d bytes", offer.new, offer.delta.size)
        return True

    def _make(self, offer: Offer, partial: Partial, stop: threading.Event) -> None:
        def fetch(target: Partial) -> None:
            begin = target.offset
            try:
                self._source.fetch(offer.delta, target, stop)
            finally:
                self.traffic.fetched += target.offset - begin

        delta = self._shelf.bring(offer.delta, fetch, stop)
        old = self._shelf.find(offer.old)
        if old is None:
            raise RefusedError(Reason.INTERNAL, "the file before is not here any more")
        self._child.apply(old, delta, partial, stop)

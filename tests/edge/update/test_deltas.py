"""When a delta is chosen, and what happens where it comes to nothing; without a network."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_components.contract.delta import Offer
from edge_components.contract.digest import sha256_digest
from edge_components.contract.package import Descriptor
from edge_components.contract.state import Reason
from edge_components.store.blobs import Partial, WrongContentError
from edge_components.store.disk import DiskFullError
from edge_components.store.store import Store
from edge_components.update.delta_child import DeltaChild
from edge_components.update.delta_shelf import StoreShelf
from edge_components.update.deltas import Deltas
from edge_components.update.errors import RefusedError

NEVER = threading.Event()
OLD, NEW = b"o" * 200_000, b"n" * 200_000
SMALL, LARGE = b"small delta" * 10, b"large delta" * 100


def descriptor(data: bytes) -> Descriptor:
    return Descriptor(media_type="any", digest=sha256_digest(data), size=len(data))


def offer(delta: bytes, old: bytes = OLD) -> Offer:
    return Offer(old=sha256_digest(old), new=sha256_digest(NEW), delta=descriptor(delta))


class Shop:
    """A source with deltas; it counts what is asked for."""

    def __init__(self, *offers: Offer) -> None:
        self.listed = offers
        self.asked: list[str] = []
        self.broken: set[str] = set()
        self.refuses = False
        self._files = {sha256_digest(data): data for data in (NEW, SMALL, LARGE)}

    def offers(self, packages: frozenset[str], stop: threading.Event) -> tuple[Offer, ...]:
        if self.refuses:
            raise RefusedError(Reason.DOWNLOAD_FAILED, "no answer")
        return self.listed

    def fetch(self, layer: Descriptor, partial: Partial, stop: threading.Event) -> None:
        self.asked.append(layer.digest)
        data = self._files[layer.digest]
        if layer.digest in self.broken:
            partial.write(data[partial.offset : partial.offset + 5])
            raise RefusedError(Reason.DOWNLOAD_FAILED, "the link broke")
        partial.write(data[partial.offset :])


class Child(DeltaChild):
    """Makes the new file, or fails as it is told to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def apply(self, old: Path, delta: Path, partial: Partial, stop: threading.Event) -> None:
        assert old.read_bytes() == OLD
        if self.error is not None:
            partial.write(b"wrong")
            raise self.error
        partial.write(NEW[partial.offset :])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path)
    with store.blobs.partial(sha256_digest(OLD), len(OLD)) as partial:
        partial.write(OLD)
        partial.finish()
    yield store
    store.close()


def fetch(store: Store, shop: Shop, child: Child | None = None) -> Deltas:
    """Fetch the new file; the second time it is tried is the last."""
    deltas = Deltas(shop, StoreShelf(store), child or Child())
    deltas.look([descriptor(NEW)], frozenset({"any"}), NEVER)
    for _ in range(2):
        try:
            with store.blobs.partial(sha256_digest(NEW), len(NEW)) as partial:
                deltas.fill(descriptor(NEW), partial, NEVER)
                partial.finish()
        except WrongContentError:
            continue
        break
    assert store.blobs.path(sha256_digest(NEW)).read_bytes() == NEW
    return deltas


def test_the_smaller_of_two_deltas_is_taken_and_not_kept(store: Store) -> None:
    shop = Shop(offer(SMALL), offer(LARGE))
    told = fetch(store, shop).report()
    assert shop.asked == [sha256_digest(SMALL)]
    assert (told.fetched, told.needed, told.by_delta, told.failed) == (len(SMALL), len(NEW), 1, 0)
    assert told.text() == f"fetched {len(SMALL)} bytes of {len(NEW)}; 1 by delta"
    assert not store.blobs.has(sha256_digest(SMALL), len(SMALL))


def test_a_delta_from_a_file_that_is_not_here_is_not_asked_for(store: Store) -> None:
    shop = Shop(offer(SMALL, old=b"another"))
    fetch(store, shop)
    assert shop.asked == [sha256_digest(NEW)]


def test_a_source_that_cannot_list_deltas_gives_the_whole_file(store: Store) -> None:
    shop = Shop(offer(SMALL))
    shop.refuses = True
    fetch(store, shop)
    assert shop.asked == [sha256_digest(NEW)]


def test_of_a_file_that_is_almost_here_the_rest_is_fetched(store: Store) -> None:
    with store.blobs.partial(sha256_digest(NEW), len(NEW)) as partial:
        partial.write(NEW[:-100])
    shop = Shop(offer(SMALL))
    assert fetch(store, shop).report().fetched == 100
    assert shop.asked == [sha256_digest(NEW)]


def test_without_room_for_deltas_none_is_fetched(store: Store) -> None:
    shop = Shop(offer(SMALL))
    deltas = Deltas(shop, StoreShelf(store), Child())
    deltas.look([descriptor(NEW)], frozenset(), NEVER)
    assert deltas.needed([descriptor(NEW)]) == (descriptor(SMALL),)
    deltas.forget()
    assert deltas.needed([descriptor(NEW)]) == ()


@pytest.mark.parametrize(
    "error", [RefusedError(Reason.BAD_PACKAGE, "it is broken"), DiskFullError("full"), OSError(5)]
)
def test_where_it_cannot_be_applied_the_whole_file_is_fetched(
    store: Store, error: Exception
) -> None:
    shop = Shop(offer(SMALL))
    told = fetch(store, shop, Child(error)).report()
    assert shop.asked == [sha256_digest(SMALL), sha256_digest(NEW)]
    assert (told.by_delta, told.failed, told.needed) == (0, 1, len(NEW))


def test_what_came_of_a_delta_over_a_broken_link_is_kept_for_the_next_order(store: Store) -> None:
    shop = Shop(offer(SMALL))
    shop.broken = {sha256_digest(SMALL)}
    fetch(store, shop)
    assert shop.asked == [sha256_digest(SMALL), sha256_digest(NEW)]
    assert store.blobs.missing_bytes(sha256_digest(SMALL), len(SMALL)) == len(SMALL) - 5

"""Each virtual device of a machine has an address of its own, also before it listens there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgectl_azure_iot_edge.emulator.edge.ground import kept_of, reserve_address


@pytest.fixture
def held() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as found:
        yield found


def test_devices_of_one_name_share_no_address_though_none_listens_yet(
    tmp_path: Path, held: contextlib.ExitStack
) -> None:
    found = [reserve_address("d1", kept_of(tmp_path / str(n)), held) for n in range(5)]
    assert len({host for host, _ in found}) == 5


def test_a_device_takes_the_address_that_is_held_for_it(
    tmp_path: Path, held: contextlib.ExitStack
) -> None:
    kept = kept_of(tmp_path)
    address = reserve_address("d1", kept, held)
    with contextlib.ExitStack() as own:
        assert reserve_address("d1", kept, own, by_starter=True) == address


def test_an_address_from_before_that_another_holds_is_not_taken(
    tmp_path: Path, held: contextlib.ExitStack
) -> None:
    kept = kept_of(tmp_path / "first")
    with contextlib.ExitStack() as before:
        address = reserve_address("d1", kept, before)
    assert reserve_address("d1", kept_of(tmp_path / "second"), held) == address
    assert reserve_address("d1", kept, held) != address


def test_an_address_is_the_same_again_when_it_is_free(tmp_path: Path) -> None:
    kept = kept_of(tmp_path)
    with contextlib.ExitStack() as before:
        address = reserve_address("d1", kept, before)
    with contextlib.ExitStack() as again:
        assert reserve_address("d1", kept, again) == address

"""Files of stateful steps: found again where they mean the same, never believed when damaged."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from edge_components.contract.pipeline import Scale, Window
from edge_components.pipeline.errors import PipelineError
from edge_components.pipeline.state import StateStore, state_key


class Part:
    def __init__(self, key: str, data: bytes = b"") -> None:
        self.state_key = key
        self.dirty = True
        self.data = data

    def dump(self) -> bytes:
        return self.data

    def restore(self, data: bytes) -> None:
        if data == b"refuse":
            raise ValueError("no such thing")
        self.data = data


def test_a_state_is_found_again_by_its_key(tmp_path: Path) -> None:
    StateStore(tmp_path).save([Part("a", b"one"), Part("b", b"two")])
    found = [Part("a"), Part("b"), Part("c", b"mine")]
    assert StateStore(tmp_path).restore(found) == []
    assert [part.data for part in found] == [b"one", b"two", b"mine"]
    assert not any(part.dirty for part in found)


def test_the_key_follows_everything_that_decides_the_meaning() -> None:
    window = Window(size=3)
    assert state_key("window", window) == state_key("window", Window(size=3))
    others = [
        state_key("window", Window(size=4)),
        state_key("window", Scale(factor=2), window),
        state_key("user", window),
    ]
    assert state_key("window", window) not in others
    assert len(set(others)) == 3


@pytest.mark.parametrize("damage", [b"", b"edgestate1\n", b"edgestate1\n\0\0\0\0x", b"junk"])
def test_a_damaged_file_is_as_good_as_none_and_said_to_be_so(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "a.state").write_bytes(damage)
    part = Part("a", b"fresh")
    (trouble,) = StateStore(tmp_path).restore([part])
    assert "begun anew" in trouble
    assert part.data == b"fresh"


def test_a_state_that_the_step_refuses_is_said_to_be_begun_anew(tmp_path: Path) -> None:
    StateStore(tmp_path).save([Part("a", b"refuse")])
    assert len(StateStore(tmp_path).restore([Part("a")])) == 1


def test_a_file_that_a_power_cut_emptied_leaves_the_one_that_the_disk_had_written(
    tmp_path: Path,
) -> None:
    store, part = StateStore(tmp_path), Part("a", b"one")
    store.save([part])
    for newer in (b"two", b"three"):  # too soon to tell the disk again
        part.data, part.dirty = newer, True
        store.save([part])
    (tmp_path / "a.state").write_bytes(b"")
    found = Part("a")
    (trouble,) = StateStore(tmp_path).restore([found])
    assert "some seconds old" in trouble
    assert found.data == b"one"


def test_what_waits_for_the_disk_is_written_for_sure_at_the_end(tmp_path: Path) -> None:
    store, part = StateStore(tmp_path), Part("a", b"one")
    store.save([part])
    part.data, part.dirty = b"two", True
    store.save([part])
    store.save([part], now=True)
    (tmp_path / "a.state").unlink()
    (tmp_path / "a.sure").rename(tmp_path / "a.state")
    found = Part("a")
    assert StateStore(tmp_path).restore([found]) == []
    assert found.data == b"two"


def test_a_large_state_is_not_written(tmp_path: Path) -> None:
    store = StateStore(tmp_path, max_bytes=10)
    with pytest.raises(PipelineError, match="at most"):
        store.save([Part("a", b"x" * 11)])
    assert not (tmp_path / "a.state").exists()


@pytest.mark.parametrize(("size", "spared"), [(10, False), (100_000, True)])
def test_the_disk_is_spared_a_large_state_until_the_pipeline_rests(
    tmp_path: Path, size: int, spared: bool
) -> None:
    store, part = StateStore(tmp_path), Part("a")

    def slow() -> bytes:
        time.sleep(0.05)  # stands for the disk; the store measures it
        return b"x" * size

    part.dump = slow  # type: ignore[method-assign]  # a part of this test's own
    assert store.save([part])
    part.dirty = True
    assert store.save([part]) is not spared
    assert part.dirty is spared
    assert store.save([part], now=True)
    assert not part.dirty


def test_states_that_nobody_used_for_a_week_go(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    store.save([Part("old"), Part("kept"), Part("new")])
    for name in ("old", "kept"):
        os.utime(tmp_path / f"{name}.state", (time.time() - 8 * 86_400,) * 2)
    store.sweep(["kept"])
    assert sorted({path.stem for path in tmp_path.iterdir()}) == ["kept", "new"]

"""The store: durable records, resumable blobs, whole version folders, room, and the lock."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from edge_packages import Package, Publisher, make_package, make_release
from msgspec.structs import replace

from edge_components.contract.device import StoreSection
from edge_components.contract.digest import sha256_digest
from edge_components.contract.package import layer_paths
from edge_components.store import disk as disk_module
from edge_components.store.blobs import Blobs, WrongContentError
from edge_components.store.disk import Disk, DiskFullError
from edge_components.store.store import LOCK_FILE, Store, StoreError, read_record
from edge_components.store.versions import Documents
from edge_components.update.record import Accepted, Installed, Phase, Record, Update

DATA = b"0123456789" * 1000
Open = Callable[..., Store]


@pytest.fixture
def opened() -> Iterator[Open]:
    """Opens stores and closes them in the end."""
    stores = []

    def open_store(root: Path, limits: StoreSection | None = None) -> Store:
        stores.append(Store.open(root, limits))
        return stores[-1]

    yield open_store
    for store in stores:
        store.close()


def put(blobs: Blobs, data: bytes) -> str:
    digest = sha256_digest(data)
    with blobs.partial(digest, len(data)) as partial:
        partial.write(data)
        partial.finish()
    return digest


def fill(store: Store, publisher: Publisher, package: Package, number: int) -> Installed:
    """Stage the package and make it the active version."""
    files = layer_paths(package.manifest)
    store.reserve(files.values(), wanted=files.values())
    for data in package.blobs.values():
        put(store.blobs, data)
    documents = Documents(
        release=make_release(publisher, package, number),
        manifest=package.manifest_bytes,
        signature=package.signature,
    )
    store.stage(number, documents, files)
    version = Installed(number=number, version="1", package=package.digest, precision="int8")
    store.change(lambda r: replace(r, active=version, previous=r.kept()[:1]))
    store.forget_download()
    return version


def test_partial_blob_is_continued_after_a_restart(tmp_path: Path) -> None:
    digest = sha256_digest(DATA)
    with Blobs(tmp_path, Disk()).partial(digest, len(DATA)) as partial:
        partial.write(DATA[:4000])
    blobs = Blobs(tmp_path, Disk())
    assert blobs.missing_bytes(digest, len(DATA)) == len(DATA) - 4000
    with blobs.partial(digest, len(DATA)) as partial:
        assert partial.offset == 4000
        partial.write(DATA[4000:])
        partial.finish()
    assert blobs.has(digest, len(DATA))
    assert blobs.path(digest).read_bytes() == DATA


@pytest.mark.parametrize("data", [b"x" + DATA[1:], DATA[:-1]])
def test_wrong_content_gets_no_name(tmp_path: Path, data: bytes) -> None:
    blobs = Blobs(tmp_path, Disk())
    digest = sha256_digest(DATA)
    with blobs.partial(digest, len(DATA)) as partial:
        partial.write(data)
        with pytest.raises(WrongContentError):
            partial.finish()
    assert not blobs.has(digest, len(DATA))
    assert blobs.missing_bytes(digest, len(DATA)) == len(DATA)


def test_more_bytes_than_announced_are_refused(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path, Disk())
    with blobs.partial(sha256_digest(DATA), 10) as partial, pytest.raises(WrongContentError):
        partial.write(DATA)


def test_record_survives_reopening(opened: Open, tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.change(lambda r: replace(r, highest={}, update=None))
    store.close()
    assert read_record(tmp_path) == Record()


def test_second_store_on_the_folder_is_refused(opened: Open, tmp_path: Path) -> None:
    store = opened(tmp_path)
    with pytest.raises(StoreError, match="in use by another agent"):
        opened(tmp_path)
    store.close()
    opened(tmp_path)


def test_a_store_that_a_killed_agents_child_still_has_is_waited_for(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(tmp_path)
    lock = next(
        int(one.name)
        for one in Path("/proc/self/fd").iterdir()
        if os.path.realpath(one) == str((tmp_path / LOCK_FILE).resolve())
    )
    child = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(lock,)
    )
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        child.communicate(b"end\n", timeout=20)

    clock = SimpleNamespace(monotonic=time.monotonic, sleep=wait)
    monkeypatch.setattr("edge_components.store.store.time", clock)
    store.close()
    opened(tmp_path)
    assert len(waits) == 1


def test_record_that_cannot_be_read_is_an_error_with_its_path(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(StoreError, match="state"):
        opened(tmp_path)


def test_package_files_are_the_blobs_themselves(
    opened: Open, tmp_path: Path, publisher: Publisher
) -> None:
    store = opened(tmp_path)
    package = make_package(publisher, {"int8": DATA})
    version = fill(store, publisher, package, 1)
    file = store.versions.path(1) / "package/int8/model.onnx"
    assert file.samefile(store.blobs.path(sha256_digest(DATA)))
    assert store.versions.is_whole(version)
    assert store.used_bytes() < len(DATA) * 1.5 + 10_000


def test_files_are_copied_where_links_fail(
    opened: Open, tmp_path: Path, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_self: Path, _target: Path) -> None:
        raise OSError(errno.EPERM, "no links on this file system")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    store = opened(tmp_path)
    assert not disk_module.links_work(tmp_path)
    version = fill(store, publisher, make_package(publisher, {"int8": DATA}), 1)
    assert store.versions.is_whole(version)


def test_room_for_copies_is_counted_where_links_fail(
    opened: Open, tmp_path: Path, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = make_package(publisher, {"int8": DATA}).manifest.layers
    store = opened(tmp_path, StoreSection(max_bytes=int(len(DATA) * 1.5), reserve_bytes=0))
    store.reserve(layers, wanted=layers)
    monkeypatch.setattr("edge_components.store.store.links_work", lambda _root: False)
    with pytest.raises(DiskFullError, match="the store holds"):
        store.reserve(layers, wanted=layers)


def test_reserve_of_the_disk_is_left_alone(
    opened: Open, tmp_path: Path, publisher: Publisher
) -> None:
    layers = make_package(publisher, {"int8": DATA}).manifest.layers
    store = opened(tmp_path, StoreSection(reserve_bytes=1 << 60))
    with pytest.raises(DiskFullError, match="free beside the reserve"):
        store.reserve(layers, wanted=layers)


def test_leftovers_of_an_interrupted_update_are_removed(
    opened: Open, tmp_path: Path, publisher: Publisher
) -> None:
    store = opened(tmp_path)
    fill(store, publisher, make_package(publisher, {"int8": DATA}), 1)
    store.change(lambda r: replace(r, update=Update(action="a", phase=Phase.STAGE)))
    store.close()
    for name in ("versions/2", "versions/3.tmp"):
        (tmp_path / name).mkdir()
    (tmp_path / "state.json.tmp").write_text("half")
    store = opened(tmp_path)
    assert store.record.update is None
    assert [p.name for p in (tmp_path / "versions").iterdir()] == ["1"]
    assert not (tmp_path / "state.json.tmp").exists()


def test_damaged_active_version_gives_way_to_the_one_before(
    opened: Open, tmp_path: Path, publisher: Publisher
) -> None:
    store = opened(tmp_path)
    fill(store, publisher, make_package(publisher, {"int8": DATA}), 1)
    fill(store, publisher, make_package(publisher, {"int8": DATA * 2}), 2)
    (store.versions.path(2) / "package/int8/model.onnx").unlink()
    store.close()
    store = opened(tmp_path)
    assert store.record.active is not None
    assert store.record.active.number == 1


def test_unneeded_versions_and_blobs_go_and_needed_ones_stay(
    opened: Open, tmp_path: Path, publisher: Publisher
) -> None:
    store = opened(tmp_path)
    for number in (1, 2, 3):
        package = make_package(publisher, {"int8": b"%d" % number + DATA})
        fill(store, publisher, package, number)
    assert sorted(p.name for p in (tmp_path / "versions").iterdir()) == ["2", "3"]
    assert not store.blobs.path(sha256_digest(b"1" + DATA)).exists()
    assert store.blobs.path(sha256_digest(b"2" + DATA)).exists()


def test_failed_write_leaves_the_record_as_it_was(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(tmp_path)
    store.change(lambda r: replace(r, update=Update(action="a")))

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DiskFullError):
        store.change(lambda r: replace(r, update=None))
    monkeypatch.undo()
    assert store.record.update is not None
    assert read_record(tmp_path) == store.record
    assert not (tmp_path / "state.json.tmp").exists()


def test_record_can_be_written_on_a_full_disk(tmp_path: Path, opened: Open) -> None:
    if os.geteuid() != 0 or os.system(f"mount -t tmpfs -o size=300k tmpfs {tmp_path} 2>/dev/null"):
        pytest.skip("mounting a small tmpfs needs root")
    try:
        store = opened(tmp_path / "store")
        with (tmp_path / "ballast").open("wb", buffering=0) as file:
            with pytest.raises(OSError, match="No space"):
                while True:
                    file.write(b"x" * 4096)
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"x")
        accepted = {"plates": Accepted(number=7, content="sha256:" + "0" * 64)}
        store.change(lambda record: replace(record, highest=accepted))
        assert read_record(tmp_path / "store").highest == accepted
        (tmp_path / "ballast").unlink()
        store.collect()
        assert (tmp_path / "store/spare").stat().st_blocks * 512 >= 64 << 10
        store.close()
    finally:
        os.system(f"umount -l {tmp_path}")

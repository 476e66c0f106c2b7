"""The store: blobs keep their digest, links are not followed, a killed writer loses nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_components.contract.digest import sha256_digest
from edgectl.errors import PackageError
from edgectl.package.index import Entry, Index, parse_index
from edgectl.package.store import Layout

WRITER = """
import itertools, sys
from pathlib import Path
from edge_components.contract.package import MANIFEST_TYPE
from edgectl.package.index import Entry
from edgectl.package.store import Layout
name, count = sys.argv[2], int(sys.argv[3])
layout = Layout.open(Path(sys.argv[1]))
for number in range(count):
    content = layout.add_bytes(f"{name} {number}".encode())
    entry = Entry(media_type=MANIFEST_TYPE, digest=content.digest, size=content.size)
    layout.update_index(lambda index: index.with_entry(entry.tagged(f"{name}-{number}")))
    print(number, flush=True)
"""


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout.create(tmp_path / "store")


def writer(layout: Layout, name: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, layout.path, name, str(count)],
        stdout=subprocess.PIPE,
        text=True,
    )


def acknowledged(process: subprocess.Popen[str]) -> int:
    output, _ = process.communicate(timeout=60)
    return len(output.splitlines())


def entry(number: int, tag: str = "") -> Entry:
    digest = sha256_digest(str(number).encode())
    return Entry(media_type="application/x", digest=digest, size=1).tagged(tag)


def test_a_new_layout_is_an_oci_layout(layout: Layout) -> None:
    assert (layout.path / "oci-layout").read_bytes() == b'{"imageLayoutVersion":"1.0.0"}'
    assert (layout.path / "index.json").exists()


def test_opening_what_is_no_layout_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="not a package store"):
        Layout.open(tmp_path)


def test_content_comes_back(layout: Layout) -> None:
    content = layout.add_bytes(b"hello")
    assert layout.read(content.digest, max_bytes=10) == b"hello"


def test_a_file_is_stored_under_its_digest(layout: Layout, tmp_path: Path) -> None:
    data = os.urandom(5 << 20) + b"odd"
    (tmp_path / "file").write_bytes(data)
    content = layout.add_file(tmp_path / "file")
    assert content == (sha256_digest(data), len(data))
    assert layout.blob_path(content.digest).read_bytes() == data


def test_the_same_content_is_stored_once(layout: Layout, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(b"same")
        layout.add_file(tmp_path / name)
    layout.add_bytes(b"same")
    assert len(list((layout.path / "blobs" / "sha256").iterdir())) == 1
    assert list(layout.incoming.iterdir()) == []


@pytest.mark.parametrize("damage", [b"hullo", b"hell", b""])
def test_changed_content_is_found_on_reading(layout: Layout, damage: bytes) -> None:
    content = layout.add_bytes(b"hello")
    layout.blob_path(content.digest).write_bytes(damage)
    with pytest.raises(PackageError, match="was changed"):
        layout.read(content.digest, max_bytes=10)
    assert not layout.intact(content.digest, content.size)


def test_adding_again_heals_a_damaged_blob(layout: Layout, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"hello")
    content = layout.add_file(tmp_path / "file")
    for heal in (lambda: layout.add_file(tmp_path / "file"), lambda: layout.add_bytes(b"hello")):
        layout.blob_path(content.digest).write_bytes(b"hullo")
        heal()
        assert layout.read(content.digest, max_bytes=10) == b"hello"


def test_a_blob_larger_than_expected_is_not_read(layout: Layout) -> None:
    content = layout.add_bytes(b"x" * 100)
    with pytest.raises(PackageError, match="more than 99"):
        layout.read(content.digest, max_bytes=99)


def test_a_blob_that_is_a_link_is_refused(layout: Layout, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"hello")
    path = layout.blob_path(sha256_digest(b"hello"))
    path.symlink_to(tmp_path / "secret")
    with pytest.raises(PackageError, match="link"):
        layout.read(sha256_digest(b"hello"), max_bytes=10)
    with pytest.raises(PackageError, match="link"):
        layout.open_blob(sha256_digest(b"hello"), size=5)


def test_a_pipe_in_place_of_a_blob_does_not_hang(layout: Layout) -> None:
    os.mkfifo(layout.blob_path(sha256_digest(b"hello")))
    with pytest.raises(PackageError, match="not a plain file"):
        layout.read(sha256_digest(b"hello"), max_bytes=10)


@pytest.mark.parametrize("name", ["index.json", "oci-layout"])
def test_a_linked_file_of_the_layout_is_refused(layout: Layout, tmp_path: Path, name: str) -> None:
    moved = tmp_path / name
    (layout.path / name).rename(moved)
    (layout.path / name).symlink_to(moved)
    with pytest.raises(PackageError, match="link"):
        Layout.open(layout.path).index()


@pytest.mark.parametrize("name", ["blobs", "blobs/sha256", ".incoming"])
def test_a_linked_folder_of_the_layout_is_refused(
    layout: Layout, tmp_path: Path, name: str
) -> None:
    layout.add_bytes(b"x")
    (layout.path / name).rename(tmp_path / "moved")
    (layout.path / name).symlink_to(tmp_path / "moved")
    with pytest.raises(PackageError, match=r"plain folder|is a link"):
        Layout.open(layout.path)


def test_a_full_disk_is_a_clear_error_and_leaves_no_blob(layout: Layout, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * (3 << 20))
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from edgectl.package.store import Layout\n"
        "from edgectl.errors import PackageError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
        "try: Layout.open(Path(sys.argv[1])).add_file(Path(sys.argv[2]))\n"
        "except PackageError as error: print(error.message)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, layout.path, tmp_path / "big"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert "cannot be written: File too large" in done.stdout
    assert list(layout.incoming.iterdir()) == []
    assert list((layout.path / "blobs" / "sha256").iterdir()) == []


def test_what_a_killed_writer_left_is_removed_later(layout: Layout) -> None:
    layout.incoming.mkdir()
    ages = {"leftover": 7200, "fresh": 10, "resumable.part": 7200, "forgotten.part": 8 * 86_400}
    for name, age_s in ages.items():
        path = layout.incoming / name
        path.touch()
        os.utime(path, (time.time() - age_s,) * 2)
    Layout.create(layout.path)
    assert {path.name for path in layout.incoming.iterdir()} == {"fresh", "resumable.part"}


def test_a_store_that_cannot_be_written_is_a_clear_error(layout: Layout) -> None:
    (layout.path / "blobs" / "sha256").rmdir()
    with pytest.raises(PackageError, match="cannot be written"):
        layout.add_bytes(b"x")


def test_writers_at_the_same_time_lose_no_entry(layout: Layout) -> None:
    writers = [writer(layout, name, 12) for name in "abc"]
    assert [acknowledged(one) for one in writers] == [12, 12, 12]
    tags = {one.tag for one in layout.index().manifests}
    assert tags == {f"{name}-{number}" for name in "abc" for number in range(12)}


def test_threads_of_one_process_lose_no_entry(layout: Layout) -> None:
    def add(number: int) -> None:
        layout.update_index(lambda index: index.with_entry(entry(number, f"t{number}")))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(40)))
    assert len(layout.index().manifests) == 40


def test_a_killed_writer_leaves_a_whole_index_with_all_it_acknowledged(layout: Layout) -> None:
    for round_ in range(6):
        process = writer(layout, f"k{round_}", 100_000)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.004 * round_ + 0.001)  # the moment of the kill is what varies
        process.send_signal(signal.SIGKILL)
        count = 1 + acknowledged(process)
        index = layout.index()
        for number in range(count):
            found = index.find(f"k{round_}-{number}")
            assert found is not None
            assert layout.intact(found.digest, found.size)


def test_a_stale_lock_file_hinders_nobody(layout: Layout) -> None:
    (layout.path / ".lock").touch()
    layout.update_index(lambda index: index.with_entry(entry(1)))
    assert len(layout.index().manifests) == 1


def test_entries_of_other_tools_are_kept(layout: Layout) -> None:
    theirs = (
        b'{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json",'
        b'"digest":"sha256:' + b"a" * 64 + b'","size":7,"platform":{"os":"linux",'
        b'"architecture":"arm64"},"annotations":{"theirs":"1"}}],"annotations":{"x":"y"}}'
    )
    (layout.path / "index.json").write_bytes(theirs)
    layout.update_index(lambda index: index.with_entry(entry(1)))
    kept = msgspec.json.decode((layout.path / "index.json").read_bytes())
    assert kept["manifests"][0]["platform"] == {"os": "linux", "architecture": "arm64"}
    assert kept["manifests"][0]["annotations"] == {"theirs": "1"}
    assert kept["annotations"] == {"x": "y"}


def test_a_tag_moves_and_the_old_manifest_stays(layout: Layout) -> None:
    index = Index().with_entry(entry(1, "v")).with_entry(entry(2, "v"))
    assert [(one.digest, one.tag) for one in index.manifests] == [
        (entry(1).digest, ""),
        (entry(2).digest, "v"),
    ]


tags = st.sampled_from(["", "a", "b", "c"])


@given(st.lists(st.tuples(st.integers(0, 5), tags), max_size=20))
def test_an_index_never_loses_a_manifest_nor_repeats_a_tag(
    added: list[tuple[int, str]],
) -> None:
    index = Index()
    for number, tag in added:
        index = index.with_entry(entry(number, tag))
    found = [(one.digest, one.tag) for one in index.manifests]
    named = [tag for _, tag in found if tag]
    last = {tag: entry(number).digest for number, tag in added if tag}
    assert {digest for digest, _ in found} == {entry(number).digest for number, _ in added}
    assert len(set(found)) == len(found)
    assert {tag: digest for digest, tag in found if tag} == last
    assert len(set(named)) == len(named)
    assert parse_index(index.to_bytes(), what="it") == index


@given(st.binary(max_size=300) | st.text('[]{}",:0123456789aefnrstul', max_size=200))
def test_no_index_from_outside_raises_anything_but_our_error(data: bytes | str) -> None:
    raw = data.encode() if isinstance(data, str) else data
    with contextlib.suppress(ValueError):
        parse_index(raw, what="it")

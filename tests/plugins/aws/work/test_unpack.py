"""Archives of training jobs that are not what they should be."""

from __future__ import annotations

import gzip
import io
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl.api import TrainError
from edgectl_aws_greengrass._sdk.unpack import MAX_FILES, unpack


def archive(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as whole:
        for member, data in members:
            member.size = member.size or len(data)
            whole.addfile(member, io.BytesIO(data))
    return path


def file(name: str, data: bytes = b"x") -> tuple[tarfile.TarInfo, bytes]:
    return tarfile.TarInfo(name), data


def special(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.type = kind
    member.linkname = target
    return member, b""


@pytest.fixture
def into(tmp_path: Path) -> Path:
    folder = tmp_path / "into"
    folder.mkdir()
    return folder


def take(path: Path, into: Path, **how: int) -> list[str]:
    return unpack(path, into, allowed=lambda _name: True, **how)


def test_files_come_out_with_their_content(tmp_path: Path, into: Path) -> None:
    folder = special("out", tarfile.DIRTYPE)
    path = archive(tmp_path / "a.tar.gz", folder, file("out/model.onnx", b"onnx"))
    assert take(path, into) == ["out/model.onnx"]
    assert (into / "out/model.onnx").read_bytes() == b"onnx"


def test_what_is_not_allowed_is_left_out(tmp_path: Path, into: Path) -> None:
    path = archive(tmp_path / "a.tar.gz", file("train.py"), file("out/model.onnx"))
    assert unpack(path, into, allowed=lambda name: name != "train.py") == ["out/model.onnx"]
    assert not (into / "train.py").exists()


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "out/../../evil", "a/../../../evil"])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path, into: Path, name: str) -> None:
    with pytest.raises(TrainError, match="has the path"):
        take(archive(tmp_path / "a.tar.gz", file(name)), into)
    assert list(tmp_path.parent.glob("**/evil")) == []


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE]
)
def test_links_and_devices_are_refused(tmp_path: Path, into: Path, kind: bytes) -> None:
    path = archive(tmp_path / "a.tar.gz", special("out/model.onnx", kind, "/etc/passwd"))
    with pytest.raises(TrainError, match="no regular file"):
        take(path, into)


def test_a_bomb_is_not_unpacked(tmp_path: Path, into: Path) -> None:
    path = archive(tmp_path / "a.tar.gz", file("a", bytes(3 << 20)))
    assert path.stat().st_size < 10_000
    with pytest.raises(TrainError, match="bytes"):
        take(path, into, max_bytes=1 << 20)
    assert not (into / "a").exists()


def described(name: str, headers: int) -> bytes:
    """Return an empty file with so many descriptions of 64 KB before it."""
    text = b"65536 comment=" + b"x" * (65536 - len(b"65536 comment=") - 1) + b"\n"
    header = tarfile.TarInfo("pax")
    header.type = tarfile.XHDTYPE
    header.size = len(text)
    one = header.tobuf(tarfile.USTAR_FORMAT) + text
    return one * headers + tarfile.TarInfo(name).tobuf(tarfile.USTAR_FORMAT)


def test_a_bomb_of_descriptions_is_not_read_to_its_end(tmp_path: Path, into: Path) -> None:
    path = tmp_path / "a.tar.gz"
    with gzip.open(path, "wb", compresslevel=1) as stream:
        for number in range(8):
            stream.write(described(f"f{number}", 200))
    with pytest.raises(TrainError, match="more comes out"):
        take(path, into, max_bytes=1 << 10)


def test_descriptions_of_descriptions_are_refused(tmp_path: Path, into: Path) -> None:
    path = tmp_path / "a.tar.gz"
    header = tarfile.TarInfo("pax")
    header.type = tarfile.XHDTYPE
    with gzip.open(path, "wb") as stream:
        stream.write(header.tobuf(tarfile.USTAR_FORMAT) * 5000)
    with pytest.raises(TrainError, match="cannot be unpacked"):
        take(path, into)


def test_a_header_of_endless_length_is_refused(tmp_path: Path, into: Path) -> None:
    member = tarfile.TarInfo("long")
    member.type = tarfile.XHDTYPE
    member.size = 50 << 20
    path = tmp_path / "a.tar.gz"
    with gzip.open(path, "wb") as stream:
        stream.write(member.tobuf(tarfile.USTAR_FORMAT))
        stream.write(bytes(50 << 20))
    with pytest.raises(TrainError, match="endless"):
        take(path, into)


def test_too_many_files_are_refused(tmp_path: Path, into: Path) -> None:
    path = archive(tmp_path / "a.tar.gz", *(file(f"f{n}") for n in range(MAX_FILES + 1)))
    with pytest.raises(TrainError, match="entries"):
        take(path, into)


def test_a_file_that_comes_twice_is_refused(tmp_path: Path, into: Path) -> None:
    path = archive(tmp_path / "a.tar.gz", file("a", b"1"), file("a", b"2"))
    with pytest.raises(TrainError):
        take(path, into)


@given(st.binary(max_size=2000))
def test_any_bytes_give_files_or_one_error(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, into = Path(folder) / "a.tar.gz", Path(folder) / "into"
        into.mkdir()
        path.write_bytes(gzip.compress(data))
        try:
            found = take(path, into)
        except TrainError:
            return
        assert all((into / name).is_file() for name in found)

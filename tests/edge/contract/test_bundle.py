"""Bundles from strangers: whatever bytes come, they are read within bounds or refused."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_components.contract import bundle as bd
from edge_components.contract.digest import sha256_digest
from edge_components.contract.errors import ContractError
from edge_components.contract.package import ARTIFACT_TYPE, MANIFEST_TYPE

PACKAGE = b'{"package": true}'
RELEASE = b'{"release": true}'


def index(**changes: object) -> bytes:
    entry = {
        "mediaType": MANIFEST_TYPE,
        "artifactType": ARTIFACT_TYPE,
        "digest": sha256_digest(PACKAGE),
        "size": len(PACKAGE),
    }
    plain: dict[str, object] = {
        "schemaVersion": 2,
        "manifests": [entry],
        "annotations": {bd.RELEASE_MARK: sha256_digest(RELEASE)},
    }
    return json.dumps({**plain, **changes}).encode()


def files(**changes: bytes) -> dict[str, bytes]:
    named = {bd.blob_name(sha256_digest(data)): data for data in (PACKAGE, RELEASE)}
    return {bd.LAYOUT_FILE: bd.LAYOUT_BYTES, bd.INDEX_FILE: index(), **named, **changes}


def written(members: dict[str, bytes]) -> bytes:
    """Write a tar as ``edgectl package --bundle`` does."""
    parts = [bd.file_header(name, len(d)) + d + bd.padding(len(d)) for name, d in members.items()]
    return b"".join(parts) + bd.END


def reader(data: bytes) -> Callable[[int, int], bytes]:
    return lambda at, count: data[at : at + count]


def read(data: bytes) -> bd.Contents:
    return bd.read_contents(reader(data), len(data))


WHOLE = written(files())


def test_what_is_written_is_read_and_is_a_tar_to_others() -> None:
    found = read(WHOLE)
    assert (found.package, found.release) == (sha256_digest(PACKAGE), sha256_digest(RELEASE))
    assert found.signature == ""
    with tarfile.open(fileobj=io.BytesIO(WHOLE)) as archive:
        assert archive.getnames() == list(files())
        for member in archive.getmembers():
            span = found.files[member.name]
            assert (span.offset, span.size) == (member.offset_data, member.size)


def test_file_above_8_gib_is_written_and_read() -> None:
    name, size = bd.blob_name("sha256:" + "ab" * 32), 9 << 30
    head = written(files())[: -len(bd.END)] + bd.file_header(name, size)

    def sparse(at: int, count: int) -> bytes:
        if at < len(head):
            return head[at : at + count]
        return bytes(min(count, len(head) + size + len(bd.END) - at))

    found = bd.read_contents(sparse, len(head) + size + len(bd.END))
    assert found.files[name] == bd.Span(offset=len(head), size=size)


@given(st.integers(0, len(WHOLE) - 1))
def test_cut_anywhere_it_is_refused(length: int) -> None:
    with pytest.raises(ContractError):
        read(WHOLE[:length])


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_changed_anywhere_it_is_refused_or_stays_within_the_file(place: int, by: int) -> None:
    data = bytearray(WHOLE)
    data[place] ^= by
    try:
        found = read(bytes(data))
    except ContractError:
        return
    assert all(s.offset >= 0 and s.offset + s.size <= len(data) for s in found.files.values())


@given(st.binary(max_size=3000))
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(ContractError):
        read(data)


def odd_member(kind: bytes, name: str = bd.LAYOUT_FILE, link: str = "") -> bytes:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member.tobuf(tarfile.GNU_FORMAT) + WHOLE


@pytest.mark.parametrize(
    "data",
    [
        odd_member(tarfile.SYMTYPE, link="/etc/passwd"),
        odd_member(tarfile.LNKTYPE, link="index.json"),
        odd_member(tarfile.DIRTYPE, "blobs"),
        odd_member(tarfile.CHRTYPE),
        odd_member(tarfile.FIFOTYPE),
        odd_member(tarfile.GNUTYPE_SPARSE),
        odd_member(tarfile.GNUTYPE_LONGNAME),
        odd_member(tarfile.XHDTYPE),
        odd_member(tarfile.REGTYPE, "/index.json"),
        odd_member(tarfile.REGTYPE, "../index.json"),
        odd_member(tarfile.REGTYPE, "./index.json"),
        odd_member(tarfile.REGTYPE, "blobs/sha256/../../x"),
        odd_member(tarfile.REGTYPE, "blobs/sha256/" + "A" * 64),
        odd_member(tarfile.REGTYPE, "edge_components.py"),
    ],
)
def test_only_plain_files_of_a_layout_may_stand_in_it(data: bytes) -> None:
    with pytest.raises(ContractError, match="does not belong in a bundle"):
        read(data)


def negative_size() -> bytes:
    header = bytearray(bd.file_header(bd.LAYOUT_FILE, 0))
    header[124:136] = b"\xff" * 12
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + WHOLE


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (WHOLE[: -len(bd.END)] + WHOLE, "holds 'oci-layout' twice"),
        (negative_size(), "says it has -1 bytes"),
        (written({bd.INDEX_FILE: index()}), "holds no 'oci-layout'"),
        (written({bd.LAYOUT_FILE: bd.LAYOUT_BYTES}), "holds no 'index.json'"),
        (written(files(**{bd.LAYOUT_FILE: b'{"imageLayoutVersion":"9"}'})), "unknown version"),
        (written(files(**{bd.INDEX_FILE: index(manifests=[])})), "0 packages in place of one"),
        (written(files(**{bd.INDEX_FILE: index(annotations={})})), "without a release"),
        (written(files(**{bd.INDEX_FILE: b"{"})), "its index"),
        (
            written(files(**{bd.INDEX_FILE: index(annotations={bd.RELEASE_MARK: "x"})})),
            "'x' is not",
        ),
        (written(files(**{bd.INDEX_FILE: b" " * (2 << 20)})), "its index has 2097152 bytes"),
        (written({bd.blob_name(f"sha256:{n:064x}"): b"" for n in range(999)}), "too many files"),
    ],
)
def test_bundle_that_breaks_a_rule_is_refused_with_the_rule(data: bytes, why: str) -> None:
    with pytest.raises(ContractError, match=why):
        read(data)

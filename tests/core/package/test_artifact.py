"""Plain artifacts in a registry: pushed once, read back whole, under tags that move or do not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgectl.api import artifact_tags, fetch_artifact_file, push_artifact, read_artifact
from edgectl.emulation.registry import RegistryServer
from edgectl.errors import ConflictError, PackageError, RegistryError
from edgectl.package.artifact import Artifact, ArtifactFile

KIND = "application/vnd.edgectl.test.v1+json"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[str]:
    with RegistryServer(tmp_path / "registry") as server:
        yield f"{server.host}/edge/things"


def read(place: str, tag: str) -> Artifact:
    found = read_artifact(f"{place}:{tag}")
    assert found is not None
    return found


def test_files_come_back_under_their_names(place: str, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * 3_000_000)
    files = {"out/large.bin": tmp_path / "large", "small.json": b"{}"}
    pushed = push_artifact(f"{place}:one", KIND, files, annotations={"a": "b"})
    found = read(place, "one")
    assert (found.digest, found.kind, found.annotations) == (pushed.digest, KIND, {"a": "b"})
    assert [file.name for file in found.files] == ["out/large.bin", "small.json"]
    file = found.file("out/large.bin")
    assert file is not None
    fetch_artifact_file(place, file, tmp_path / "back" / "large.bin")
    assert (tmp_path / "back" / "large.bin").read_bytes() == b"x" * 3_000_000


def test_the_same_again_sends_nothing_and_has_the_same_digest(place: str) -> None:
    first = push_artifact(f"{place}:one", KIND, {"a": b"1", "b": b"2"})
    second = push_artifact(f"{place}:one", KIND, {"b": b"2", "a": b"1"})
    assert first.uploaded_bytes > 0
    assert (second.digest, second.uploaded_bytes) == (first.digest, 0)


def test_a_tag_moves_unless_it_is_fixed(place: str) -> None:
    push_artifact(f"{place}:moving", KIND, {"a": b"1"})
    moved = push_artifact(f"{place}:moving", KIND, {"a": b"2"})
    assert read(place, "moving").digest == moved.digest
    push_artifact(f"{place}:fixed", KIND, {"a": b"1"}, fixed=True)
    with pytest.raises(ConflictError, match="fixed"):
        push_artifact(f"{place}:fixed", KIND, {"a": b"2"}, fixed=True)
    assert artifact_tags(place) == ("fixed", "moving")


def test_an_artifact_may_be_about_another_that_is_there(place: str) -> None:
    about = push_artifact(f"{place}:model", KIND, {"a": b"1"})
    push_artifact(f"{place}:said", KIND, {"b": b"2"}, subject=about.digest)
    assert read(place, "said").subject == about.digest
    with pytest.raises(RegistryError, match="has no 'sha256:"):
        push_artifact(f"{place}:lost", KIND, {}, subject="sha256:" + "0" * 64)


def test_what_is_not_there_is_none_and_an_unknown_repository_has_no_tags(place: str) -> None:
    assert read_artifact(f"{place}:nothing") is None
    assert artifact_tags(place) == ()


def test_a_file_that_is_other_than_its_digest_leaves_nothing_behind(
    place: str, tmp_path: Path
) -> None:
    push_artifact(f"{place}:one", KIND, {"a": b"123"})
    file = read(place, "one").files[0]
    wrong = ArtifactFile(name=file.name, digest=file.digest, size=2)
    with pytest.raises(RegistryError, match="other content"):
        fetch_artifact_file(place, wrong, tmp_path / "back" / "a")
    assert list((tmp_path / "back").iterdir()) == []


def test_a_file_that_cannot_be_read_or_named_is_told(place: str, tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="cannot be read"):
        push_artifact(place, KIND, {"a": tmp_path / "none"})
    with pytest.raises(PackageError, match="cannot be the name"):
        push_artifact(place, KIND, {"a\nb": b""})

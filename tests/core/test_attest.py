"""Signed statements: what the project's publisher said, and nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgectl.api import ProjectError, SignatureError, attest, read_attestation
from edgectl.package.keys import ensure_key

KIND = "https://edgectl.dev/approval/v1"
DIGEST, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A statement by the publisher of a project."""
    ensure_key(tmp_path / "publisher.pem")
    monkeypatch.setenv("EDGECTL_SIGNING_KEY", str(tmp_path / "publisher.pem"))
    return attest(tmp_path, KIND, "plates:1", DIGEST, {"approval": "approved"})


def test_what_was_said_is_read_back(said: bytes, tmp_path: Path) -> None:
    assert read_attestation(tmp_path, said, KIND, DIGEST) == {"approval": "approved"}


def test_the_same_said_twice_is_the_same_bytes(said: bytes, tmp_path: Path) -> None:
    assert attest(tmp_path, KIND, "plates:1", DIGEST, {"approval": "approved"}) == said


def test_a_statement_about_something_else_or_of_another_kind_is_refused(
    said: bytes, tmp_path: Path
) -> None:
    with pytest.raises(SignatureError, match="about something else"):
        read_attestation(tmp_path, said, KIND, OTHER)
    with pytest.raises(SignatureError, match="about something else"):
        read_attestation(tmp_path, said, "https://edgectl.dev/other/v1", DIGEST)


def test_what_another_key_signed_is_refused(
    said: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_key(tmp_path / "other.pem")
    monkeypatch.setenv("EDGECTL_SIGNING_KEY", str(tmp_path / "other.pem"))
    with pytest.raises(SignatureError, match="not signed by a trusted publisher"):
        read_attestation(tmp_path, said, KIND, DIGEST)


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b'{"payload": "!!", "signatures": []}'])
def test_what_is_no_statement_is_refused(said: bytes, tmp_path: Path, data: bytes) -> None:
    del said
    with pytest.raises(SignatureError):
        read_attestation(tmp_path, data, KIND, DIGEST)


def test_a_key_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGECTL_SIGNING_KEY", str(tmp_path / "none.pem"))
    with pytest.raises(ProjectError, match="EDGECTL_SIGNING_KEY"):
        attest(tmp_path, KIND, "plates:1", DIGEST, {})

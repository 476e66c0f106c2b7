"""Uploads: streamed, verified, bounded, unique, and removed with their last record."""

from __future__ import annotations

import hashlib
import os
import zlib
from pathlib import Path
from typing import Any

import pytest

DATA = b"some model bytes" * 1000
HEX = hashlib.sha256(DATA).hexdigest()


def blobs(hub: Any) -> set[str]:
    return {p.name for p in (hub.data / "artifacts" / "sha256").glob("*/*")}


def upload(hub: Any, module: int, status: int = 201, query: str = "", **options: Any) -> Any:
    path = f"/rest/v1/softwaremodules/{module}/artifacts{query}"
    response = hub.client.post(path, **options)
    assert response.status_code == status, response.text
    return response.json()


def test_upload_answers_hashes_name_and_size(shared: Any, name: str) -> None:
    module = shared.module(name)
    made = upload(shared, module, files={"file": ("m.onnx", DATA)})
    assert (made["providedFilename"], made["size"]) == ("m.onnx", len(DATA))
    assert made["hashes"]["sha256"] == HEX
    path = f"/softwaremodules/{module}/artifacts"
    assert shared.ok("GET", f"{path}/{made['id']}") == made
    assert shared.ok("GET", path) == [made]
    assert (shared.data / "artifacts" / "sha256" / HEX[:2] / HEX).read_bytes() == DATA


def test_file_name_and_hashes_may_come_beside_the_file(shared: Any, name: str) -> None:
    module = shared.module(name)
    form = {"filename": "b.bin", "sha256sum": HEX.upper(), "md5sum": ""}
    made = upload(shared, module, files={"file": ("a.bin", DATA)}, data=form)
    assert made["providedFilename"] == "b.bin"
    made = upload(shared, module, query="?filename=c.bin", files={"file": ("a.bin", DATA)})
    assert made["providedFilename"] == "c.bin"


@pytest.mark.parametrize(
    "form", [{"sha256sum": "0" * 64}, {"md5sum": "0" * 32}, {"sha1sum": "xyz"}]
)
def test_wrong_hash_is_refused_and_nothing_stays(start_hub: Any, form: dict[str, str]) -> None:
    hub = start_hub()
    module = hub.module("m")
    refusal = upload(hub, module, 400, files={"file": ("a", DATA)}, data=form)
    assert "checksum" in refusal["errorCode"]
    assert hub.ok("GET", f"/softwaremodules/{module}/artifacts") == []
    assert blobs(hub) == set()
    assert list((hub.data / "artifacts" / "incoming").iterdir()) == []


@pytest.mark.parametrize("bad", ["../x", "a/b", "..", "a\\b", "\x00x", "x" * 257])
def test_file_name_that_could_leave_its_folder_is_refused(shared: Any, name: str, bad: str) -> None:
    module = shared.module(name)
    upload(shared, module, 400, files={"file": ("a", b"1")}, data={"filename": bad})


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"x", "application/octet-stream", 415),
        (b"x", "multipart/form-data", 415),
        (b"garbage", "multipart/form-data; boundary=B", 400),
        (b"--B\r\n\r\nno name\r\n--B--\r\n", "multipart/form-data; boundary=B", 400),
        (
            b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\ncut',
            "multipart/form-data; boundary=B",
            400,
        ),
    ],
)
def test_broken_upload_is_refused(
    shared: Any, name: str, content: bytes, kind: str, status: int
) -> None:
    module = shared.module(name)
    upload(shared, module, status, content=content, headers={"Content-Type": kind})
    assert shared.ok("GET", f"/softwaremodules/{module}/artifacts") == []


def test_same_name_in_a_module_is_taken_same_bytes_elsewhere_are_shared(start_hub: Any) -> None:
    hub = start_hub()
    one, two = hub.module("one", {"f": DATA}), hub.module("two", {"g": DATA})
    assert "AlreadyExists" in str(upload(hub, one, 409, files={"file": ("f", b"other")}))
    assert blobs(hub) >= {HEX}
    hub.ok("DELETE", f"/softwaremodules/{one}")
    assert HEX in blobs(hub)
    artifact = hub.ok("GET", f"/softwaremodules/{two}/artifacts")[0]["id"]
    hub.ok("DELETE", f"/softwaremodules/{two}/artifacts/{artifact}")
    assert HEX not in blobs(hub)


def test_artifact_larger_than_the_quota_is_refused(start_hub: Any) -> None:
    hub = start_hub(quotas={"artifact_bytes": 1000, "artifacts_per_module": 2})
    module = hub.module("m", {"a": b"x" * 1000, "b": b""})
    upload(hub, module, 413, files={"file": ("c", b"x" * 1001)})
    upload(hub, module, 429, files={"file": ("c", b"x")})
    assert len(hub.ok("GET", f"/softwaremodules/{module}/artifacts")) == 2


def rss(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return (
        next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS")) << 10
    )


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_upload_and_download_are_never_whole_in_memory(start_hub: Any, tmp_path: Path) -> None:
    hub = start_hub()
    module = hub.module("m", {"warm": os.urandom(1 << 20)})
    before = rss(hub.process.pid)
    big = tmp_path / "big"
    piece = os.urandom(1 << 20)
    with big.open("wb") as file:
        for _ in range(96):
            file.write(piece)
    with big.open("rb") as file:
        made = upload(hub, module, files={"file": ("big", file)})
    path = f"/rest/v1/softwaremodules/{module}/artifacts/{made['id']}/download"
    checksum = 0
    with hub.client.stream("GET", path) as response:
        for part in response.iter_bytes():
            checksum = zlib.crc32(part, checksum)
    with big.open("rb") as file:
        assert checksum == zlib.crc32(file.read())
    assert rss(hub.process.pid) - before < 40 << 20


def test_what_a_crash_left_behind_is_removed_at_the_next_start(start_hub: Any) -> None:
    hub = start_hub()
    hub.module("m", {"f": DATA})
    hub.kill()
    left = hub.data / "artifacts" / "incoming" / "half"
    orphan = hub.data / "artifacts" / "sha256" / "00" / ("0" * 64)
    left.write_bytes(b"half")
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"orphan")
    hub = start_hub()
    assert not left.exists()
    assert blobs(hub) == {HEX}

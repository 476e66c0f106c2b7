"""Which bytes a download sends, and downloads against the running hub."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl_selfhosted.hub.ranges import Span, wanted

ETAG = '"abc"'


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", (0, 10, False)),
        ("bytes=0-", (0, 10, True)),
        ("bytes=0-0", (0, 1, True)),
        ("bytes=3-5", (3, 6, True)),
        ("bytes=3-99", (3, 10, True)),
        ("bytes=-3", (7, 10, True)),
        ("bytes=-99", (0, 10, True)),
        ("bytes=10-", None),
        ("bytes=-0", None),
        ("bytes=5-3", (0, 10, False)),
        ("bytes=-", (0, 10, False)),
        ("bytes=0-1,3-4", (0, 10, False)),
        ("lines=0-1", (0, 10, False)),
        ("bytes=" + "9" * 30 + "-", (0, 10, False)),
    ],
)
def test_range_header_decides_the_bytes(header: str, expected: Any) -> None:
    found = wanted(header, "", ETAG, 10)
    assert found == (expected and Span(start=expected[0], end=expected[1], partial=expected[2]))


def test_if_range_keeps_the_range_only_for_the_same_bytes() -> None:
    assert wanted("bytes=3-5", ETAG, ETAG, 10) == Span(start=3, end=6, partial=True)
    for other in ('"xyz"', 'W/"abc"', "Sat, 01 Jan 2026 00:00:00 GMT"):
        assert wanted("bytes=3-5", other, ETAG, 10) == Span(start=0, end=10, partial=False)


@given(st.text(max_size=40) | st.from_regex(r"bytes=\d*-\d*", fullmatch=True), st.integers(0, 50))
def test_every_span_lies_within_the_file(header: str, size: int) -> None:
    span = wanted(header, "", ETAG, size)
    if span is not None:
        assert 0 <= span.start <= span.end <= size
        assert span.partial or (span.start, span.end) == (0, size)


@pytest.fixture
def artifact(shared: Any, name: str) -> Any:
    data = bytes(range(256)) * 4000
    device = shared.device(name)
    shared.assign(shared.dset(name, {"model.onnx": data}), name)
    chunk = device.deployment()["deployment"]["chunks"][0]
    return device, chunk["artifacts"][0]["_links"]["download-http"]["href"], data


def test_download_resumes_from_any_byte(artifact: Any) -> None:
    device, href, data = artifact
    whole = device.call("GET", href)
    assert whole.content == data
    assert whole.headers["accept-ranges"] == "bytes"
    etag = whole.headers["etag"]
    for start in (0, 1, 65_535, 500_000, len(data) - 1):
        headers = {"Range": f"bytes={start}-", "If-Range": etag}
        rest = device.call("GET", href, 206, headers=headers)
        assert rest.content == data[start:]
        assert rest.headers["content-range"] == f"bytes {start}-{len(data) - 1}/{len(data)}"


def test_download_beyond_the_end_is_416_and_says_the_size(artifact: Any) -> None:
    device, href, data = artifact
    headers = {"Range": f"bytes={len(data)}-"}
    assert device.call("GET", href, 416, headers=headers).headers["content-range"] == (
        f"bytes */{len(data)}"
    )


def test_changed_file_is_sent_whole(artifact: Any) -> None:
    device, href, data = artifact
    headers = {"Range": "bytes=5-", "If-Range": '"other"'}
    assert device.call("GET", href, 200, headers=headers).content == data


def test_head_has_the_headers_and_no_body(artifact: Any) -> None:
    device, href, data = artifact
    head = device.call("HEAD", href)
    assert (head.headers["content-length"], head.content) == (str(len(data)), b"")


def test_known_etag_is_304(artifact: Any) -> None:
    device, href, _ = artifact
    etag = device.call("HEAD", href).headers["etag"]
    device.call("GET", href, 304, headers={"If-None-Match": etag})


def test_operator_downloads_too(shared: Any, name: str) -> None:
    module = shared.module(name, {"a b.bin": b"12345"})
    id_ = shared.ok("GET", f"/softwaremodules/{module}/artifacts")[0]["id"]
    path = f"/rest/v1/softwaremodules/{module}/artifacts/{id_}/download"
    assert shared.client.get(path, headers={"Range": "bytes=1-2"}).content == b"23"
    assert "a%20b.bin" in shared.client.get(path).headers["content-disposition"]

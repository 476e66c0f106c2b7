"""Chunked bodies: whatever the pieces, the same result."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_components.runtime.chunked import ChunkedBody
from edge_components.runtime.http import HttpError


def encode(chunks: list[bytes]) -> bytes:
    parts = [b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks if chunk]
    return b"".join(parts) + b"0\r\n\r\n"


def feed(data: bytes, cuts: list[int], max_bytes: int = 10_000) -> tuple[bytes, bytes]:
    body = ChunkedBody(max_bytes)
    pending = b""
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    for start, end in itertools.pairwise(edges):
        pending += data[start:end]
        complete, used = body.feed(pending)
        pending = pending[used:]
        if complete:
            return bytes(body.body), pending + data[end:]
    raise AssertionError("the body is not complete")


@given(st.lists(st.binary(max_size=50)), st.lists(st.integers(0, 500)), st.binary(max_size=20))
def test_any_cutting_gives_the_same_body_and_leaves_what_follows(
    chunks: list[bytes], cuts: list[int], rest: bytes
) -> None:
    assert feed(encode(chunks) + rest, cuts) == (b"".join(chunks), rest)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_with_a_client_error(data: bytes) -> None:
    try:
        ChunkedBody(100).feed(data)
    except HttpError as exc:
        assert 400 <= exc.status < 500


def test_a_bare_line_feed_is_no_line_end() -> None:
    with pytest.raises(HttpError):
        ChunkedBody(100).feed(b"3\nabc\r\n0\r\n\r\n")


def test_more_than_the_limit_is_refused_before_it_arrives() -> None:
    with pytest.raises(HttpError) as caught:
        ChunkedBody(100).feed(b"65\r\n")
    assert caught.value.status == 413

"""Which bytes a download asks for (RFC 9110, sections 13.1.5 and 14); pure.

One range is honoured; several, or a unit other than bytes, are answered with the whole file, as
the RFC allows. ``If-Range`` keeps the range only for the very bytes the client began with.
"""

from __future__ import annotations

import re

import msgspec

_RANGE = re.compile(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*")


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """The bytes from ``start`` to before ``end``; ``partial`` when they are not all."""

    start: int
    end: int
    partial: bool


def wanted(range_: str, if_range: str, etag: str, size: int) -> Span | None:
    """Decide what to send.

    Args:
        range_: The Range header, or "".
        if_range: The If-Range header, or "".
        etag: The file's strong ETag, with its quotes.
        size: The file's size in bytes.

    Returns:
        The bytes to send; None when no byte of the range exists (416).
    """
    whole = Span(start=0, end=size, partial=False)
    match = _RANGE.fullmatch(range_.strip())
    if match is None or (if_range and if_range != etag):
        return whole
    first, last = match.groups()
    if not first and not last:
        return whole
    if not first:
        count = int(last)
        return Span(start=max(0, size - count), end=size, partial=True) if count and size else None
    start = int(first)
    end = min(int(last) + 1, size) if last else size
    if last and int(last) < start:
        return whole
    return Span(start=start, end=end, partial=True) if start < size else None

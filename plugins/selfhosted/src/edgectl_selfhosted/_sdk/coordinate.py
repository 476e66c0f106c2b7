"""``coordinate``: compare-and-swap on hawkBit's unique tag names.

A shared text is a row of tags ``edgectl/<application>/<target>/<key>/<n>`` of which the highest
number counts; its description holds the text. A swap creates number n+1: of two that try, the
server's unique names let one through. The tag before stays until the next swap, so the text is
never missing in between, and a writer that slept through several swaps sees at the end that its
number was overtaken and takes it back.
"""

from __future__ import annotations

import contextlib
import re
from urllib.parse import quote

from edgectl.api import (
    ConflictError,
    CoordinateRequest,
    CoordinateResult,
    LimitError,
    NotFoundError,
)
from edgectl_selfhosted._sdk.client import Client
from edgectl_selfhosted._sdk.tags import create_tag, delete_tag, tags
from edgectl_selfhosted._sdk.wire import TagView

MAX_DESCRIPTION = 512
_NOTHING = "none"
# hawkBit refuses what could be HTML and trims spaces: such characters are moved, one for one, to
# the private use area, and brackets stand around the text.
_MOVED = {code: 0xE000 + code for code in (*range(32), ord("<"), ord(">"), ord("&"), 127)}
_BACK = {moved: code for code, moved in _MOVED.items()}


def coordinate(client: Client, request: CoordinateRequest) -> CoordinateResult:
    """Read or swap the text.

    Raises:
        LimitError: The text does not fit into a description.
    """
    prefix = tag_prefix(request.application, request.target.name, request.key)
    row = _row(client, prefix)
    now = _text(row)
    if request.read_only or now != request.expect:
        return CoordinateResult(value=now)
    if request.value == now:
        return CoordinateResult(value=now, swapped=True)
    mine = max(row, default=0) + 1
    try:
        made = create_tag(client, f"{prefix}{mine}", describe(request.value))
    except ConflictError:
        return CoordinateResult(value=_text(_row(client, prefix)))
    after = _row(client, prefix)
    if max(after, default=mine) > mine:
        _forget(client, made)
        return CoordinateResult(value=_text(after))
    for number, tag in row.items():
        if number < mine - 1:
            _forget(client, tag)
    return CoordinateResult(value=request.value, swapped=True)


def tag_prefix(application: str, target: str, key: str) -> str:
    """Return how the names of a text's tags begin."""
    return "/".join(["edgectl", *(quote(part, safe="") for part in (application, target, key)), ""])


def describe(value: str | None) -> str:
    """Write a text, or that there is none, as a tag's description.

    Raises:
        LimitError: It does not fit.
    """
    if value is None:
        return _NOTHING
    description = f"[{value.translate(_MOVED)}]"
    units = len(description.encode("utf-16-le", "surrogatepass")) // 2
    if units > MAX_DESCRIPTION or any(ord(character) in _BACK for character in value):
        raise LimitError(
            f"a shared text of {len(value)} characters does not fit into a hawkBit description, "
            f"which has at most {MAX_DESCRIPTION}"
        )
    return description


def read_description(description: str | None) -> str | None:
    """Read what ``describe`` wrote; None for anything else."""
    if description is None or not (description.startswith("[") and description.endswith("]")):
        return None
    return description[1:-1].translate(_BACK)


def _row(client: Client, prefix: str) -> dict[int, TagView]:
    number = re.compile(re.escape(prefix) + r"([1-9][0-9]{0,15})")
    found = ((number.fullmatch(tag.name), tag) for tag in tags(client, f'name=="{prefix}*"'))
    return {int(match[1]): tag for match, tag in found if match is not None}


def _text(row: dict[int, TagView]) -> str | None:
    return read_description(row[max(row)].description) if row else None


def _forget(client: Client, tag: TagView) -> None:
    with contextlib.suppress(NotFoundError, ConflictError):
        delete_tag(client, tag)

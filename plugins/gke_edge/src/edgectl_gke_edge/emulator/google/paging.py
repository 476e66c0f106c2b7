"""Pages: a token is good for one list with the same parameters, and for nothing else."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import TypeVar

from edgectl_gke_edge.emulator.google.errors import invalid

Item = TypeVar("Item")
DEFAULT_SIZE, MAX_SIZE = 500, 1000


def page(
    items: Sequence[Item], size: int, token: str, *, of: Sequence[str]
) -> tuple[list[Item], str]:
    """Return one page and the token of the next, "" for none.

    Args:
        items: All items, in a stable order.
        size: ``page_size``; 0 takes the default.
        token: ``page_token``.
        of: The list's parameters (parent, filter, order), to which a token belongs.

    Raises:
        GoogleError: INVALID_ARGUMENT.
    """
    if size < 0:
        raise invalid("page_size", "must not be negative")
    start = _start(token, list(of)) if token else 0
    end = start + min(size or DEFAULT_SIZE, MAX_SIZE)
    following = json.dumps([end, *of]).encode()
    more = base64.urlsafe_b64encode(following).decode() if end < len(items) else ""
    return list(items[start:end]), more


def _start(token: str, of: list[str]) -> int:
    try:
        start, *parameters = json.loads(base64.urlsafe_b64decode(token))
    except (ValueError, TypeError) as exc:
        raise invalid("page_token", "is not a valid page token") from exc
    if parameters != of or not isinstance(start, int):
        raise invalid("page_token", "does not belong to this list")
    return start

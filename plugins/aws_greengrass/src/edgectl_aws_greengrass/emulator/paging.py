"""Pages of a listing: ``maxResults`` and an opaque ``nextToken``."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TypeVar

from edgectl_aws_greengrass.emulator.wire import Params, ServiceError

T = TypeVar("T")


def page(
    items: Sequence[T],
    params: Params,
    *,
    largest: int = 100,
    default: int | None = None,
    error: str = "ValidationException",
) -> tuple[list[T], Params]:
    """Cut a page out of a listing.

    Args:
        items: All of it, in a stable order.
        params: The operation's input.
        largest: The most that a page may hold.
        default: What a page holds when the caller does not say.
        error: The service's error for a token that was never given out.

    Returns:
        The page's items, and ``{"nextToken": …}`` when there is more.

    Raises:
        ServiceError: The token is not one of ours.
    """
    start = 0
    token = params.get("nextToken")
    if token:
        try:
            start = int(base64.urlsafe_b64decode(token).decode().removeprefix("at:"))
        except ValueError:
            raise ServiceError(error, f"the token '{token}' is not valid") from None
    size = min(int(params.get("maxResults") or default or largest), largest)
    more = start + size < len(items)
    following = base64.urlsafe_b64encode(f"at:{start + size}".encode()).decode()
    return list(items[start : start + size]), {"nextToken": following} if more else {}

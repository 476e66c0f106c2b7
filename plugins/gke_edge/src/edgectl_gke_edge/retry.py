"""Whether a call to an API server is tried again, and when; pure.

Reads and what is the same twice (apply, merge patch, delete) may be sent again; making an object
with a generated name may not, unless the server said that it did nothing. A server that asks for
time is given it (Retry-After), within reason.
Source: kubernetes API conventions, "Error codes" (429, 500, 503, 504).
"""

from __future__ import annotations

import random
from collections.abc import Callable

FIRST_S, MAX_S, MAX_ASKED_S = 0.25, 8.0, 30.0
ASKS_TO_WAIT = 429
BROKEN = frozenset({500, 502, 503, 504})
REPEATABLE = frozenset({"GET", "HEAD", "PUT", "PATCH", "DELETE"})


def pause_before_retry(
    attempt: int,
    attempts: int,
    method: str,
    status: int | None,
    retry_after: str = "",
    *,
    jitter: Callable[[], float] = random.random,
) -> float | None:
    """Return how long to wait before the next attempt, or None if there is to be none.

    Args:
        attempt: How many attempts were made.
        attempts: How many there may be.
        method: The HTTP method.
        status: The answer's status; None where there was no answer.
        retry_after: The answer's Retry-After header, or "".
        jitter: A number from 0 to 1.
    """
    if attempt >= attempts:
        return None
    if status != ASKS_TO_WAIT and (status not in {None, *BROKEN} or method not in REPEATABLE):
        return None
    if retry_after.isascii() and retry_after.isdigit():
        asked = float(retry_after)
        return min(asked, MAX_ASKED_S)
    pause: float = min(FIRST_S * 2 ** (attempt - 1), MAX_S)
    return pause * (0.5 + jitter() / 2)

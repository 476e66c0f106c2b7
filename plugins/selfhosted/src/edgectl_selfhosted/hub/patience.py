"""How long the hub waits for a client; a pure decision.

A connection costs a file descriptor and a little memory, so that one which does nothing has to
end. What is waited for decides how long:

* between requests, a while (``idle_s``), so that devices can keep their connection;
* for a request's head, briefly, from its first byte (``head_s``);
* for a request's body, a while and longer with every byte that came (``body_s``, ``body_rate``),
  so that a thin link passes and one byte a minute does not;
* for an answer to be taken, as long as bytes of it go out now and then (``stall_s``): how fast a
  device reads is its own affair, and a bandwidth cap may make it slow.

While the hub itself works on an answer, nobody is late.
"""

from __future__ import annotations

import enum

import msgspec


class Waits(enum.Enum):
    """What a connection waits for."""

    REQUEST = "the next request"
    HEAD = "the rest of a request's head"
    BODY = "the rest of a request's body"
    HUB = "the hub"


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long each may take, seconds; ``body_rate`` is in bytes a second."""

    idle_s: float = 75.0
    head_s: float = 20.0
    body_s: float = 30.0
    body_rate: float = 500.0
    stall_s: float = 60.0


def too_slow(
    waits: Waits, age_s: float, *, body_bytes: int, stalled_s: float | None, patience: Patience
) -> bool:
    """Whether to hang up.

    Args:
        waits: What the connection waits for.
        age_s: Since when, in seconds.
        body_bytes: What came of the request's body.
        stalled_s: How long the client has taken nothing of what waits to be taken; None when
            nothing does.
        patience: How long each may take.
    """
    if stalled_s is not None and stalled_s > patience.stall_s:
        return True
    match waits:
        case Waits.REQUEST:
            return age_s > patience.idle_s and stalled_s is None
        case Waits.HEAD:
            return age_s > patience.head_s
        case Waits.BODY:
            return age_s > patience.body_s + body_bytes / patience.body_rate
        case Waits.HUB:
            return False

"""How long to wait after the n-th failure, and how polls are spread; pure arithmetic."""

from __future__ import annotations

import random

import msgspec

DEFAULT_SLEEP_S = 60.0
_MAX_SLEEP_S = 86_400.0


class Backoff(msgspec.Struct, frozen=True, kw_only=True):
    """Exponential waiting.

    Attributes:
        first_s: Wait after the first failure.
        most_s: No wait is longer.
    """

    first_s: float = 1.0
    most_s: float = 300.0

    def wait_s(self, failures: int, chance: float, *, at_least_s: float = 0.0) -> float:
        """Return the wait after ``failures`` failures in a row.

        Args:
            failures: 1 for the first.
            chance: A number in [0, 1) that spreads devices: half to all of the full wait.
            at_least_s: What the server asked for (Retry-After); bounded by ``most_s``.
        """
        full = min(self.first_s * 2.0 ** min(failures - 1, 32), self.most_s)
        return max(full * (0.5 + chance / 2), min(at_least_s, self.most_s))


def poll_wait_s(sleep_s: float, chance: float) -> float:
    """Return the time to the next poll: the wanted time, spread by a tenth to either side."""
    return sleep_s * (0.9 + 0.2 * chance)


def parse_sleep(text: str) -> float:
    """Return the seconds in hawkBit's ``HH:MM:SS``; the default where it cannot be read."""
    parts = text.split(":")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
        return DEFAULT_SLEEP_S
    hours, minutes, seconds = (int(part[:6]) for part in parts)
    total = float(hours * 3600 + minutes * 60 + seconds)
    return min(total, _MAX_SLEEP_S) if total > 0 else DEFAULT_SLEEP_S


def chance() -> float:
    """Return a number in [0, 1) that spreads devices in time."""
    return random.random()  # noqa: S311 - spreads load, guards nothing

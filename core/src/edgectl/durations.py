"""Durations as people write them: ``90``, ``"90s"``, ``"2m"``, ``"1h30m"``, ``"1.5h"``.

A bare number is seconds. Units fall from left to right and none comes twice, so that a slip
(``"1m2h"``) is an error and not another duration.
"""

from __future__ import annotations

import math
import re

MAX_DURATION_S = 366 * 86_400.0
ALLOWED = "seconds as a number, or days, hours, minutes and seconds like '2m', '90s' or '1h30m'"
_UNITS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_NUMBER = r"(\d{1,9}(?:\.\d{1,9})?)"
_DURATION = re.compile("".join(rf"(?:{_NUMBER}{unit})?" for unit in _UNITS), re.ASCII)
_BARE = re.compile(_NUMBER, re.ASCII)


def parse_duration(value: str | float) -> float:
    """Return a duration in seconds.

    Raises:
        ValueError: It is not a duration; the message says what is allowed.
    """
    seconds = _seconds(value)
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"'{str(value)[:40]}' is not a duration; allowed: {ALLOWED}")
    if seconds > MAX_DURATION_S:
        raise ValueError(f"'{str(value)[:40]}' is longer than a year")
    return seconds


def format_duration(seconds: float) -> str:
    """Write a duration for people: ``0s``, ``1.5s``, ``1h30m``; ``parse_duration`` reads it."""
    millis = round(seconds * 1000)
    if millis < 60_000:
        return f"{millis / 1000:g}s"
    parts: list[str] = []
    rest = round(millis / 1000)
    for unit in ("d", "h", "m", "s"):
        count, rest = divmod(rest, int(_UNITS[unit]))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


def _seconds(value: object) -> float | None:
    match value:
        case bool():
            return None
        case int() | float():
            return float(max(-1.0, min(value, 2 * MAX_DURATION_S)))
        case str():
            return _text_seconds(value.strip())
        case _:
            return None


def _text_seconds(text: str) -> float | None:
    if _BARE.fullmatch(text):
        return float(text)
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        return None
    amounts = zip(match.groups(), _UNITS.values(), strict=True)
    return math.fsum(float(amount) * size for amount, size in amounts if amount is not None)

"""Which lines of progress are news: a new kind of sentence is, and now and then other numbers.

Ten thousand devices settle a few at a time, so the numbers change at every look. A sentence that
differs in its numbers only is told again after a pause that doubles each time: a wave of a minute
and one of a day both fit on a screen.
"""

from __future__ import annotations

import re

import msgspec

FIRST_PAUSE_S = 5.0
_NUMBER = re.compile(r"(?<!wave )\b\d+")


class _Told(msgspec.Struct):
    """What was told last of a kind of sentence, and when other numbers are news."""

    line: str
    pause_s: float
    again_at: float


class Teller:
    """Knows what was told."""

    def __init__(self) -> None:
        self._told: dict[str, _Told] = {}
        self._last = ""

    def is_news(self, what: str, states: str, now: float) -> bool:
        """Whether a line is worth telling; what is, counts as told.

        Args:
            what: What happens, for people. Numbers of waves are part of its kind.
            states: How many devices are in which state.
            now: Seconds since 1970 UTC.
        """
        kind, line = _NUMBER.sub("#", what), f"{what} ({states})"
        told = self._told.get(kind)
        if told is None:
            self._told[kind] = _Told(line, FIRST_PAUSE_S, now + FIRST_PAUSE_S)
            self._last = kind
            return True
        is_same = kind == self._last and line == told.line
        self._last = kind
        if is_same or now < told.again_at:
            return False
        pause_s = told.pause_s * 2
        self._told[kind] = _Told(line, pause_s, now + pause_s)
        return True

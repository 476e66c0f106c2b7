"""Axes: where the ticks stand, and what is written beside them. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

_TICKS = 5
_TIMES = 9
_LOG_RATIO = 20
_STEPS_S = (*(10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400),)
_DAY_S = 86_400
_MIN_SPAN_S = 60.0


class Tick(msgspec.Struct, frozen=True):
    """A place on an axis."""

    value: float
    label: str


class Scale(msgspec.Struct, frozen=True, kw_only=True):
    """From values to shares of the axis, 0 at its low end and 1 at its high end."""

    low: float
    high: float
    ticks: tuple[Tick, ...]
    is_log: bool = False

    def place(self, value: float) -> float:
        """Return where a value stands, within the axis."""
        low, high = self.low, self.high
        if self.is_log:
            low, high, value = math.log10(low), math.log10(high), math.log10(max(value, low))
        return min(1.0, max(0.0, (value - low) / (high - low)))


def value_scale(values: Sequence[float]) -> Scale:
    """Return an axis for sizes: from zero, or logarithmic where they span more than 20 times."""
    positive = [value for value in values if value > 0 and math.isfinite(value)]
    if not positive:
        return Scale(low=0.0, high=1.0, ticks=_linear_ticks(1.0, 0.2))
    low, high = min(positive), max(positive)
    if high / low > _LOG_RATIO:
        return _log_scale(low, high)
    step = _round_step(high / _TICKS)
    top = step * math.ceil(high * 1.05 / step)
    return Scale(low=0.0, high=top, ticks=_linear_ticks(top, step))


def time_scale(start_s: float, end_s: float) -> Scale:
    """Return an axis for times, in UTC; a date stands where a day begins and at the first tick."""
    missing = max(0.0, _MIN_SPAN_S - (end_s - start_s))
    start_s, end_s = start_s - missing / 2, end_s + missing / 2
    span = end_s - start_s
    step = next((step for step in _STEPS_S if span / step <= _TIMES), None)
    if step is None:
        step = _DAY_S * math.ceil(span / _DAY_S / _TIMES)
    first = math.ceil(start_s / step) * step
    found = []
    for index in range(int((end_s - first) // step) + 1):
        when = first + index * step
        found.append(Tick(when, _time_label(when, step, is_first=not index)))
    return Scale(low=start_s, high=end_s, ticks=tuple(found))


def _time_label(when_s: float, step_s: int, *, is_first: bool) -> str:
    when = datetime.fromtimestamp(when_s, UTC)
    date = f"{when:%Y-%m-%d}" if is_first else f"{when:%m-%d}"
    if step_s % _DAY_S == 0:
        return f"{date} UTC" if is_first else date
    clock = f"{when:%H:%M}" if step_s % 60 == 0 else f"{when:%H:%M:%S}"
    if is_first:
        return f"{date} {clock} UTC"
    return f"{date} {clock}" if when_s % _DAY_S == 0 else clock


def _log_scale(low: float, high: float) -> Scale:
    bottom, top = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1, 2, 5) if top - bottom <= 3 else (1,)
    marks = [step * 10.0**exponent for exponent in range(bottom, top + 1) for step in steps]
    first = max((mark for mark in marks if mark <= low), default=marks[0])
    last = min((mark for mark in marks if mark >= high), default=marks[-1])
    ticks = tuple(Tick(mark, f"{mark:g}") for mark in marks if first <= mark <= last)
    return Scale(low=first, high=last, ticks=ticks, is_log=True)


def _linear_ticks(top: float, step: float) -> tuple[Tick, ...]:
    return tuple(Tick(i * step, f"{i * step:g}") for i in range(round(top / step) + 1))


def _round_step(step: float) -> float:
    power: float = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * 0.999)

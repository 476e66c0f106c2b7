"""What a panel is drawn on, and what it looks like; SVG and PNG are two canvases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from edgectl.cli.plot.axes import Scale, time_scale, value_scale
from edgectl.cli.plot.series import Curve, Panel

Anchor = Literal["start", "middle", "end"]
Place = tuple[float, float]

WIDTH = 960
HEIGHT = 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 64.0, WIDTH - 18.0, 62.0, HEIGHT - 34.0
_TEXT, _FAINT, _GRID, _LIMIT = "#222222", "#666666", "#dddddd", "#222222"
_BAND = "#cfe3f1"
# Okabe and Ito's colours, told apart by the colour-blind; each curve has its dashes as well.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_DASHES: tuple[tuple[float, ...], ...] = ((), (7, 3), (2, 3), (10, 3, 2, 3), (4, 4), (12, 4))
_MAX_NAME = 34
_LETTER = 0.56


class Canvas(Protocol):
    """Draws in units of a point, from the top left."""

    def line(
        self, points: Sequence[Place], colour: str, width: float, dashes: Sequence[float] = ()
    ) -> None:
        """Draw a line through the points."""

    def area(self, points: Sequence[Place], colour: str) -> None:
        """Fill the space that the points go around."""

    def text(
        self,
        place: Place,
        text: str,
        *,
        size: float = 11,
        colour: str = _TEXT,
        anchor: Anchor = "start",
    ) -> None:
        """Write a text; the place is on its base line."""


def draw(panel: Panel, canvas: Canvas) -> None:
    """Draw a panel."""
    points = panel.points
    x = time_scale(panel.start_s, panel.end_s)
    y = value_scale([value for _, value in points] + [value for _, value in panel.limits])
    canvas.text((_LEFT, 20), panel.title, size=14)
    if not points:
        middle = ((_LEFT + _RIGHT) / 2, (_TOP + _BOTTOM) / 2)
        canvas.line(_frame(), _GRID, 1)
        canvas.text(middle, "no records in this time", colour=_FAINT, anchor="middle", size=13)
        return
    canvas.text((_LEFT - 8, _TOP - 9), panel.unit, colour=_FAINT, anchor="end")
    _fill_band(panel, canvas, x, y)
    _grid(canvas, x, y)
    for index, curve in enumerate(panel.curves):
        _curve(canvas, curve, index, x, y)
    for _, value in panel.limits:
        height = _at(x, y, (x.low, value))[1]
        canvas.line([(_LEFT, height), (_RIGHT, height)], _LIMIT, 1, (3, 3))
    _legend(panel, canvas)


def _frame() -> list[Place]:
    return [(_LEFT, _TOP), (_RIGHT, _TOP), (_RIGHT, _BOTTOM), (_LEFT, _BOTTOM), (_LEFT, _TOP)]


def _at(x: Scale, y: Scale, point: Place) -> Place:
    return (
        _LEFT + x.place(point[0]) * (_RIGHT - _LEFT),
        _BOTTOM - y.place(point[1]) * (_BOTTOM - _TOP),
    )


def _grid(canvas: Canvas, x: Scale, y: Scale) -> None:
    for tick in y.ticks:
        _, height = _at(x, y, (x.low, tick.value))
        canvas.line([(_LEFT, height), (_RIGHT, height)], _GRID, 1)
        canvas.text((_LEFT - 8, height + 4), tick.label, colour=_FAINT, anchor="end")
    for tick in x.ticks:
        across, _ = _at(x, y, (tick.value, y.low))
        canvas.line([(across, _BOTTOM), (across, _BOTTOM + 4)], _FAINT, 1)
        half = len(tick.label) * 11 * _LETTER / 2
        inside = min(max(across, half), WIDTH - half)
        canvas.text((inside, _BOTTOM + 18), tick.label, colour=_FAINT, anchor="middle")
    canvas.line([(_LEFT, _BOTTOM), (_RIGHT, _BOTTOM)], _FAINT, 1)


def _curve(canvas: Canvas, curve: Curve, index: int, x: Scale, y: Scale) -> None:
    colour, dashes = _COLOURS[index % len(_COLOURS)], _DASHES[index % len(_DASHES)]
    for piece in curve.pieces:
        places = [_at(x, y, point) for point in piece]
        if len(places) == 1:
            ((across, height),) = places
            canvas.area(
                [
                    (across - 2.5, height - 2.5),
                    (across + 2.5, height - 2.5),
                    (across + 2.5, height + 2.5),
                    (across - 2.5, height + 2.5),
                ],
                colour,
            )
        else:
            canvas.line(places, colour, 1.8, dashes)


def _fill_band(panel: Panel, canvas: Canvas, x: Scale, y: Scale) -> None:
    if panel.band is None:
        return
    named = {curve.name: curve for curve in panel.curves}
    low, high = (named[name] for name in panel.band)
    for below, above in zip(low.pieces, high.pieces, strict=True):
        around = [*above, *reversed(below)]
        if len(below) > 1:
            canvas.area([_at(x, y, point) for point in around], _BAND)


def _legend(panel: Panel, canvas: Canvas) -> None:
    across = _LEFT
    entries = [
        (curve.name, _COLOURS[i % len(_COLOURS)], _DASHES[i % len(_DASHES)], 1.8)
        for i, curve in enumerate(panel.curves)
    ]
    entries += [(f"{name} {value:g}", _LIMIT, (3, 3), 1.0) for name, value in panel.limits]
    for name, colour, dashes, width in entries:
        short = name if len(name) <= _MAX_NAME else name[: _MAX_NAME - 1] + "…"
        canvas.line([(across, 38), (across + 24, 38)], colour, width, dashes)
        canvas.text((across + 29, 42), short)
        across += 29 + len(short) * 11 * _LETTER + 16

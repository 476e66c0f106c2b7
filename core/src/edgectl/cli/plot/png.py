"""PNG through Pillow: drawn at three times the size and brought down, so that lines are smooth."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Iterator, Sequence

from PIL import Image, ImageDraw, ImageFont

from edgectl.cli.plot.canvas import HEIGHT, WIDTH, Anchor, Place, draw
from edgectl.cli.plot.series import Panel

_TIMES = 3
_SHOWN = 2  # pixels of a point in the file
_ANCHORS: dict[Anchor, str] = {"start": "ls", "middle": "ms", "end": "rs"}


class PngCanvas:
    """Draws one panel."""

    def __init__(self) -> None:
        self._scale = _TIMES * _SHOWN
        size = (WIDTH * self._scale, HEIGHT * self._scale)
        self._image = Image.new("RGB", size, "#ffffff")
        self._draw = ImageDraw.Draw(self._image)

    def line(
        self, points: Sequence[Place], colour: str, width: float, dashes: Sequence[float] = ()
    ) -> None:
        """Draw a line through the points."""
        for piece in dashed(points, dashes) if dashes else [list(points)]:
            scaled = self._scaled(piece)
            self._draw.line(scaled, colour, round(width * self._scale), joint="curve")

    def area(self, points: Sequence[Place], colour: str) -> None:
        """Fill the space that the points go around."""
        self._draw.polygon(self._scaled(points), fill=colour)

    def text(
        self,
        place: Place,
        text: str,
        *,
        size: float = 11,
        colour: str = "#222222",
        anchor: Anchor = "start",
    ) -> None:
        """Write a text, in the typeface that Pillow brings."""
        font = ImageFont.load_default(size * self._scale)
        self._draw.text(self._scaled([place])[0], text, colour, font, _ANCHORS[anchor])

    def image(self) -> Image.Image:
        """Return what was drawn, at its size in the file."""
        return self._image.reduce(_TIMES)

    def _scaled(self, points: Sequence[Place]) -> list[Place]:
        return [(x * self._scale, y * self._scale) for x, y in points]


def render(panels: Sequence[Panel]) -> bytes:
    """Return a picture of panels, one below the other."""
    whole = Image.new("RGB", (WIDTH * _SHOWN, HEIGHT * _SHOWN * len(panels)), "#ffffff")
    for index, panel in enumerate(panels):
        canvas = PngCanvas()
        draw(panel, canvas)
        whole.paste(canvas.image(), (0, HEIGHT * _SHOWN * index))
    out = io.BytesIO()
    whole.quantize(256, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


def dashed(points: Sequence[Place], dashes: Sequence[float]) -> Iterator[list[Place]]:
    """Cut a line into dashes; lengths alternate between drawn and left out, as in SVG."""
    lengths = itertools.cycle(dashes)
    left, is_drawn = next(lengths), True
    piece = [points[0]]
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        passed, length = 0.0, math.hypot(x1 - x0, y1 - y0)
        while length - passed > left:
            passed += left
            place = (x0 + (x1 - x0) * passed / length, y0 + (y1 - y0) * passed / length)
            if is_drawn:
                yield [*piece, place]
            piece, is_drawn, left = [place], not is_drawn, next(lengths)
        left -= length - passed
        piece.append((x1, y1))
    if is_drawn and len(piece) > 1:
        yield piece

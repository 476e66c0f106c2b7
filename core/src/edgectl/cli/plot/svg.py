"""SVG: text is text, so that it can be searched and read aloud; no clock and no chance in it."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

from edgectl.cli.plot.canvas import HEIGHT, WIDTH, Anchor, Place, draw
from edgectl.cli.plot.series import Panel

_FONT = "system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', Arial, sans-serif"


class SvgCanvas:
    """Collects the elements of one panel."""

    def __init__(self) -> None:
        self.elements: list[str] = []

    def line(
        self, points: Sequence[Place], colour: str, width: float, dashes: Sequence[float] = ()
    ) -> None:
        """Draw a line through the points."""
        dashed = f' stroke-dasharray="{" ".join(map(_number, dashes))}"' if dashes else ""
        self.elements.append(
            f'<polyline points="{_places(points)}" fill="none" stroke="{colour}"'
            f' stroke-width="{_number(width)}" stroke-linejoin="round"{dashed}/>'
        )

    def area(self, points: Sequence[Place], colour: str) -> None:
        """Fill the space that the points go around."""
        self.elements.append(f'<polygon points="{_places(points)}" fill="{colour}"/>')

    def text(
        self,
        place: Place,
        text: str,
        *,
        size: float = 11,
        colour: str = "#222222",
        anchor: Anchor = "start",
    ) -> None:
        """Write a text."""
        self.elements.append(
            f'<text x="{_number(place[0])}" y="{_number(place[1])}" font-size="{_number(size)}"'
            f' fill="{colour}" text-anchor="{anchor}">{escape(_printable(text))}</text>'
        )


def render(panels: Sequence[Panel]) -> bytes:
    """Return a picture of panels, one below the other."""
    height = HEIGHT * len(panels)
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"'
        f' viewBox="0 0 {WIDTH} {height}" font-family={quoteattr(_FONT)} role="img">'
    )
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        opening,
        f"<title>{escape(_printable('; '.join(panel.title for panel in panels)))}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for index, panel in enumerate(panels):
        canvas = SvgCanvas()
        draw(panel, canvas)
        lines += [f'<g transform="translate(0 {HEIGHT * index})">', *canvas.elements, "</g>"]
    return "\n".join([*lines, "</svg>", ""]).encode()


def _places(points: Sequence[Place]) -> str:
    return " ".join(f"{_number(x)},{_number(y)}" for x, y in points)


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)

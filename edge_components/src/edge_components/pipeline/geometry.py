"""Where a pixel of the model's picture lies in the picture that came in, pure.

Every step that moves pixels (resize, crop, letterbox) is a scale and a shift along each axis, so a
chain of them is one too, and can be undone at once. Coordinates are continuous: the picture's
left edge is 0, its right edge the width.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]


class Fit(NamedTuple):
    """How a picture lies in a letterbox: its size there, and the fill before it, in pixels."""

    height: int
    width: int
    top: int
    left: int


class Geometry(NamedTuple):
    """``here = there * scale + shift`` along each axis, and both sizes in pixels."""

    from_height: int
    from_width: int
    height: int
    width: int
    scale_y: float = 1.0
    scale_x: float = 1.0
    shift_y: float = 0.0
    shift_x: float = 0.0

    @classmethod
    def of(cls, height: int, width: int) -> Geometry:
        """Return the geometry of an untouched picture."""
        return cls(height, width, height, width)

    def resized(self, height: int, width: int) -> Geometry:
        """Return the geometry after a resize."""
        y, x = height / max(1, self.height), width / max(1, self.width)
        return self._replace(
            height=height,
            width=width,
            scale_y=self.scale_y * y,
            scale_x=self.scale_x * x,
            shift_y=self.shift_y * y,
            shift_x=self.shift_x * x,
        )

    def moved(self, top: float, left: float, height: int, width: int) -> Geometry:
        """Return the geometry where the picture begins ``top`` and ``left`` further."""
        return self._replace(
            height=height,
            width=width,
            shift_y=self.shift_y + top,
            shift_x=self.shift_x + left,
        )

    def boxed(self, fit: Fit, height: int, width: int) -> Geometry:
        """Return the geometry after a letterbox."""
        return self.resized(fit.height, fit.width).moved(fit.top, fit.left, height, width)

    def forward(self, boxes: Floats) -> Floats:
        """Map corners ``[N, 4]`` (x1, y1, x2, y2) from the first picture to this one."""
        scale, shift = self._vectors()
        return boxes * scale + shift

    def back(self, boxes: Floats) -> Floats:
        """Map corners ``[N, 4]`` (x1, y1, x2, y2) to the first picture, cut at its edges."""
        scale, shift = self._vectors()
        limits = np.array([self.from_width, self.from_height] * 2, dtype=np.float64)
        return np.clip((boxes - shift) / scale, 0.0, limits)

    def _vectors(self) -> tuple[Floats, Floats]:
        scale = np.array([self.scale_x, self.scale_y] * 2, dtype=np.float64)
        shift = np.array([self.shift_x, self.shift_y] * 2, dtype=np.float64)
        return scale, shift


def letterbox_fit(height: int, width: int, size: tuple[int, int]) -> Fit:
    """Return how a picture of ``height`` and ``width`` lies in a letterbox of ``size``.

    The longer side fills the box; the other keeps the ratio to the pixel, and is at least 1.
    """
    ratio = min(size[0] / max(1, height), size[1] / max(1, width))
    inner_height = min(size[0], max(1, round(height * ratio)))
    inner_width = min(size[1], max(1, round(width * ratio)))
    top, left = (size[0] - inner_height) // 2, (size[1] - inner_width) // 2
    return Fit(inner_height, inner_width, top, left)


def crop_corner(
    height: int, width: int, size: tuple[int, int], at: tuple[int, int] | None
) -> tuple[int, int]:
    """Return top and left of a crop; the middle where nothing is said."""
    if at is not None:
        return at
    return (height - size[0]) // 2, (width - size[1]) // 2

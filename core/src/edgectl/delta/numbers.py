"""Distances between old and new values, and their bytes in planes; see ``contract.delta``.

What undoes this is on the device (``edge_components.delta.numbers``), which core does not import.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edge_components.contract.delta import Kind

Unsigned = npt.NDArray[Any]
TYPES = {width: np.dtype(f"<u{width}") for width in (1, 2, 4, 8)}
_EXPONENT_BITS = {2: (10, 0x1F), 4: (23, 0xFF), 8: (52, 0x7FF)}


def distances(old: Unsigned, new: Unsigned, kind: Kind) -> Unsigned:
    """Return how far each element has moved, as unsigned numbers that are small for little."""
    moved = _ordered(new, kind) - _ordered(old, kind)  # wraps around, and back again
    bits = moved.dtype.itemsize * 8
    sign = np.zeros_like(moved) - (moved >> np.array(bits - 1, moved.dtype))
    found: Unsigned = (moved << np.array(1, moved.dtype)) ^ sign
    return found


def sorting(old: Unsigned) -> npt.NDArray[np.intp]:
    """Return the order by exponent, equal ones as they stand."""
    shift, mask = _EXPONENT_BITS[old.dtype.itemsize]
    exponents = (old >> np.array(shift, old.dtype)) & np.array(mask, old.dtype)
    return np.argsort(exponents.astype(np.uint8 if mask < 256 else np.uint16), kind="stable")


def planes(values: Unsigned) -> list[bytes]:
    """Return the bytes of the numbers, a plane each, least significant first."""
    table = np.ascontiguousarray(values).view(np.uint8).reshape(-1, values.dtype.itemsize)
    return [np.ascontiguousarray(table[:, at]).tobytes() for at in range(table.shape[1])]


def _ordered(values: Unsigned, kind: Kind) -> Unsigned:
    """Return floats as their place among all values of their type, the most negative first."""
    if kind == "int":
        return values
    top = _top(values)
    return np.where((values & top) != 0, ~values, values ^ top)


def _top(values: Unsigned) -> Unsigned:
    return np.array(1 << (values.dtype.itemsize * 8 - 1), values.dtype)

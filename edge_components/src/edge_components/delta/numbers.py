"""New values from old ones and distances, and distances from planes; see ``contract.delta``."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edge_components.contract.delta import Kind

Unsigned = npt.NDArray[Any]
TYPES = {width: np.dtype(f"<u{width}") for width in (1, 2, 4, 8)}
_EXPONENT_BITS = {2: (10, 0x1F), 4: (23, 0xFF), 8: (52, 0x7FF)}


def moved(old: Unsigned, by: Unsigned, kind: Kind) -> Unsigned:
    """Return the new elements: what the distances were measured to."""
    one = np.array(1, by.dtype)
    step = (by >> one) ^ (np.zeros_like(by) - (by & one))
    return _value(_ordered(old, kind) + step, kind)


def sorting(old: Unsigned) -> npt.NDArray[np.intp]:
    """Return the order by exponent, equal ones as they stand."""
    shift, mask = _EXPONENT_BITS[old.dtype.itemsize]
    exponents = (old >> np.array(shift, old.dtype)) & np.array(mask, old.dtype)
    return np.argsort(exponents.astype(np.uint16), kind="stable")


def from_planes(given: list[bytes], count: int) -> Unsigned:
    """Return numbers from the planes of their bytes, least significant first.

    Raises:
        ValueError: A plane has not one byte for each of them.
    """
    table = np.empty((count, len(given)), np.uint8)
    for at, plane in enumerate(given):
        if len(plane) != count:
            raise ValueError(f"a plane has {len(plane)} bytes for {count} elements")
        table[:, at] = np.frombuffer(plane, np.uint8)
    return table.reshape(-1).view(TYPES[len(given)])


def _ordered(values: Unsigned, kind: Kind) -> Unsigned:
    """Return floats as their place among all values of their type, the most negative first."""
    if kind == "int":
        return values
    top = _top(values)
    return np.where((values & top) != 0, ~values, values ^ top)


def _value(places: Unsigned, kind: Kind) -> Unsigned:
    """Return what ``_ordered`` was given."""
    if kind == "int":
        return places
    top = _top(places)
    return np.where((places & top) != 0, places ^ top, ~places)


def _top(values: Unsigned) -> Unsigned:
    return np.array(1 << (values.dtype.itemsize * 8 - 1), values.dtype)

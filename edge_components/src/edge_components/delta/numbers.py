"""New values from old ones and distances, and distances from planes; see ``contract.delta``."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edge_components.contract.delta import Kind

Unsigned = npt.NDArray[Any]
TYPES = {width: np.dtype(f"<u{width}") for width in (1, 2, 4, 8)}
_PART = 64 << 10
_EXPONENT_BITS = {2: (10, 0x1F), 4: (23, 0xFF), 8: (52, 0x7FF)}


def moved(old: Unsigned, by: Unsigned, kind: Kind) -> Unsigned:
    """Return the new elements: what the distances were measured to.

    ``by`` is used up. The work goes in parts that stay in a processor's cache.
    """
    for begin in range(0, len(by), _PART):
        _move(by[begin : begin + _PART], old[begin : begin + _PART], kind)
    return by


def _move(by: Unsigned, old: Unsigned, kind: Kind) -> None:
    """Replace the distances by the new elements."""
    sign = by & _number(1, by)
    np.negative(sign, out=sign)
    by >>= _number(1, by)
    by ^= sign
    if kind == "int":
        by += old
        return
    # A float's place among all values of its type: its bits, turned over for negative ones.
    signed, shift = f"<i{by.itemsize}", by.itemsize * 8 - 1
    turn = (old.view(signed) >> shift).view(by.dtype)
    turn |= _number(1 << shift, by)
    turn ^= old
    by += turn
    np.invert(by, out=turn)
    turn = (turn.view(signed) >> shift).view(by.dtype)
    turn |= _number(1 << shift, by)
    by ^= turn


def sorting(old: Unsigned) -> npt.NDArray[np.intp]:
    """Return the order by exponent, equal ones as they stand."""
    shift, mask = _EXPONENT_BITS[old.dtype.itemsize]
    exponents = (old >> _number(shift, old)) & _number(mask, old)
    # The sort's time goes by the bytes of its keys.
    return np.argsort(exponents.astype(np.uint8 if mask < 256 else np.uint16), kind="stable")


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


def _number(value: int, like: Unsigned) -> Unsigned:
    return np.array(value, like.dtype)

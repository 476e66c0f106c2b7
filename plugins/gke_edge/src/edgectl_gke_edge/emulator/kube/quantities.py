"""Quantities: ``250m``, ``1Gi``, ``2e3``; reading, and writing back what sums of them are."""

from __future__ import annotations

import re
from decimal import Decimal

_BINARY = {f"{letter}i": Decimal(2) ** (10 * n) for n, letter in enumerate("KMGTPE", 1)}
_DECIMAL = {letter: Decimal(10) ** (3 * n) for n, letter in enumerate("kMGTPE", 1)}
_SMALL = {"n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1)}
_SUFFIXES = {**_BINARY, **_DECIMAL, **_SMALL}
_PATTERN = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))([A-Za-z]*|[eE][+-]?\d+)")


def read(text: str) -> Decimal:
    """Read a quantity.

    Raises:
        ValueError: It is none.
    """
    found = _PATTERN.fullmatch(text)
    if not found:
        raise ValueError(f"'{text}' is no quantity")
    number, suffix = found.groups()
    if suffix in _SUFFIXES:
        return Decimal(number) * _SUFFIXES[suffix]
    if re.fullmatch(r"[eE][+-]?\d+", suffix):
        return Decimal(number) * Decimal(10) ** int(suffix[1:])
    raise ValueError(f"'{text}' is no quantity")


def write(value: Decimal, *, binary: bool) -> str:
    """Write a quantity in the shortest whole form, with binary suffixes (memory) or decimal."""
    if value == value.to_integral_value():
        suffixes = _BINARY if binary else _DECIMAL
        for suffix, factor in sorted(suffixes.items(), key=lambda item: -item[1]):
            if value and value % factor == 0:
                return f"{int(value / factor)}{suffix}"
        return str(int(value))
    return f"{int((value * 1000).to_integral_value(rounding='ROUND_CEILING'))}m"

"""Rates of transfer as people write them: ``2MB/s``, ``500 kB/s``, ``1.5MiB/s``, ``16Mbit/s``.

A bare number is bytes a second. ``k``, ``M`` and ``G`` are powers of 1000 and ``Ki``, ``Mi``,
``Gi`` of 1024. Links are sold in bits, so these are taken too; ``Mb/s`` is not, because it means
both.
"""

from __future__ import annotations

import re

MIN_RATE = 1000
MAX_RATE = 10**12
ALLOWED = "bytes a second as a number, or text like '2MB/s', '500kB/s' or '16Mbit/s'"
_RATE = re.compile(r"(\d{1,12}(?:\.\d{1,6})?) ?([kKMG]i?)?(B|bit)/s", re.ASCII)
_FACTORS = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9}
_BINARY = {"ki": 1 << 10, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


def parse_rate(value: str | int) -> int:
    """Return bytes a second.

    Raises:
        ValueError: It is no rate, or one that no download would ever end with.
    """
    rate = value if isinstance(value, int) and not isinstance(value, bool) else _parse(str(value))
    if rate is None:
        raise ValueError(f"'{str(value)[:40]}' is not a rate; allowed: {ALLOWED}")
    if not MIN_RATE <= rate <= MAX_RATE:
        raise ValueError(f"'{str(value)[:40]}' is not between 1kB/s and 1000GB/s")
    return rate


def format_rate(rate: int) -> str:
    """Write bytes a second for people: ``2MB/s``, ``62.5kB/s``; ``parse_rate`` reads it."""
    for unit in ("G", "M", "k"):
        if rate >= _FACTORS[unit]:
            return f"{rate / _FACTORS[unit]:.6f}".rstrip("0").rstrip(".") + f"{unit}B/s"
    return f"{rate}B/s"


def _parse(text: str) -> int | None:
    match = _RATE.fullmatch(text.strip())
    if match is None:
        return None
    amount, prefix, unit = match.groups(default="")
    rate = float(amount) * (_FACTORS | _BINARY)[prefix]
    return int(rate / 8 if unit == "bit" else rate)

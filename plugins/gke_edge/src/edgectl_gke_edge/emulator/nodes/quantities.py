"""Kubernetes quantities: ``500m``, ``1Gi``, ``2``; as whole units or bytes. Pure."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

_UNITS = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal("1e3"),
    "M": Decimal("1e6"),
    "G": Decimal("1e9"),
    "T": Decimal("1e12"),
    "P": Decimal("1e15"),
    "Ki": Decimal(1 << 10),
    "Mi": Decimal(1 << 20),
    "Gi": Decimal(1 << 30),
    "Ti": Decimal(1 << 40),
    "Pi": Decimal(1 << 50),
}


def parse_quantity(text: str | float) -> Decimal:
    """Return what a quantity says.

    Raises:
        ValueError: It is none.
    """
    plain = str(text).strip()
    number = plain.rstrip("numkKMGTPi")
    try:
        return Decimal(number) * _UNITS[plain[len(number) :]]
    except (InvalidOperation, KeyError) as exc:
        raise ValueError(f"'{text}' is not a quantity") from exc

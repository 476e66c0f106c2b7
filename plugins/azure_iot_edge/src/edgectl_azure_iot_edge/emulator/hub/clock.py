"""How the hub writes times."""

from __future__ import annotations

from datetime import UTC, datetime

NEVER = datetime(1, 1, 1, tzinfo=UTC)


def text(at: datetime | None) -> str:
    """Return a time with seven digits of a second, as .NET writes it; None is year 1."""
    if at is None or at == NEVER:
        return "0001-01-01T00:00:00Z"
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond:06}0Z"


def parse(value: str) -> datetime:
    """Read a time of a request; one without a zone is UTC.

    Raises:
        ValueError: It is none.
    """
    found = datetime.fromisoformat(_short(value))
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _short(value: str) -> str:
    """Cut the digits that Python does not take."""
    head, point, rest = value.partition(".")
    if not point:
        return value.replace("Z", "+00:00")
    digits = "".join(c for c in rest if c.isdigit()) if rest.endswith("Z") else rest[:7]
    if rest.endswith("Z"):
        return f"{head}.{digits[:6]}+00:00"
    return value

"""Which variant of a package answers here: the fastest whose golden set holds on this machine.

Measuring is bounded: a fraction of a second for each variant, and no variant beside another where
the device has no memory for two. The result is kept, so that a restart loads one variant only.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from edge_components.contract.bench import MARGIN

log = logging.getLogger(__name__)

CHOICE_FILE = "precision.json"
BUDGET_S = 30.0


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What was chosen, and for what."""

    package: str
    hardware: str
    engine: str
    precision: str


def read_choice(folder: Path | None) -> Choice | None:
    """Return what was chosen last; None where nothing was, or it cannot be read."""
    if folder is None:
        return None
    try:
        return msgspec.json.decode((folder / CHOICE_FILE).read_bytes(), type=Choice)
    except (OSError, msgspec.DecodeError):
        return None


def keep_choice(folder: Path | None, choice: Choice) -> None:
    """Remember a choice; a disk that takes nothing only costs measuring again."""
    if folder is None:
        return
    part = folder / f"{CHOICE_FILE}.part"
    try:
        part.write_bytes(msgspec.json.encode(choice))
        part.replace(folder / CHOICE_FILE)
    except OSError as exc:
        log.warning("the chosen precision cannot be kept: %s", exc)
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


class Contest:
    """Compares variants in the profile's order; a later one wins only by more than chance.

    Args:
        clock: Seconds that only rise.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._best_s: float | None = None

    @property
    def is_over(self) -> bool:
        """Whether measuring has taken its time, with a winner."""
        return self._best_s is not None and self._clock() - self._began > BUDGET_S

    def wins(self, seconds: float) -> bool:
        """Whether a variant that takes so long for one run is the best so far."""
        if self._best_s is not None and seconds * MARGIN >= self._best_s:
            return False
        self._best_s = seconds
        return True


def fits_beside(sizes: Sequence[int], limit: int) -> bool:
    """Whether the two largest of these variants may be in memory together."""
    return sum(sorted(sizes)[-2:]) <= limit

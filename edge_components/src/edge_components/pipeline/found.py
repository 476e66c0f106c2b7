"""What inference gives, whoever infers."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from edge_components.pipeline.postprocess import Work
from edge_components.runtime.model import Identity

Abandon = Callable[[], bool]


class Found(NamedTuple):
    """An answer, and whose it is."""

    work: Work
    identity: Identity
    origin: str

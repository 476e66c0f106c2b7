"""What inference gives, whoever infers."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from edge_components.pipeline.postprocess import Work
from edge_components.pipeline.reading import Item
from edge_components.runtime.model import Identity

Abandon = Callable[[], bool]


class Found(NamedTuple):
    """An answer, and whose it is."""

    work: Work
    identity: Identity
    origin: str


class Answerer(Protocol):
    """Who infers: this device, another, or first the one and then the other."""

    def __call__(self, item: Item, abandon: Abandon) -> Found:
        """Answer one item; ``abandon`` says whether there is no use in waiting any longer."""

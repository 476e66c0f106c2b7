"""Faults that a cluster can be given: refusals, overload; being cut off is in ``connections``."""

from __future__ import annotations

from edgectl_gke_edge.emulator.kube.errors import StatusError, too_many
from edgectl_gke_edge.emulator.kube.requests import Target


class Faults:
    """What goes wrong next.

    Attributes:
        overloaded: How many requests are answered 429 before one gets through.
        failing: How many requests are answered 500.
    """

    def __init__(self) -> None:
        self.overloaded = 0
        self.failing = 0

    def strike(self, target: Target) -> None:
        """Let a request fail when it is its turn.

        Raises:
            StatusError: 429 with ``Retry-After``, or 500.
        """
        del target
        if self.overloaded:
            self.overloaded -= 1
            raise too_many("too many requests, please try again later", retry_after_s=1)
        if self.failing:
            self.failing -= 1
            raise StatusError(
                500, "InternalError", "Internal error occurred: etcdserver: request timed out"
            )

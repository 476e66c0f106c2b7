"""What a hub is bought as, and how fast its background work is here."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from edgectl.api import Record
from edgectl_azure_iot_edge.config import Tier


class HubSettings(Record, frozen=True, kw_only=True):
    """A hub.

    Attributes:
        tier: Decides rates and what the hub can do: a Basic hub has no twins, methods, jobs or
            deployments.
        units: Most rates rise with them.
        throttle: Whether rates are enforced; they are counted always.
        background_s: How long after a change deployments are assigned. A real hub takes up to
            five minutes for devices that begin to match.
        metrics_s: How often metrics are counted when something changed; a real hub does it every
            few minutes.
        index_lag_s: How old an answer to a query may be; a real hub's is a second or two.
        mqtt_port: Port for devices; 0 takes a free one. The hub has 8883.
    """

    tier: Tier = "S1"
    units: Annotated[int, Meta(ge=1, le=200)] = 1
    throttle: bool = True
    background_s: float = 0.5
    metrics_s: float = 5.0
    index_lag_s: float = 0.0
    mqtt_port: int = 0

    @property
    def is_basic(self) -> bool:
        """Whether the hub is of the Basic tier."""
        return self.tier.startswith("B")

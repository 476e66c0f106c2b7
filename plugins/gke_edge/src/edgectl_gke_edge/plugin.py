"""The provider ``gke``: the hooks of GKE and Google Distributed Cloud.

Only ``capabilities`` stands here: what a plan can be checked against. A hook that is absent is
not implemented, and core says so by its name.
"""

from __future__ import annotations

from edgectl.api import Capabilities, CapabilitiesRequest, Limits, ProviderContext, hookimpl
from edgectl_gke_edge.config import GkeConfig


class GkeProvider:
    """GKE on Google Distributed Cloud as an edgectl provider."""

    config_type = GkeConfig

    def __init__(self, config: GkeConfig, context: ProviderContext) -> None:
        self.config = config
        self.context = context

    @hookimpl
    def capabilities(self, request: CapabilitiesRequest) -> Capabilities:
        """Say what the clusters do by themselves, and what they allow.

        - A workload that does not become ready is not rolled back by the cluster, and Google's
          own rollouts (Config Delivery) have no automatic rollback either.
        - Google publishes no limit on a package's size or on calls that a plan could be checked
          against, so none is stated.
        """
        return Capabilities(
            device_rollback=False,
            withdraw=False,
            telemetry=False,
            emulator=False,
            limits=Limits(),
        )

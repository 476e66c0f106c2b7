"""The hub's parts put together."""

from __future__ import annotations

import msgspec

from edgectl_azure_iot_edge.emulator.hub import keeping
from edgectl_azure_iot_edge.emulator.hub.access import new_policies
from edgectl_azure_iot_edge.emulator.hub.background import Background
from edgectl_azure_iot_edge.emulator.hub.configurations import MAX_CONFIGURATIONS, Configurations
from edgectl_azure_iot_edge.emulator.hub.index import Index
from edgectl_azure_iot_edge.emulator.hub.jobs import Jobs
from edgectl_azure_iot_edge.emulator.hub.methods import Methods
from edgectl_azure_iot_edge.emulator.hub.rates import Rates
from edgectl_azure_iot_edge.emulator.hub.registry import Registry
from edgectl_azure_iot_edge.emulator.hub.settings import HubSettings
from edgectl_azure_iot_edge.emulator.site import Site

MAX_FREE_CONFIGURATIONS = 10


class Hub:
    """A hub.

    Args:
        site: The account.
        settings: Tier, units, speed.

    Attributes:
        registry: Devices, modules, twins.
        policies: Shared access policies by name.
    """

    def __init__(self, site: Site, settings: HubSettings) -> None:
        self.site = site
        self.settings = settings
        self.policies = new_policies()
        self.registry = Registry(site.now, self._changed)
        limit = MAX_FREE_CONFIGURATIONS if settings.tier == "F1" else MAX_CONFIGURATIONS
        self.configurations = Configurations(site.now, limit)
        self.index = Index(self.registry, settings.index_lag_s)
        self.methods = Methods()
        self.rates = Rates(settings)
        self.jobs = Jobs(
            registry=self.registry,
            index=self.index,
            methods=self.methods,
            rates=self.rates,
            settings=settings,
            now=site.now,
        )
        self.background = Background(self.registry, self.configurations, self.index, settings)
        self.background.settled = self.keep
        self._file = site.folder / "hub.json"
        self._restore()

    def hosts(self) -> tuple[str, ...]:
        """Return the names that tokens may be for, with and without the port."""
        port = self.site.url.rpartition(":")[2]
        plain = (*self.site.names, f"{self.site.hub}.azure-devices.net")
        return (*plain, *(f"{name}:{port}" for name in plain))

    def start(self) -> None:
        """Begin the background work."""
        self.background.start()

    def stop(self) -> None:
        """End the background work and jobs."""
        self.jobs.stop()
        self.background.stop()
        self.keep()

    def keep(self) -> None:
        """Write down what is to be there after a restart."""
        with self.registry.lock:
            kept = msgspec.json.encode(
                keeping.Kept(
                    devices=self.registry.devices,
                    configurations=self.configurations.all,
                    policies=self.policies,
                )
            )
        keeping.write(self._file, kept)

    def _restore(self) -> None:
        kept = keeping.read(self._file)
        if kept is not None:
            self.registry.devices.update(kept.devices)
            self.configurations.all.update(kept.configurations)
            self.policies.update(kept.policies)

    def _changed(self) -> None:
        self.background.wake_for_changes()

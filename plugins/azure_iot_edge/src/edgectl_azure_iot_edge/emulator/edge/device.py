"""One virtual device, put together: ground, images, engine, edgeHub, workload API, agent."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgectl.api import Record
from edgectl_azure_iot_edge.emulator.edge.agent import AgentPace, EdgeAgent
from edgectl_azure_iot_edge.emulator.edge.carrying import Carrier
from edgectl_azure_iot_edge.emulator.edge.containers import Engine, Premises
from edgectl_azure_iot_edge.emulator.edge.edgehub import EdgeHub
from edgectl_azure_iot_edge.emulator.edge.ground import lay_ground
from edgectl_azure_iot_edge.emulator.edge.images import Images
from edgectl_azure_iot_edge.emulator.edge.processes import ProcessEngine
from edgectl_azure_iot_edge.emulator.edge.pulling import Puller
from edgectl_azure_iot_edge.emulator.edge.pulls import WAIT_S, Pulls
from edgectl_azure_iot_edge.emulator.edge.settings import DeviceSettings
from edgectl_azure_iot_edge.emulator.edge.workload import Workload

MakeEngine = Callable[[Premises], Engine]


class DeviceOptions(Record, frozen=True, kw_only=True):
    """What an emulator may want otherwise than a real device has it.

    Attributes:
        pull_wait_s: How long the agent waits for an image before it says "canceled".
        plain_registries: Registries that are spoken to without TLS.
        root: The device's own files; None is ``root`` in its folder.
    """

    pace: AgentPace = AgentPace()
    pull_wait_s: float = WAIT_S
    plain_registries: frozenset[str] = frozenset()
    root: Path | None = None


class Device:
    """A device.

    Args:
        make_engine: Makes what runs modules; processes where nothing is said.
    """

    def __init__(
        self,
        settings: DeviceSettings,
        options: DeviceOptions,
        make_engine: MakeEngine = ProcessEngine,
    ) -> None:
        self._held = contextlib.ExitStack()
        self._ground = ground = lay_ground(settings, self._held)
        puller = Puller(settings.trust, ground.faults, options.plain_registries)
        images = Images(settings.folder / "images", puller, ground.faults)
        self._pulls = Pulls(images, options.pull_wait_s)
        self.hub = EdgeHub(ground)
        self.engine = make_engine(
            Premises(
                folder=settings.folder / "modules",
                root=options.root or settings.folder / "root",
                images=images,
                faults=ground.faults,
                changed=self._module_ended,
                address=ground.address[0],
            )
        )
        self._workload = Workload(ground.sockets, ground.identities, ground.authority, self._list)
        self._carrier = Carrier(ground, self.engine, self._pulls, self.hub, self._workload)
        self.agent = EdgeAgent(ground, self._carrier, options.pace)
        ground.identities.on_change = self.hub.renew
        self._pace = options.pace.restarts

    def run(self) -> None:
        """Run until ``stop``."""
        try:
            self.agent.run()
        finally:
            self._pulls.stop()
            self.hub.close()
            self._workload.stop()
            self.engine.close()
            self._carrier.close()
            shutil.rmtree(self._ground.sockets, ignore_errors=True)
            self._held.close()

    def stop(self) -> None:
        """End, from any thread or a signal's handler."""
        self.agent.stop()

    def _module_ended(self) -> None:
        self.agent.wake()

    def _list(self) -> list[dict[str, Any]]:
        """Return what ``GET /modules`` of the workload API answers."""
        return [
            {
                "id": name,
                "name": name,
                "type": "docker",
                "config": {"settings": {"image": module.spec.image}, "env": []},
                "status": {
                    "runtimeStatus": {
                        "status": module.status.value,
                        "description": module.description,
                    }
                },
            }
            for name, module in sorted(self._carrier.modules(self._pace).items())
        ]

"""Starting the hub, enrolling devices through the command line, and running their agents."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import msgspec

from edgectl.api import ProviderError, Record
from edgectl.emulation import EDGECTL, Processes, add_device, settle_device

HUB_TIMEOUT_S = 30.0


class VirtualDevice(Record, frozen=True, kw_only=True):
    """A device to start: its name, its target and its hardware profile."""

    name: str
    target: str
    hardware: str


class RunningDevice(Record, frozen=True, kw_only=True):
    """A device that runs: where it answers and where it keeps its state."""

    name: str
    target: str
    hardware: str
    url: str
    state_dir: str


class FleetInfo(Record, frozen=True, kw_only=True):
    """What a user of the emulator needs.

    Attributes:
        env: The variables to set for ``edgectl``.
    """

    hub: str
    env: dict[str, str]
    devices: tuple[RunningDevice, ...]


class Fleet:
    """A hub and its devices below one folder.

    Args:
        folder: Takes the hub's data, the devices' state and everybody's log.
        project: The project whose targets the devices join.
    """

    def __init__(self, folder: Path, project: Path) -> None:
        self._folder = folder.absolute()
        self._project = project.absolute()
        self._processes = Processes(self._folder / "logs")
        self._env = dict(os.environ)

    def start(self, devices: tuple[VirtualDevice, ...]) -> FleetInfo:
        """Start the hub, enroll the devices and start their agents.

        Raises:
            ProviderError: A program does not come up; its last lines are in the message.
        """
        url = self._start_hub()
        settings = {
            "EDGECTL_HUB_URL": url,
            "EDGECTL_HUB_PASSWORD_FILE": str(self._folder / "hub" / "admin-password"),
        }
        self._env.update(settings)
        running = tuple(self._start_device(device) for device in devices)
        return FleetInfo(hub=url, env=settings, devices=running)

    def check(self) -> None:
        """Check that everything still runs.

        Raises:
            ProviderError: A program ended by itself.
        """
        name = self._processes.ended()
        if name is not None:
            raise ProviderError(f"'{name}' ended: {self._processes.log_tail(name)}")

    def stop(self) -> None:
        """Stop the devices, then the hub."""
        self._processes.stop()

    def _start_hub(self) -> str:
        data = self._folder / "hub"
        data.mkdir(parents=True, exist_ok=True)
        ready = data / "hub.json"
        ready.unlink(missing_ok=True)
        arguments = ["hub", "--data", str(data), "--port", "0", "--poll", "1s"]
        self._processes.start("hub", [*EDGECTL, *arguments], self._env)
        deadline = time.monotonic() + HUB_TIMEOUT_S
        while not ready.exists():
            self.check()
            if time.monotonic() > deadline:
                raise ProviderError(f"the hub is not up after {HUB_TIMEOUT_S:.0f} s")
            time.sleep(0.05)
        address: dict[str, str | int] = msgspec.json.decode(ready.read_bytes())
        return str(address["url"])

    def _start_device(self, device: VirtualDevice) -> RunningDevice:
        folder = self._folder / "devices" / device.name
        add_device(
            device.name,
            device.target,
            device.hardware,
            folder=folder,
            project=self._project,
            env=self._env,
        )
        file = folder / "device.toml"
        port = settle_device(file, folder / "state")
        agent = [sys.executable, "-m", "edge_components.agent.main", "run", "--config", str(file)]
        self._processes.start(device.name, agent, self._env)
        return RunningDevice(
            name=device.name,
            target=device.target,
            hardware=device.hardware,
            url=f"http://127.0.0.1:{port}",
            state_dir=str(folder / "state"),
        )

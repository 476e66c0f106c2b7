"""Starting the hub, enrolling devices through the command line, and running their agents."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import msgspec

from edgectl.api import Project, ProviderError, Record
from edgectl.emulation import (
    DEFAULT_HARDWARE,
    EDGECTL,
    Processes,
    add_device,
    settle_device,
)
from edgectl_selfhosted.emulator.crowd.enroll import add_crowd, crowd_tags

HUB_TIMEOUT_S = 30.0
CROWD_MODULE = "edgectl_selfhosted.emulator.crowd"
CROWD_READY = '"connected"'
CROWD_TIMEOUT_S = 60.0
CROWD_DEVICE_S = 0.02


class VirtualDevice(Record, frozen=True, kw_only=True):
    """A device to start: its name, its target and its hardware profile."""

    name: str
    target: str
    hardware: str


class Crowd(Record, frozen=True, kw_only=True):
    """Devices that only pretend to run a release, all in one process.

    Attributes:
        failing: How many of them fail every release.
    """

    size: int
    target: str
    failing: int = 0


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

    def __init__(self, folder: Path, project: Project) -> None:
        self._folder = folder.absolute()
        self._project = project
        self._processes = Processes(self._folder / "logs")
        self._env = dict(os.environ)

    def start(
        self, devices: tuple[VirtualDevice, ...], crowds: tuple[Crowd, ...] = ()
    ) -> FleetInfo:
        """Start the hub, enroll the devices and start their agents, and crowds after them.

        Raises:
            ProviderError: A program does not come up; its last lines are in the message.
        """
        for crowd in crowds:
            crowd_tags(self._project.target(crowd.target), DEFAULT_HARDWARE)
        url = self._start_hub()
        settings = {
            "EDGECTL_HUB_URL": url,
            "EDGECTL_HUB_PASSWORD_FILE": str(self._folder / "hub" / "admin-password"),
        }
        self._env.update(settings)
        running = tuple(self._start_device(device) for device in devices)
        for number, crowd in enumerate(crowds, 1):
            self._start_crowd(number, crowd, url)
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
            project=self._project.path.absolute(),
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

    def _start_crowd(self, number: int, crowd: Crowd, url: str) -> None:
        target = self._project.target(crowd.target)
        hardware = target.hardware or DEFAULT_HARDWARE
        name = f"crowd{number}"
        folder = self._folder / name
        password = (self._folder / "hub" / "admin-password").read_text().strip()
        width = len(str(crowd.size))
        add_crowd(
            url,
            ("admin", password),
            folder,
            names=[f"{target.name}-{name}-{n:0{width}}" for n in range(1, crowd.size + 1)],
            tags=crowd_tags(target, hardware),
        )
        command = [sys.executable, "-m", CROWD_MODULE, "--folder", str(folder), "--hub", url]
        command += ["--hardware", hardware, "--failing", str(crowd.failing)]
        self._processes.start(name, command, self._env)
        deadline = time.monotonic() + CROWD_TIMEOUT_S + crowd.size * CROWD_DEVICE_S
        while CROWD_READY not in self._processes.log_tail(name):
            self.check()
            if time.monotonic() > deadline:
                raise ProviderError(f"'{name}' is not up: {self._processes.log_tail(name)}")
            time.sleep(0.1)

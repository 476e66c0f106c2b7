"""What runs modules: the words that an engine and the agent share, and how an engine is chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from edgectl.api import Record
from edgectl_azure_iot_edge.emulator.edge.faults import FaultFile
from edgectl_azure_iot_edge.emulator.edge.images import Image, Images
from edgectl_azure_iot_edge.emulator.edge.options import Options
from edgectl_azure_iot_edge.emulator.edge.records import ModuleSpec, RuntimeStatus

STOP_GRACE_S = 10.0


class EngineError(Exception):
    """A container cannot be made or started; in Docker's words."""


class Container(Record, frozen=True, kw_only=True):
    """A module's container.

    Attributes:
        state: ``created`` until its first start.
        exit_code: As a shell has it: 128 and the signal's number for one that was killed.
        was_stopped: Whether it ended because it was asked to.
    """

    spec: ModuleSpec
    image_id: str
    state: Literal["created", "running", "exited"] = "created"
    exit_code: int = 0
    started_at: float = 0.0
    exited_at: float = 0.0
    was_stopped: bool = False

    @property
    def status(self) -> RuntimeStatus:
        """What it means to the agent: only exit code 0 is a good end of its own."""
        if self.state == "running":
            return RuntimeStatus.RUNNING
        is_bad = self.exit_code and not self.was_stopped
        return RuntimeStatus.FAILED if is_bad else RuntimeStatus.STOPPED


class Making(Record, frozen=True, kw_only=True):
    """All that a container is made from.

    Attributes:
        env: What the runtime itself sets (``IOTEDGE_…``); it wins over all others.
        binds: What the runtime itself binds: source and target.
    """

    spec: ModuleSpec
    image: Image
    options: Options
    env: Mapping[str, str]
    binds: tuple[tuple[str, str], ...] = ()

    @property
    def environment(self) -> dict[str, str]:
        """All variables: the image's, the deployment's, the runtime's."""
        found: dict[str, str] = {}
        for entry in (*self.image.env, *self.options.env):
            name, _, value = entry.partition("=")
            found[name] = value
        return {**found, **self.spec.env, **self.env}

    @property
    def command(self) -> list[str]:
        """Entry point and command, as Docker puts them together."""
        entrypoint = self.options.entrypoint
        if entrypoint is None:
            command = self.options.command
            entrypoint = self.image.entrypoint
            given = self.image.command if command is None else command
        else:  # another entry point takes the image's command away
            given = self.options.command or ()
        return [*entrypoint, *given]


@dataclass(frozen=True, kw_only=True)
class Premises:
    """Where an engine works.

    Attributes:
        folder: Keeps what it made.
        root: The virtual device's own files: ``/etc/x`` of the device is ``root/etc/x``.
        changed: Called when a module has ended by itself.
        address: The device's own address on this machine, for ports that are forwarded.
    """

    folder: Path
    root: Path
    images: Images
    faults: FaultFile
    changed: Callable[[], None]
    address: str = "127.0.0.1"


class Engine(Protocol):
    """Runs containers; what it knows outlives the device's process."""

    def describe(self) -> str:
        """Return how modules run here, for whoever asks what this is worth."""

    def containers(self) -> dict[str, Container]:
        """Return every container by its module's name."""

    def create(self, making: Making) -> None:
        """Make a container.

        Raises:
            EngineError: It cannot be made.
        """

    def start(self, name: str) -> None:
        """Start a container; one that runs is left alone.

        Raises:
            EngineError: It cannot be started.
        """

    def stop(self, name: str, grace_s: float = STOP_GRACE_S) -> None:
        """Ask a container to end, and kill it after a grace."""

    def remove(self, name: str) -> None:
        """Remove a container that does not run."""

    def log(self, name: str) -> bytes:
        """Return what a container printed."""

    def close(self) -> None:
        """Let go of what is watched; nothing is stopped."""


def host_path(root: Path, source: str) -> Path:
    """Return where a path or volume of the virtual device lies on this machine."""
    if source.startswith("/"):
        return root / source.lstrip("/")
    return root / "var" / "lib" / "docker" / "volumes" / source

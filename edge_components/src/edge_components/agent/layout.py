"""Where the agent keeps things below the device's ``state_dir``, and how it starts the runtime."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from edge_components.agent.control import socket_argument
from edge_components.contract.device import DeviceConfig
from edge_components.update.record import Installed

RUNTIME = (sys.executable, "-m", "edge_components.runtime.main")
ORPHAN_GRACE_S = 60


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """Paths of one device."""

    state_dir: Path

    @property
    def store(self) -> Path:
        """The updater's store."""
        return self.state_dir / "store"

    @property
    def runtime(self) -> Path:
        """The runtime's own state, for example its telemetry queue."""
        return self.state_dir / "runtime"

    @property
    def control_socket(self) -> Path:
        """The runtime's control socket."""
        return self.state_dir / "runtime.sock"

    @property
    def agent_socket(self) -> Path:
        """The agent's own socket, for people at the device."""
        return self.state_dir / "agent.sock"


def layout_of(config: DeviceConfig) -> Layout:
    """Return the paths of the configured device."""
    return Layout(state_dir=Path(config.device.state_dir).absolute())


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """How the runtime is started on this device.

    Attributes:
        program: Its command, without arguments.
        config_path: Handed on for what the agent does not decide, for example telemetry.
    """

    program: tuple[str, ...]
    config: DeviceConfig
    config_path: Path
    layout: Layout

    def command(self, version: Installed, folder: Path) -> list[str]:
        """Return the command line that serves ``version`` from ``folder``."""
        supervised = ["--parent-pipe", "--orphan-grace", str(ORPHAN_GRACE_S)]
        return [*self.foreground(version, folder), *supervised]

    def foreground(self, version: Installed | None, folder: Path | None) -> list[str]:
        """Return the command line for a supervisor that is not the agent.

        Args:
            version: What to serve from the start; None for nothing.
            folder: Where it lies.
        """
        runtime = self.config.runtime
        first: list[str] = []
        if version is not None and folder is not None:
            first = ["--version-dir", str(folder), "--precision", version.precision]
        return [
            *self.program,
            "serve",
            *first,
            *("--host", runtime.host),
            *("--port", str(runtime.port)),
            *("--control-socket", socket_argument(self.layout.control_socket)),
            *("--hardware", self.config.device.hardware),
            *("--state-dir", str(self.layout.runtime)),
            *("--config", str(self.config_path)),
        ]

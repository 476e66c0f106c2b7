"""The runtime for a supervisor that knows nothing of versions: it serves what the record names.

The process becomes the runtime, so the supervisor watches the runtime itself.
"""

from __future__ import annotations

import os
from pathlib import Path

from edge_components.agent.config import load_config
from edge_components.agent.layout import RUNTIME, Launch, layout_of
from edge_components.store.disk import Disk
from edge_components.store.store import read_record
from edge_components.store.versions import Versions
from edge_components.update.record import Installed


def serve(config_path: Path) -> int:
    """Become the runtime; returns only by an exception.

    Raises:
        ContractError: The configuration cannot be used.
        StoreError: The device's record cannot be read.
    """
    command, folder = serving_command(config_path)
    os.chdir(folder)
    os.execv(command[0], command)  # noqa: S606 - our own program, no shell wanted


def serving_command(
    config_path: Path, program: tuple[str, ...] = RUNTIME
) -> tuple[list[str], Path]:
    """Return the runtime's command line, and the folder to start it in.

    It serves the active version; if that is damaged, the newest one that is whole; on a new
    device none, until ``apply`` brings one.
    """
    config, _profile = load_config(config_path)
    layout = layout_of(config)
    layout.runtime.mkdir(parents=True, exist_ok=True, mode=0o700)
    versions = Versions(layout.store / "versions", Disk())
    kept = read_record(layout.store).kept()
    version: Installed | None = next((v for v in kept if versions.is_whole(v)), None)
    launch = Launch(
        program=program, config=config, config_path=config_path.absolute(), layout=layout
    )
    folder = None if version is None else versions.path(version.number)
    return launch.foreground(version, folder), layout.state_dir

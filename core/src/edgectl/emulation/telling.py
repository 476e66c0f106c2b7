"""What an emulator says once it is up: settings for a shell, notes, and JSON for a program."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

import msgspec


class HasSettings(Protocol):
    """What runs, as a msgspec struct."""

    @property
    def env(self) -> Mapping[str, str]:
        """What commands need in their environment to reach it."""


def tell(running: HasSettings, notes: Iterable[str], file: Path | None) -> None:
    """Print the settings so that a shell reads them as they are, and notes as comments.

    Args:
        running: What runs.
        notes: A line each.
        file: Takes all of it as JSON, at once whole; only its owner reads it, as keys are in it.
    """
    lines = [f"export {name}={shlex.quote(value)}" for name, value in running.env.items()]
    lines += [f"# {note}" for note in notes]
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()
    if file is not None:
        part = file.with_name(file.name + ".part")
        part.unlink(missing_ok=True)
        part.touch(mode=0o600)
        part.write_bytes(msgspec.json.encode(running))
        part.replace(file)

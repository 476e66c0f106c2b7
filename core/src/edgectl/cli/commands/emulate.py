"""``edgectl emulate``."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import click

from edgectl.errors import UnsupportedError
from edgectl.rehearsal.emulators import GROUP


class EmulatorGroup(click.Group):
    """One sub-command a provider that ships an emulator; imported when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the installed emulators' names."""
        del ctx
        return sorted(metadata.entry_points(group=GROUP).names)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import an emulator's command.

        Raises:
            UnsupportedError: No installed provider of that name ships an emulator.
        """
        found: Any = tuple(metadata.entry_points(group=GROUP, name=cmd_name))
        if found:
            loaded: click.Command = found[0].load()
            return loaded
        known = ", ".join(self.list_commands(ctx)) or "none"
        raise UnsupportedError(
            f"no emulator is installed for provider '{cmd_name}'",
            hint=f"installed emulators: {known}",
        )


@click.group(cls=EmulatorGroup)
def emulate() -> None:
    """Start a provider's emulator with virtual devices on this machine.

    The virtual devices run the real edge components: what is deployed to them really answers.
    """

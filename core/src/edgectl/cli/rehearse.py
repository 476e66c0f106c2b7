"""``--emulate``: a command against emulators that live as long as it does.

The command itself is the same: it plans, rolls out, judges and exits as it does against the real
thing. What differs is said first: which of the shell's variables are ignored, and where the
emulators are. Journal and providers' own notes go to the rehearsal's folder, because the
project's journal tells what happened to the real fleet.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from edgectl.cli.app import App
from edgectl.durations import parse_duration
from edgectl.rehearsal.emulators import Emulators, settings_text
from edgectl.rehearsal.loopback import FENCE, fence
from edgectl.rehearsal.surroundings import foreign

if TYPE_CHECKING:
    from edgectl.project.load import Project

SETTINGS = "settings.sh"


@contextlib.contextmanager
def rehearsal(
    app: App, project: Project, providers: Iterable[str], *, devices: int, keep: bool
) -> Iterator[None]:
    """Start emulators, let the command meet nothing else, and stop them in the end.

    Args:
        app: The command's.
        project: Whose targets are rehearsed.
        providers: Whose emulators are needed.
        devices: Virtual devices a target.
        keep: Leave the emulators running when the command has ended by itself.

    Raises:
        ProviderError: An emulator does not come up.
    """
    wanted = sorted(set(providers))
    _leave_out(app, project)
    with _interruptible():
        folder = Path(tempfile.mkdtemp(prefix="edgectl-rehearsal-"))
        fence(folder)
        emulators = Emulators(folder, os.environ, keep=keep)
        left = False
        try:
            app.out.progress(f"rehearsing with emulators in {folder}")
            emulators.start(wanted, project.path, devices)
            env = emulators.wait(app.out.progress)
            os.environ.update(env)
            yield
            left = keep
            if keep:
                _tell(app, folder, {**env, FENCE: str(folder)}, emulators)
        finally:
            _deaf()
            if not left:
                app.out.progress("stopping the emulators")
                emulators.stop()
                shutil.rmtree(folder, ignore_errors=True)


def soak_limit(written: str | None) -> float | None:
    """Read ``--soak``."""
    if written is None:
        return None
    try:
        return parse_duration(written)
    except ValueError as exc:
        raise click.BadParameter(str(exc), param_hint="--soak") from exc


def _leave_out(app: App, project: Project) -> None:
    left_out = foreign(os.environ, project.spec.providers)
    for name in left_out:
        del os.environ[name]
    if left_out:
        app.out.note(f"ignored, as this is a rehearsal: {', '.join(left_out)}")


def _tell(app: App, folder: Path, env: dict[str, str], emulators: Emulators) -> None:
    file = folder / SETTINGS
    file.touch(mode=0o600)
    file.write_text(settings_text(env))
    pids = " ".join(str(emulator.pid) for emulator in emulators.running)
    app.out.note(f"the emulators go on; look around in a shell after `. {file}`")
    app.out.note(f"  `kill {pids}` stops them and their devices; `rm -r {folder}` tidies up")


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM end the command as Ctrl-C does, so that it tidies up."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise KeyboardInterrupt


def _deaf() -> None:
    """A second Ctrl-C must not keep the emulators from being stopped."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

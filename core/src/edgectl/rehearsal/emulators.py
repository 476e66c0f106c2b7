"""Emulators for one command: started side by side, waited for, and stopped whatever happens.

Each is ``edgectl emulate PROVIDER`` as a process of its own, out of reach of the terminal's
Ctrl-C, so that it is always this process that ends it. Where this one is killed, the end of
their standard input tells them.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from edgectl.errors import ProviderError, UnsupportedError
from edgectl.interrupts import held_back

GROUP = "edgectl.emulators"
UP_TIMEOUT_S = 300.0
STOP_GRACE_S = 60.0
_LOOK_S = 0.1


class Emulator:
    """A provider's emulator that was started.

    Attributes:
        env: What everybody needs in the environment who talks to it, once it is up.
        places: Where its devices are, for people.
    """

    def __init__(self, provider: str, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.provider = provider
        self.env: dict[str, str] = {}
        self.places: tuple[str, ...] = ()
        self._process = process
        self._folder = folder

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def is_up(self) -> bool:
        """Whether it can be used now.

        Raises:
            ProviderError: It ended; what it said last is in the message.
        """
        file = info_file(self._folder, self.provider)
        if not file.exists():
            if self._process.poll() is not None:
                raise ProviderError(
                    f"the emulator of provider '{self.provider}' did not come up:\n"
                    + log_tail(self._folder, self.provider)
                )
            return False
        info: dict[str, Any] = msgspec.json.decode(file.read_bytes())
        self.env = info["env"]
        self.places = tuple(_places(info))
        return True

    def end(self) -> None:
        """Ask it to stop."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    def wait(self, timeout_s: float) -> None:
        """Wait until it has stopped all that it started; after the time it is killed."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()


class Emulators:
    """The emulators of one rehearsal.

    Args:
        folder: Takes a folder and a log for each.
        environment: What they start with.
        keep: Whether they are to outlive this process.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], *, keep: bool) -> None:
        self._folder = folder
        self._environment = dict(environment)
        self._keep = keep
        self.running: list[Emulator] = []

    def start(self, providers: Iterable[str], project: Path, devices: int) -> None:
        """Start the emulators of some providers, each with virtual devices for its targets."""
        for name in providers:
            arguments = command(name, project, devices)
            arguments += ["--dir", str(self._folder / name)]
            arguments += ["--info", str(info_file(self._folder, name))]
            arguments += [] if self._keep else ["--stop-on-eof"]
            with (self._folder / f"{name}.log").open("wb") as log, held_back():
                process = subprocess.Popen(
                    [sys.executable, "-m", "edgectl.cli.main", *arguments],
                    env=self._environment,
                    stdin=subprocess.DEVNULL if self._keep else subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
                self.running.append(Emulator(name, process, self._folder))

    def wait(self, say: Callable[[str], None]) -> dict[str, str]:
        """Wait until all are up; return the variables by which they are reached.

        Raises:
            ProviderError: One did not come up, or two need one variable for themselves.
        """
        deadline = time.monotonic() + UP_TIMEOUT_S
        found: dict[str, str] = {}
        for emulator in self.running:
            while not emulator.is_up():
                if time.monotonic() > deadline:
                    raise ProviderError(
                        f"the emulator of provider '{emulator.provider}' is not up after "
                        f"{UP_TIMEOUT_S:.0f} s:\n" + log_tail(self._folder, emulator.provider)
                    )
                time.sleep(_LOOK_S)
            twice = sorted(found.keys() & emulator.env.keys())
            if twice:
                raise ProviderError(
                    f"two emulators set the variable '{twice[0]}'",
                    hint="rehearse them one at a time: --provider NAME",
                )
            found |= emulator.env
            say(f"provider '{emulator.provider}' is emulated by process {emulator.pid}")
            for place in emulator.places:
                say(f"  {place}")
        return found

    def stop(self) -> None:
        """Stop all, side by side, and all that they started."""
        for emulator in self.running:
            emulator.end()
        deadline = time.monotonic() + STOP_GRACE_S
        for emulator in self.running:
            emulator.wait(max(deadline - time.monotonic(), 0.1))
        self.running.clear()


def check_emulated(providers: Iterable[str]) -> None:
    """Check that each provider has an emulator here.

    Raises:
        UnsupportedError: One has none.
    """
    installed = sorted(metadata.entry_points(group=GROUP).names)
    for name in providers:
        if name not in installed:
            known = ", ".join(installed) or "none"
            raise UnsupportedError(
                f"no emulator is installed for provider '{name}'",
                hint=f"installed emulators: {known}; --provider and --target leave targets out",
            )


def command(provider: str, project: Path, devices: int) -> list[str]:
    """Return the arguments of ``edgectl`` that start a provider's emulator."""
    return ["emulate", provider, "--project", str(project), "--devices", str(devices)]


def settings_text(env: Mapping[str, str]) -> str:
    """Return variables as a file that a shell reads."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in env.items())


def info_file(folder: Path, provider: str) -> Path:
    """Return where an emulator writes what it is, once it is up."""
    return folder / f"{provider}.json"


def log_tail(folder: Path, provider: str, lines: int = 15) -> str:
    """Return what an emulator said last."""
    text = (folder / f"{provider}.log").read_text(errors="replace")
    return "\n".join(text.splitlines()[-lines:])


def _places(info: Mapping[str, Any]) -> Iterable[str]:
    """Say where devices answer: what every emulator tells of them, whatever else it tells."""
    for device in info.get("devices", ()):
        yield f"device {device['name']} ({device['target']}) answers at {device['url']}"
    for cluster in info.get("clusters", ()):
        for node in cluster["nodes"]:
            yield f"device {node['device']} answers at {node['address']}"

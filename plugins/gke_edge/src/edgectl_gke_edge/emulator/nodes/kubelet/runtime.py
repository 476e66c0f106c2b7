"""Containers as processes: started through the shim, found again after a restart, ended.

The shim outlives this process. What it leaves in the container's folder is all that is known of a
container, so a node that starts again knows as much as before.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from edgectl_gke_edge.emulator.nodes.kubelet import shim
from edgectl_gke_edge.emulator.nodes.kubelet.rootfs import Root, Step, plan

_SHIM = (sys.executable, "-I", "-S", str(Path(shim.__file__)))
_KILLED = 137

Left = TypeVar("Left", bound=msgspec.Struct)


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """What the shim is told.

    Attributes:
        uid: The user that the program runs as, in its own name space.
        steps: How its root is put together.
        memory: The limit in bytes; 0 for none.
    """

    argv: list[str]
    env: dict[str, str]
    cwd: str
    uid: int
    gid: int
    hostname: str
    steps: list[Step]
    log: str
    readonly: bool = False
    no_new_privileges: bool = False
    memory: int = 0


class State(msgspec.Struct, frozen=True, kw_only=True):
    """``state.json``: a container that was started."""

    shim: int
    pid: int
    start: int
    at: float


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """``exit.json``: how a container ended.

    Attributes:
        error: Why it could not be started, or "".
        oom: Whether it used more memory than it may.
    """

    code: int
    signal: int = 0
    at: float = 0.0
    started: float = 0.0
    error: str = ""
    oom: bool = False


class Process:
    """One start of one container.

    Args:
        folder: Where the shim finds what to do and leaves what happened.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def state(self) -> State | None:
        """What is known of it since it runs; None before."""
        return _read(self.folder / "state.json", State)

    @property
    def exit(self) -> Exit | None:
        """How it ended; None while it has not."""
        return _read(self.folder / "exit.json", Exit)

    async def start(self, spec: Spec, root: Root) -> None:
        """Start it; returns once its program runs or could not be started (see ``exit``)."""
        steps = await asyncio.to_thread(plan, root)
        self.folder.mkdir(parents=True, exist_ok=True)
        whole = msgspec.structs.replace(spec, steps=steps)
        (self.folder / "spec.json").write_bytes(msgspec.json.encode(whole))
        process = self._launch()
        watch = asyncio.create_task(_ended(process.pid))
        try:
            while self.state is None and not watch.done():
                await asyncio.wait([watch], timeout=0.02)
        finally:
            watch.cancel()
            _reap_later(process)

    def _launch(self) -> subprocess.Popen[bytes]:
        with (self.folder / "shim.log").open("ab") as log:
            return subprocess.Popen(
                [*_SHIM, str(self.folder / "spec.json")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={},
                cwd="/",
            )

    async def wait(self) -> Exit:
        """Wait until it has ended; return how."""
        while True:
            if (found := self.exit) is not None:
                return found
            state = self.state
            if state is None or not _is_alive(state.shim, state.start):
                # The shim was killed; its container ended with it.
                return self.exit or Exit(code=_KILLED, signal=int(signal.SIGKILL))
            await _ended(state.shim)

    def is_running(self) -> bool:
        """Return whether it runs."""
        state = self.state
        return state is not None and self.exit is None and _is_alive(state.shim, state.start)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the container's program."""
        state = self.state
        if state is not None and self.is_running():
            with contextlib.suppress(ProcessLookupError):
                os.kill(state.pid, number)

    async def execute(self, argv: list[str], timeout_s: float) -> tuple[int, str]:
        """Run a program in the container; return its exit code and the end of its output.

        Raises:
            TimeoutError: It took too long, and was killed.
        """
        state = self.state
        if state is None or not self.is_running():
            return 126, "the container does not run"
        process = await asyncio.create_subprocess_exec(
            *_SHIM,
            "exec",
            str(state.pid),
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            output, _ = await asyncio.wait_for(process.communicate(), timeout_s)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            raise
        return process.returncode or 0, output[-1024:].decode(errors="replace")


def last_attempt(folder: Path) -> int:
    """Return the number of a container's last start, -1 before the first."""
    numbers = [int(one.name) for one in folder.glob("*") if one.name.isdecimal()]
    return max(numbers, default=-1)


def end_all(folder: Path) -> None:
    """Kill every container below a folder, whoever started it."""
    for spec in folder.rglob("containers/*/*/spec.json"):
        Process(spec.parent).send(signal.SIGKILL)


def can_isolate(scratch: Path) -> str:
    """Try a container; return why this machine allows none, or ""."""
    folder = scratch / "probe"
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("*.json"):
        stale.unlink()
    empty = folder / "image"
    empty.mkdir(exist_ok=True)
    steps = plan(Root(image=str(empty), over_host=True))
    spec = Spec(
        argv=["true"],
        env={"PATH": os.defpath},
        cwd="/",
        uid=10001,
        gid=10001,
        hostname="probe",
        steps=steps,
        log=str(folder / "log"),
    )
    (folder / "spec.json").write_bytes(msgspec.json.encode(spec))
    command = [*_SHIM, str(folder / "spec.json")]
    subprocess.run(command, capture_output=True, timeout=60, check=False)
    found = Process(folder).exit
    if found is None:
        return "the program that starts containers ended without a word"
    return found.error or ("" if found.code == 0 else f"'true' ended with {found.code}")


def _is_alive(pid: int, start: int) -> bool:
    """Return whether that very process runs: a number is given again to others."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return words[0] != "Z" and int(words[19]) == start


async def _ended(pid: int) -> None:
    """Wait for the end of any process, a child or not."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(handle, done.set)
    try:
        await done.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)


_CHILDREN: list[subprocess.Popen[bytes]] = []


def _reap_later(process: subprocess.Popen[bytes]) -> None:
    """Keep a child until it has ended, so that its number is free then."""
    _CHILDREN.append(process)
    for child in [one for one in _CHILDREN if one.poll() is not None]:
        _CHILDREN.remove(child)


def _read(path: Path, kind: type[Left]) -> Left | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None


def user_of(pod_security: Mapping[str, object], own: Mapping[str, object], image_user: str) -> str:
    """Return the user that a container runs as, as the first that says so has it."""
    for place in (own, pod_security):
        if place.get("runAsUser") is not None:
            return str(place["runAsUser"])
    return image_user.split(":", maxsplit=1)[0] or "0"

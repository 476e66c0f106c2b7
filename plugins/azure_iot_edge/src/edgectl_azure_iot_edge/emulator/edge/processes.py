"""Runs modules as processes of this machine, for where there is no container engine.

The image is really pulled and unpacked. A module whose image brings its entry point runs in the
image's own file tree; one whose image does not (edgectl's base image in an emulator names
``edge-module`` and brings nothing) is lent this machine's programs, and sees the image's files and
its binds at their paths. Both need namespaces; where this user may have none, paths of binds are
replaced in arguments, variables and small configuration files instead, and a warning says so.
Modules share the machine's network (a port binding to another port is forwarded), its processes and
its user.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import msgspec

from edgectl.api import Record
from edgectl_azure_iot_edge.emulator.edge import box, lending
from edgectl_azure_iot_edge.emulator.edge.containers import (
    STOP_GRACE_S,
    Container,
    EngineError,
    Making,
    Premises,
    host_path,
)
from edgectl_azure_iot_edge.emulator.edge.forward import Forwards
from edgectl_azure_iot_edge.emulator.edge.images import Image
from edgectl_azure_iot_edge.emulator.edge.mapped import PathMap
from edgectl_azure_iot_edge.emulator.edge.options import Options
from edgectl_azure_iot_edge.emulator.edge.pulling import PullError
from edgectl_azure_iot_edge.emulator.edge.records import ModuleSpec

log = logging.getLogger(__name__)

POWER_CUT = 137


class _Saved(Record, frozen=True, kw_only=True):
    """A container as it stands on the disk."""

    container: Container
    spec: ModuleSpec
    image: Image
    options: Options
    env: dict[str, str]
    binds: tuple[tuple[str, str], ...]
    pid: int = 0
    began: str = ""


class ProcessEngine:
    """Modules as processes.

    Args:
        premises: Where.
        boxed: Whether to make file trees; None tries whether this user may.
    """

    def __init__(self, premises: Premises, *, boxed: bool | None = None) -> None:
        self._folder = folder = premises.folder
        self._root = premises.root
        self._images = premises.images
        self._faults = premises.faults
        self._changed = premises.changed
        self._boxed = box.can_box() if boxed is None else boxed
        self._lock = threading.RLock()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._forwards = Forwards(premises.address)
        self._asked: set[str] = set()
        folder.mkdir(parents=True, exist_ok=True)
        self._saved = self._read()
        if not self._boxed:
            log.warning("no namespaces for this user: paths of binds are replaced in texts")

    def describe(self) -> str:
        """Return how modules run here."""
        how = "in file trees of their own" if self._boxed else "with replaced paths"
        return f"processes of this machine {how}"

    def containers(self) -> dict[str, Container]:
        """Return every container."""
        with self._lock:
            return {name: saved.container for name, saved in self._saved.items()}

    def create(self, making: Making) -> None:
        """Make a container.

        Raises:
            EngineError: There is one of the name, the image has no command, or a bind no source.
        """
        name = making.spec.name
        with self._lock:
            if name in self._saved:
                raise EngineError(f'Conflict. The container name "/{name}" is already in use')
        if not making.command:
            raise EngineError("No command specified")
        for bind in making.options.binds:
            source = host_path(self._root, bind.source)
            if bind.make and not source.exists():
                source.mkdir(parents=True)
            elif not source.exists():
                raise EngineError(
                    'invalid mount config for type "bind": bind source path does not exist:'
                    f" {bind.source}"
                )
        try:
            self._images.unpack(making.image)
        except PullError as exc:
            raise EngineError(str(exc)) from exc
        shutil.rmtree(self._place(name), ignore_errors=True)
        self._place(name).mkdir(parents=True)
        container = Container(spec=making.spec, image_id=making.image.image_id)
        self._save(
            name,
            _Saved(
                container=container,
                spec=making.spec,
                image=making.image,
                options=making.options,
                env=dict(making.env),
                binds=making.binds,
            ),
        )

    def start(self, name: str) -> None:
        """Start a container.

        Raises:
            EngineError: There is none, its program is not there, or a port is taken.
        """
        with self._lock:
            saved = self._saved.get(name)
            if saved is None:
                raise EngineError(f"No such container: {name}")
            if name in self._processes:
                return
            self._forwards.open(name, saved.options.ports)
            try:
                process = self._spawn(name, saved)
            except OSError as exc:
                self._forwards.close(name)
                raise EngineError(f"failed to create task for container: {exc}") from exc
            self._processes[name] = process
            now = self._faults.clock()
            container = msgspec.structs.replace(saved.container, state="running", started_at=now)
            began = _started_at(process.pid)
            self._save(
                name,
                msgspec.structs.replace(saved, container=container, pid=process.pid, began=began),
            )
        threading.Thread(target=self._watch, args=(name, process), daemon=True).start()

    def stop(self, name: str, grace_s: float = STOP_GRACE_S) -> None:
        """End a container, as ``docker stop``: its first process is asked, all are killed."""
        with self._lock:
            process = self._processes.get(name)
        if process is None:
            return
        self._asked.add(name)
        _signal(process.pid, signal.SIGTERM, group=False)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace_s)
        _signal(process.pid, signal.SIGKILL, group=True)
        process.wait()
        self._ended(name, process)
        self._asked.discard(name)

    def remove(self, name: str) -> None:
        """Remove a container."""
        self.stop(name)
        with self._lock:
            self._saved.pop(name, None)
        shutil.rmtree(self._place(name), ignore_errors=True)

    def log(self, name: str) -> bytes:
        """Return what a container printed."""
        try:
            return (self._place(name) / "log").read_bytes()
        except FileNotFoundError:
            return b""

    def close(self) -> None:
        """Close the ports that are forwarded."""
        self._forwards.close_all()

    def _place(self, name: str) -> Path:
        return self._folder / name

    def _spawn(self, name: str, saved: _Saved) -> subprocess.Popen[bytes]:
        making = Making(
            spec=saved.spec,
            image=saved.image,
            options=saved.options,
            env=saved.env,
            binds=saved.binds,
        )
        tree = self._images.unpack(saved.image)
        command = making.command
        env = making.environment
        is_own = self._boxed and lending.brings(tree, command[0], env)
        if not is_own:
            command, env = lending.lent(command, env)
        binds = [
            (host_path(self._root, bind.source), bind.target, bind.read_only)
            for bind in saved.options.binds
        ] + [(Path(source), target, False) for source, target in saved.binds]
        folder = saved.options.folder or saved.image.folder or "/"
        place = self._place(name)
        if self._boxed:
            stage = place / "stage"
            stage.mkdir(exist_ok=True)
            root = self._own_tree(place, tree) if is_own else None
            if not is_own:
                binds = [*lending.files_of(tree), *binds]
            line = box.arguments(stage, root, binds, command)
            env["PWD"] = folder
        else:
            mapping = PathMap(place / "mapped", [*lending.files_of(tree), *binds])
            line = [mapping.text(word) for word in command]
            env = {key: mapping.text(value) for key, value in env.items()}
        with (place / "log").open("ab") as output:
            return subprocess.Popen(
                line,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _own_tree(self, place: Path, tree: Path) -> Path:
        """Return the container's own, writable copy of its image's files."""
        root = place / "root"
        if not root.exists():
            part = place / "root.part"
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(tree, part, symlinks=True)
            part.replace(root)
        return root

    def _watch(self, name: str, process: subprocess.Popen[bytes]) -> None:
        crash_s = self._faults.now.crash_after_s.get(name)
        if crash_s is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(crash_s)
            _signal(process.pid, signal.SIGKILL, group=True)
        process.wait()
        if self._ended(name, process):
            self._changed()

    def _ended(self, name: str, process: subprocess.Popen[bytes]) -> bool:
        with self._lock:
            saved = self._saved.get(name)
            if self._processes.get(name) is not process or saved is None:
                return False
            del self._processes[name]
            _signal(process.pid, signal.SIGKILL, group=True)
            self._forwards.close(name)
            code = process.returncode if process.returncode >= 0 else 128 - process.returncode
            container = msgspec.structs.replace(
                saved.container,
                state="exited",
                exit_code=code,
                exited_at=self._faults.clock(),
                was_stopped=name in self._asked,
            )
            self._save(name, msgspec.structs.replace(saved, container=container, pid=0, began=""))
            return True

    def _save(self, name: str, saved: _Saved) -> None:
        with self._lock:
            self._saved[name] = saved
            part = self._place(name) / f"container.{threading.get_ident()}.part"
            part.write_bytes(msgspec.json.encode(saved))
            part.replace(self._place(name) / "container.json")

    def _read(self) -> dict[str, _Saved]:
        """Read what there is; what an earlier process left running is ended as by a power cut."""
        found: dict[str, _Saved] = {}
        for file in sorted(self._folder.glob("*/container.json")):
            name = file.parent.name
            try:
                saved = msgspec.json.decode(file.read_bytes(), type=_Saved)
            except msgspec.DecodeError:
                shutil.rmtree(file.parent, ignore_errors=True)
                continue
            found[name] = saved
        self._saved = found
        for name, saved in found.items():
            if saved.container.state == "running":
                if saved.pid and _started_at(saved.pid) == saved.began:
                    _signal(saved.pid, signal.SIGKILL, group=True)
                container = msgspec.structs.replace(
                    saved.container,
                    state="exited",
                    exit_code=POWER_CUT,
                    exited_at=self._faults.clock(),
                )
                self._save(name, msgspec.structs.replace(saved, container=container, pid=0))
        return found


def _started_at(pid: int) -> str:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rsplit(")", 1)[-1].split()[19]  # proc(5): field 22, starttime


def _signal(pid: int, number: signal.Signals, *, group: bool) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if group:
            os.killpg(pid, number)
        else:
            os.kill(pid, number)

"""Runs modules as containers, through the command line of podman or docker.

The image is the one that the device pulled, handed to the engine as an archive, so that faults of
pulls are the same whatever runs modules. Containers share the machine's network, as the virtual
device's edgeHub is on its loopback; a port binding to another port is forwarded.
"""

from __future__ import annotations

import json
import logging
import shlex
import subprocess
import tarfile
import tempfile
import threading
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec

from edgectl_azure_iot_edge.emulator.edge.containers import (
    STOP_GRACE_S,
    Container,
    EngineError,
    Making,
    Premises,
    host_path,
)
from edgectl_azure_iot_edge.emulator.edge.forward import Forwards
from edgectl_azure_iot_edge.emulator.edge.images import Image, Images
from edgectl_azure_iot_edge.emulator.edge.options import Port
from edgectl_azure_iot_edge.emulator.edge.state import Kept

log = logging.getLogger(__name__)

_TIMEOUT_S = 120.0
_CONTAINERS = "containers"
EXTRA_VARIABLE = "EDGECTL_CONTAINER_OPTIONS"


def works(program: tuple[str, ...]) -> str:
    """Return why an engine cannot be used, "" when it can."""
    try:
        done = subprocess.run(
            [*program, "info"], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        return f"does not answer: {exc}"
    lines = done.stderr.strip().splitlines() or ["no reason given"]
    return "" if done.returncode == 0 else f"does not work: {lines[-1]}"


class CliEngine:
    """Modules as containers.

    Args:
        program: ``podman`` or ``docker``, with options of its own.
        premises: Where.
        extra: Further options of ``create``.
    """

    def __init__(
        self, program: tuple[str, ...], premises: Premises, *, extra: tuple[str, ...] = ()
    ) -> None:
        folder = premises.folder
        self._program = program
        self._root = premises.root
        self._images = premises.images
        self._faults = premises.faults
        self._changed = premises.changed
        self._extra = extra
        self._kept = Kept(folder)
        self._prefix = f"edgectl-{folder.parent.name}"
        self._forwards = Forwards(premises.address)
        self._lock = threading.RLock()
        self._made = self._kept.read(_CONTAINERS, dict[str, _Made], {})

    def describe(self) -> str:
        """Return how modules run here."""
        return f"containers of {self._program[0]}"

    def containers(self) -> dict[str, Container]:
        """Return every container, as the engine sees it now."""
        with self._lock:
            made = dict(self._made)
        return {name: self._seen(name, each) for name, each in made.items()}

    def create(self, making: Making) -> None:
        """Make a container.

        Raises:
            EngineError: The engine refuses it.
        """
        name = making.spec.name
        with self._lock:
            if name in self._made:
                raise EngineError(f'Conflict. The container name "/{name}" is already in use')
        tag = self._load(making.image)
        self._run("rm", "--force", "--ignore", self._name(name), check=False)
        self._run(
            "create", "--name", self._name(name), *self._extra, *_arguments(making, self._root, tag)
        )
        with self._lock:
            self._made[name] = _Made(
                container=Container(spec=making.spec, image_id=making.image.image_id),
                ports=making.options.ports,
            )
            self._kept.write(_CONTAINERS, self._made)

    def start(self, name: str) -> None:
        """Start a container.

        Raises:
            EngineError: The engine refuses it, or a port is taken.
        """
        with self._lock:
            made = self._made.get(name)
        if made is None:
            raise EngineError(f"No such container: {name}")
        if self._seen(name, made).state == "running":
            return
        self._forwards.open(name, made.ports)
        self._note(name, was_stopped=False)
        try:
            self._run("start", self._name(name))
        except EngineError:
            self._forwards.close(name)
            raise
        threading.Thread(target=self._watch, args=(name,), daemon=True).start()

    def stop(self, name: str, grace_s: float = STOP_GRACE_S) -> None:
        """End a container."""
        self._note(name, was_stopped=True)
        self._run("stop", "--time", str(int(grace_s)), self._name(name), check=False)
        self._forwards.close(name)

    def remove(self, name: str) -> None:
        """Remove a container."""
        self._run("rm", "--force", self._name(name), check=False)
        self._forwards.close(name)
        with self._lock:
            self._made.pop(name, None)
            self._kept.write(_CONTAINERS, self._made)

    def log(self, name: str) -> bytes:
        """Return what a container printed."""
        done = subprocess.run(
            [*self._program, "logs", self._name(name)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=_TIMEOUT_S,
        )
        return done.stdout if done.returncode == 0 else b""

    def close(self) -> None:
        """Close the ports that are forwarded."""
        self._forwards.close_all()

    def _note(self, name: str, *, was_stopped: bool) -> None:
        with self._lock:
            made = self._made.get(name)
            if made is not None:
                container = msgspec.structs.replace(made.container, was_stopped=was_stopped)
                self._made[name] = msgspec.structs.replace(made, container=container)
                self._kept.write(_CONTAINERS, self._made)

    def _name(self, module: str) -> str:
        return f"{self._prefix}-{module}"

    def _run(self, *arguments: str, check: bool = True) -> str:
        try:
            done = subprocess.run(
                [*self._program, *arguments],
                capture_output=True,
                text=True,
                check=False,
                timeout=_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired as exc:
            raise EngineError(f"'{self._program[0]} {arguments[0]}' takes too long") from exc
        if check and done.returncode != 0:
            raise EngineError(done.stderr.strip() or f"exit code {done.returncode}")
        return done.stdout

    def _seen(self, name: str, made: _Made) -> Container:
        try:
            (found,) = json.loads(self._run("inspect", self._name(name)))
        except (EngineError, ValueError):
            return made.container
        state: dict[str, Any] = found["State"]
        running = bool(state.get("Running"))
        began = _seconds(state.get("StartedAt"))
        ended = _seconds(state.get("FinishedAt"))
        return msgspec.structs.replace(
            made.container,
            state="running" if running else ("exited" if began else "created"),
            exit_code=int(state.get("ExitCode") or 0),
            started_at=began,
            exited_at=ended,
        )

    def _watch(self, name: str) -> None:
        crash_s = self._faults.now.crash_after_s.get(name)
        if crash_s is not None:
            timer = threading.Timer(
                crash_s, self._run, ("kill", self._name(name)), {"check": False}
            )
            timer.daemon = True
            timer.start()
        subprocess.run([*self._program, "wait", self._name(name)], capture_output=True, check=False)
        self._forwards.close(name)
        self._changed()

    def _load(self, image: Image) -> str:
        """Give the engine an image, from the blobs that the device has; return its name there."""
        tag = f"localhost/edgectl-device:{image.image_id.removeprefix('sha256:')[:32]}"
        if self._has(tag):
            return tag
        with tempfile.TemporaryDirectory() as folder:
            archive = Path(folder) / "image.tar"
            _write_archive(archive, image, self._images, tag)
            self._run("load", "--input", str(archive))
        return tag

    def _has(self, tag: str) -> bool:
        try:
            self._run("image", "inspect", tag)
        except EngineError:
            return False
        return True


def _arguments(making: Making, root: Path, tag: str) -> list[str]:
    """Return the rest of ``create``'s command line; sources of binds are made."""
    options = making.options
    found = ["--network", "host"]
    for key, value in making.environment.items():
        found += ["--env", f"{key}={value}"]
    for bind in options.binds:
        source = host_path(root, bind.source)
        if bind.make and not source.exists():
            source.mkdir(parents=True)
        found += ["--volume", f"{source}:{bind.target}" + (":ro" if bind.read_only else "")]
    for place, target in making.binds:
        found += ["--volume", f"{place}:{target}"]
    places = {"--workdir": options.folder, "--user": options.user}
    places["--memory"] = str(options.memory_bytes or "")
    for flag, text in places.items():
        found += [flag, text] if text else []
    if options.entrypoint is None:
        return [*found, tag, *(options.command or ())]
    words = making.command
    return [*found, "--entrypoint", words[0] if words else "", tag, *words[1:]]


class _Made(msgspec.Struct, frozen=True):
    container: Container
    ports: tuple[Port, ...]


def _write_archive(archive: Path, image: Image, images: Images, tag: str) -> None:
    """Write what ``docker save`` writes."""
    config = f"{image.image_id.removeprefix('sha256:')}.json"
    layers = [f"{digest.removeprefix('sha256:')}/layer.tar" for digest in image.layers]
    manifest = [{"Config": config, "RepoTags": [tag], "Layers": layers}]
    with tarfile.open(archive, "w") as found:
        found.add(images.blob(image.image_id), config)
        for digest, name in zip(image.layers, layers, strict=True):
            found.add(images.blob(digest), name)
        content = json.dumps(manifest).encode()
        entry = tarfile.TarInfo("manifest.json")
        entry.size = len(content)
        found.addfile(entry, BytesIO(content))


def _seconds(text: Any) -> float:
    if not isinstance(text, str) or text.startswith("0001-"):
        return 0.0
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0


def extra_options(text: str) -> tuple[str, ...]:
    """Read further options of ``create`` from a variable's text."""
    return tuple(shlex.split(text))

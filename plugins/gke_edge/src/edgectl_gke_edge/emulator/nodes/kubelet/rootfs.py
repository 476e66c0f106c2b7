"""What a container sees as its root folder: image, mounts, and how to put them together.

Steps are planned here and carried out by ``shim.py`` in the container's own mount name space. An
image of the emulator that says so (by a file ``.edgectl-emulator-host``) lies over this machine's
own folders, read-only: its layers are then small, and its programs the machine's. Any other image
is the whole root, as on a real node.

A folder in which nothing else is mounted is bound as a whole; one with a mount below it is made
anew, with its children bound one by one, because nothing can be mounted where there is no place.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

Step = list[str]

HOST_MARK = ".edgectl-emulator-host"
_OWN = frozenset({"proc", "dev", "sys", "tmp", "run", "mnt", "media", "lost+found"})
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """A folder or file of this machine, and where the container finds it."""

    source: str
    target: str
    readonly: bool = False


class Root(msgspec.Struct, frozen=True, kw_only=True):
    """What a container's root is made of.

    Attributes:
        image: The folder with the image's merged layers.
        over_host: Whether it lies over this machine's own folders.
        mounts: Volumes and files.
        keep: Folders of this machine that are needed wherever they lie, for example where the
            interpreter does.
        readonly: Whether the root itself cannot be written.
    """

    image: str
    over_host: bool
    mounts: tuple[Mount, ...] = ()
    keep: tuple[str, ...] = ()
    readonly: bool = False


def plan(root: Root) -> list[Step]:
    """Return the steps that put a root together, in order.

    Each is ``dir PATH``, ``file PATH``, ``link TARGET PATH``, ``tmpfs PATH``, ``proc PATH`` or
    ``bind``/``bind-ro SOURCE PATH``; paths are relative to the new root.
    """
    sources = [root.image] + (["/"] if root.over_host else [])
    targets = {_clean(mount.target): mount for mount in root.mounts}
    for folder in root.keep:
        if root.over_host and _is_hidden(folder, targets):
            mount = Mount(source=folder, target=folder, readonly=True)
            targets.setdefault(_clean(folder), mount)
    for device in _DEVICES:
        targets.setdefault(f"dev/{device}", Mount(source=f"/dev/{device}", target=""))
    targets.setdefault("sys", Mount(source="/sys", target="", readonly=True))
    planner = _Planner(targets)
    planner.folder("", sources, top=True)
    return planner.steps


def _clean(path: str) -> str:
    return os.path.normpath(path).strip("/")


def _is_hidden(folder: str, targets: dict[str, Mount]) -> bool:
    """Return whether what the root takes of this machine leaves a folder out."""
    clean = _clean(folder)
    if clean.split("/")[0] in _OWN:
        return True
    return any(clean.startswith(target + "/") for target in targets)


class _Planner:
    def __init__(self, targets: dict[str, Mount]) -> None:
        self._targets = targets
        self.steps: list[Step] = []

    def folder(self, path: str, sources: Sequence[str], *, top: bool = False) -> None:
        """Fill the folder ``path``, which was made, from the folders that lie over each other."""
        names: dict[str, list[str]] = {}
        for source in sources:
            for name in _entries(source):
                if not (top and source == "/" and name in _OWN):
                    names.setdefault(name, []).append(str(Path(source, name)))
        below = f"{path}/" if path else ""
        for target in self._targets:
            if target.startswith(below):
                names.setdefault(target[len(below) :].split("/")[0], [])
        for name in ("proc", "dev", "tmp", "run") if top else ():
            names.setdefault(name, [])
        for name, found in sorted(names.items()):
            self._entry(f"{below}{name}", found)

    def _entry(self, path: str, found: list[str]) -> None:
        mount = self._targets.get(path)
        if mount is not None:
            self._mount(path, mount)
        elif path == "proc":
            self.steps += [["dir", path], ["proc", path]]
        elif path == "dev":
            self._dev()
        elif self._has_below(path):
            self.steps.append(["tmpfs" if path in ("tmp", "run") else "dir", path])
            self.folder(path, [one for one in found if Path(one).is_dir()])
        elif path in ("tmp", "run") and not found:
            self.steps.append(["tmpfs", path])
        elif len(found) > 1 and all(_is_plain_dir(one) for one in found):
            self.steps.append(["dir", path])
            self.folder(path, found)
        elif found:
            self._bind(path, found[0])

    def _mount(self, path: str, mount: Mount) -> None:
        self.steps.append(["dir" if Path(mount.source).is_dir() else "file", path])
        self.steps.append(["bind-ro" if mount.readonly else "bind", mount.source, path])
        for target in sorted(self._targets):
            if target.startswith(f"{path}/"):
                # A mount in a mounted folder: the place is made there, as a kubelet does.
                inner = self._targets[target]
                if not os.path.lexists(Path(mount.source, target[len(path) + 1 :])):
                    is_dir = Path(inner.source).is_dir()
                    self.steps.append(["dirs" if is_dir else "file", target])
                verb = "bind-ro" if inner.readonly else "bind"
                self.steps.append([verb, inner.source, target])

    def _bind(self, path: str, name: str) -> None:
        source = Path(name)
        if source.is_symlink():
            self.steps.append(["link", str(source.readlink()), path])
        elif source.is_dir():
            self.steps += [["dir", path], ["bind-ro", name, path]]
        elif source.is_file():
            self.steps += [["file", path], ["bind-ro", name, path]]

    def _dev(self) -> None:
        self.steps += [["tmpfs", "dev"], ["tmpfs", "dev/shm"]]
        for target in sorted(self._targets):
            if target.startswith("dev/"):
                mount = self._targets[target]
                if target.count("/") == 1 and Path(mount.source).exists():
                    self._mount(target, mount)
        for name, number in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
            self.steps.append(["link", f"/proc/self/fd{number}", f"dev/{name}"])

    def _has_below(self, path: str) -> bool:
        return any(target.startswith(f"{path}/") for target in self._targets)


def _is_plain_dir(path: str) -> bool:
    return Path(path).is_dir() and not Path(path).is_symlink()


def _entries(folder: str) -> list[str]:
    try:
        return sorted(one.name for one in Path(folder).iterdir())
    except OSError:
        return []

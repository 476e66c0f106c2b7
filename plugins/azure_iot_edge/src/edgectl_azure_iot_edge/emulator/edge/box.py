"""``python -m …edge.box [--root DIR] [--bind SRC:DST[:ro]]… -- PROGRAM …``: run in a file tree.

Makes a mount namespace (with a user namespace where the caller is not root) and, in it, a root that
is this machine's own or a folder's, with binds at the paths that a container would have them at;
nothing outside changes. Then it becomes the program: same process, same number. Exit 125: the tree
cannot be made; 127: there is no such program (as ``docker run``). Standard library only, so that a
module starts as quickly as without.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

FAILED = 125
NOT_FOUND = 127
_NEW_MOUNTS = 0x00020000
_NEW_USERS = 0x10000000
_BIND, _REC, _PRIVATE, _READ_ONLY, _REMOUNT = 0x1000, 0x4000, 0x40000, 0x1, 0x20
_KEPT_FLAGS = 0x2 | 0x4 | 0x8  # nosuid, nodev, noexec: a user namespace may not drop them
_SHARED = ("/proc", "/sys", "/dev", "/etc/resolv.conf", "/etc/hosts")
_libc = ctypes.CDLL(None, use_errno=True)


def can_box() -> bool:
    """Say whether this machine lets this user make a file tree for a process."""
    child = os.fork()
    if child == 0:
        try:
            _isolate()
            os._exit(0)
        except OSError:
            os._exit(FAILED)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def arguments(
    stage: Path, root: Path | None, binds: list[tuple[Path, str, bool]], command: list[str]
) -> list[str]:
    """Return the command line that runs a command in a box; ``stage`` is an empty folder."""
    line = [sys.executable, "-m", __name__, str(stage)]
    line += ["--root", str(root)] if root is not None else []
    for source, target, read_only in binds:
        line += ["--bind", str(source), target, "ro" if read_only else "rw"]
    return [*line, "--", *command]


def main(given: list[str]) -> int:
    """Make the tree and become the program; return only when that fails."""
    at = given.index("--")
    before, command = given[:at], given[at + 1 :]
    stage = before.pop(0)
    root = ""
    binds = []
    while before:
        flag = before.pop(0)
        if flag == "--root":
            root = before.pop(0)
        else:
            binds.append((before.pop(0), before.pop(0), before.pop(0) == "ro"))
    folder = os.environ.get("PWD", "/")
    try:
        _isolate()
        tree = _Tree(Path(stage))
        tree.build(root, binds)
        os.chroot(stage)
        os.chdir(folder if Path(folder).is_dir() else "/")
    except OSError as exc:
        print(f"box: {exc}", file=sys.stderr)  # noqa: T201  # a program's own output
        return FAILED
    try:
        os.execvp(command[0], command)  # noqa: S606  # becoming it is what this is for
    except OSError as exc:
        print(f"exec: {command[0]}: {exc.strerror}", file=sys.stderr)  # noqa: T201  # as above
    return NOT_FOUND


class _Tree:
    """A root folder in the making."""

    def __init__(self, stage: Path) -> None:
        self._stage = stage
        self._is_writable = False
        self._own: set[Path] = set()

    def build(self, root: str, binds: list[tuple[str, str, bool]]) -> None:
        if root:
            _mount(root, str(self._stage), "", _BIND | _REC)
            self._is_writable = True
            for place in _SHARED:
                if Path(place).exists():
                    self._bind(place, place, read_only=False)
        else:
            _mount("tmpfs", str(self._stage), "tmpfs", 0)
            self._own.add(self._stage)
            self._fill(Path("/"), self._stage)
        for source, target, read_only in binds:
            self._bind(source, target, read_only=read_only)

    def _bind(self, source: str, target: str, *, read_only: bool) -> None:
        place = self._stage / target.lstrip("/")
        self._make_place(place, is_folder=Path(source).is_dir())
        _mount(source, str(place), "", _BIND | _REC)
        if read_only:
            flags = os.statvfs(place).f_flag & _KEPT_FLAGS
            _mount("", str(place), "", _BIND | _REMOUNT | _READ_ONLY | flags)

    def _make_place(self, place: Path, *, is_folder: bool) -> None:
        """Make a mount point; folders of the machine get a layer of ours to make it in."""
        if place.exists():
            return
        above = place.parent
        while not above.is_dir():
            above = above.parent
        if not self._is_writable and above not in self._own:
            self._cover(above)
        for each in (*reversed(place.relative_to(above).parents), place.relative_to(above)):
            self._own.add(above / each)
        place.parent.mkdir(parents=True, exist_ok=True)
        if is_folder:
            place.mkdir()
        else:
            place.touch()

    def _cover(self, folder: Path) -> None:
        real = Path("/") / folder.relative_to(self._stage)
        _mount("tmpfs", str(folder), "tmpfs", 0)
        self._own.add(folder)
        self._fill(real, folder)

    def _fill(self, real: Path, folder: Path) -> None:
        for entry in os.scandir(real):
            place = folder / entry.name
            source = Path(entry.path)
            if self._stage in {source, place}:
                continue
            if entry.is_symlink():
                place.symlink_to(os.readlink(entry.path))  # noqa: PTH115  # the text as it stands
                continue
            try:
                if entry.is_dir():
                    place.mkdir()
                else:
                    place.touch()
                _mount(entry.path, str(place), "", _BIND | _REC)
            except PermissionError:
                continue  # what this user cannot see, a module of his does not either


def _isolate() -> None:
    uid, gid = os.geteuid(), os.getegid()
    if uid != 0 or not _unshare(_NEW_MOUNTS):
        if not _unshare(_NEW_MOUNTS | _NEW_USERS):
            raise OSError(ctypes.get_errno(), "no namespaces for this user")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    _mount("", "/", "", _REC | _PRIVATE)


def _unshare(flags: int) -> bool:
    return int(_libc.unshare(flags)) == 0


def _mount(source: str, target: str, kind: str, flags: int) -> None:
    done = _libc.mount(source.encode() or None, target.encode(), kind.encode() or None, flags, None)
    if done != 0:
        number = ctypes.get_errno()
        error: type[OSError] = PermissionError if number in {1, 13} else OSError
        raise error(number, f"mount '{source}' on '{target}': {os.strerror(number)}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""One container as a process: its name spaces, its root, its log, and how it ended.

A program of its own that imports nothing of edgectl, so that a container lives on when the node's
process is killed, as containers outlive a kubelet. It is started with the path of a JSON file
(``Spec`` in ``runtime.py``) and leaves beside it ``state.json`` once the container's program runs,
and ``exit.json`` when it has ended. ``exec`` runs a further program in a container that runs.

The container is process 1 of its own process name space: it gets signals only if it handles them,
and all that it started ends with it. User and mount name spaces make the paths real without any
right on this machine; where the kernel has none for us, ``exit.json`` says so.
"""

# pathlib would double the time to start, and there is one of this a container:
# ruff: noqa: PTH100, PTH102, PTH103, PTH105, PTH120, PTH123, PTH211 - see above

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
import time
from typing import Any, Self

_LIBC = ctypes.CDLL(None, use_errno=True)
_NEW_NS, _NEW_USER, _NEW_PID, _NEW_UTS, _NEW_IPC = (
    0x20000,
    0x10000000,
    0x20000000,
    0x4000000,
    0x8000000,
)
_BIND, _REC, _PRIVATE, _NOSUID, _NODEV = 4096, 16384, 1 << 18, 2, 4
_RDONLY, _REMOUNT = 1, 32
_DETACH = 2
_MOUNT_SETATTR = 442
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_AT_RECURSIVE, _ATTR_RDONLY = 0x8000, 1
_SET_PDEATHSIG, _SET_NO_NEW_PRIVS = 1, 38
_LOOK_S = 1.0
_LOG_BYTES = 10 << 20
START_ERROR = 128


class ShimError(Exception):
    """The container cannot be started; the message says why."""


def main() -> int:
    """Run or enter a container."""
    if sys.argv[1] == "exec":
        return _enter(int(sys.argv[2]), sys.argv[3:])
    with open(sys.argv[1], encoding="utf-8") as file:
        spec = json.load(file)
    folder = os.path.dirname(os.path.abspath(sys.argv[1]))
    try:
        return _run(spec, folder)
    except (ShimError, OSError) as exc:
        _write(f"{folder}/exit.json", {"code": START_ERROR, "error": str(exc), "at": time.time()})
        return 1


def _run(spec: dict[str, Any], folder: str) -> int:
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    _call("unshare", _NEW_USER | _NEW_PID | _NEW_UTS | _NEW_IPC, what="user name spaces")
    _map("setgroups", "deny")
    _map("uid_map", f"{spec['uid']} {outer_uid} 1")
    _map("gid_map", f"{spec['gid']} {outer_gid} 1")
    out, err, told = os.pipe(), os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        _child(spec, folder, out[1], err[1], told[1])
    for pipe in (out, err, told):
        os.close(pipe[1])
    complaint = _read_all(told[0])
    if complaint:
        os.waitpid(child, 0)
        raise ShimError(complaint.decode(errors="replace"))
    started = time.time()
    state = {"shim": os.getpid(), "pid": child, "start": _start_of(os.getpid()), "at": started}
    _write(f"{folder}/state.json", state)
    oom = _pump({out[0]: "stdout", err[0]: "stderr"}, spec["log"], child, spec.get("memory") or 0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    ended = {"code": 128 - code if code < 0 else code, "signal": max(-code, 0), "at": time.time()}
    _write(f"{folder}/exit.json", {**ended, "started": started, "oom": oom})
    return 0


def _child(spec: dict[str, Any], folder: str, out: int, err: int, told: int) -> None:
    """Become the container's program; never returns."""
    try:
        _LIBC.prctl(_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        os.set_inheritable(told, False)
        os.setsid()
        _LIBC.sethostname(spec["hostname"].encode(), len(spec["hostname"].encode()))
        _call("unshare", _NEW_NS, what="mount name spaces")
        _build(f"{folder}/root", spec)
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.closerange(3, told)
        os.closerange(told + 1, 256)
        if spec.get("no_new_privileges"):
            _LIBC.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        os.umask(0o022)
        os.chdir(spec["cwd"])
        os.execvpe(spec["argv"][0], spec["argv"], spec["env"])  # noqa: S606 - no shell wanted
    except FileNotFoundError as exc:
        missing = exc.filename if exc.filename is not None else spec["argv"][0]
        os.write(told, f'exec: "{missing}": no such file or directory'.encode())
    except (ShimError, OSError) as exc:
        os.write(told, f'exec: "{spec["argv"][0]}": {exc}'.encode())
    finally:
        os._exit(START_ERROR)


def _build(root: str, spec: dict[str, Any]) -> None:
    """Put the root together and make it this process's."""
    _mount(None, "/", None, _REC | _PRIVATE)
    os.makedirs(root, exist_ok=True)
    _mount("tmpfs", root, "tmpfs", _NOSUID, "mode=755")
    for step in spec["steps"]:
        _carry_out(step, root)
    if spec.get("readonly"):
        _set_readonly(root, recursive=False)
    os.chdir(root)
    number = _PIVOT_ROOT.get(os.uname().machine)
    if number is None:
        raise ShimError(f"no containers on '{os.uname().machine}'")
    # pivot_root(2): with the same folder twice the old root lies over the new one.
    if _LIBC.syscall(number, b".", b".") != 0:
        raise ShimError(f"pivot_root: {os.strerror(ctypes.get_errno())}")
    if _LIBC.umount2(b".", _DETACH) != 0:
        raise ShimError(f"umount of the old root: {os.strerror(ctypes.get_errno())}")
    os.chdir("/")


def _carry_out(step: list[str], root: str) -> None:
    verb, path = step[0], f"{root}/{step[-1]}"
    if verb == "dir":
        os.mkdir(path, 0o755)
    elif verb == "dirs":
        os.makedirs(path, exist_ok=True)
    elif verb == "file":
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
    elif verb == "link":
        os.symlink(step[1], path)
    elif verb == "tmpfs":
        os.mkdir(path, 0o755)
        _mount("tmpfs", path, "tmpfs", _NOSUID | _NODEV, "mode=1777")
    elif verb == "proc":
        try:
            _mount("proc", path, "proc", _NOSUID | _NODEV)
        except ShimError:
            # A proc of which parts are masked cannot be mounted anew (user_namespaces(7)).
            _mount("/proc", path, None, _BIND | _REC)
    elif verb in ("bind", "bind-ro"):
        _mount(step[1], path, None, _BIND | _REC)
        if verb == "bind-ro":
            _set_readonly(path, recursive=True)


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str = "") -> None:
    encoded = [None if text is None else text.encode() for text in (source, target, kind)]
    if _LIBC.mount(*encoded, ctypes.c_ulong(flags), data.encode() or None) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise ShimError(f"mount of '{source}' at '{target}': {reason}")


def _set_readonly(path: str, *, recursive: bool) -> None:
    """Make a mount read-only, also one whose other flags must not be changed."""
    attributes = (ctypes.c_uint64 * 4)(_ATTR_RDONLY, 0, 0, 0)
    flags = _AT_RECURSIVE if recursive else 0
    if _LIBC.syscall(_MOUNT_SETATTR, -100, path.encode(), flags, attributes, 32) != 0:
        # Before Linux 5.12; the folder stays writable where its own flags are locked.
        _LIBC.mount(None, path.encode(), None, ctypes.c_ulong(_BIND | _REMOUNT | _RDONLY), None)


def _map(name: str, text: str) -> None:
    try:
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)
    except OSError as exc:
        raise ShimError(f"/proc/self/{name}: {exc.strerror}") from exc


def _call(name: str, *arguments: int, what: str) -> None:
    if getattr(_LIBC, name)(*arguments) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise ShimError(f"this machine allows no {what}: {name}: {reason}")


def _pump(pipes: dict[int, str], log: str, child: int, memory: int) -> bool:
    """Copy what the container prints into its log until it ends; say whether it was too large."""
    lines = dict.fromkeys(pipes, b"")
    poll, oom, look = select.poll(), False, time.monotonic() + _LOOK_S
    for fd in pipes:
        poll.register(fd, select.POLLIN)
    with _Log(log) as out:
        while lines:
            for fd, _ in poll.poll(_LOOK_S * 1000 if memory else None):
                data = os.read(fd, 65536)
                if not data:
                    poll.unregister(fd)
                    out.write(pipes[fd], lines.pop(fd), whole=False)
                    continue
                *whole, lines[fd] = (lines[fd] + data).split(b"\n")
                for line in whole:
                    out.write(pipes[fd], line, whole=True)
                if len(lines[fd]) > 16384:
                    out.write(pipes[fd], lines[fd], whole=False)
                    lines[fd] = b""
            if memory and time.monotonic() > look:
                look = time.monotonic() + _LOOK_S
                if _resident(child) > memory:
                    oom = True
                    os.kill(child, signal.SIGKILL)
    return oom


class _Log:
    """A log in the form of the Container Runtime Interface: time, stream, P or F, text."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - closed by __exit__

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, stream: str, text: bytes, *, whole: bool) -> None:
        if not text and not whole:
            return
        now = time.time_ns()
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 10**9))
        head = f"{at}.{now % 10**9:09d}Z {stream} {'F' if whole else 'P'} "
        try:
            self._file.write(head.encode() + text + b"\n")
            if self._file.tell() > _LOG_BYTES:
                self._file.close()
                os.replace(self._path, self._path + ".1")
                self._file = open(self._path, "ab", buffering=0)  # noqa: SIM115 - as above
        except OSError:
            pass  # a full disk must not end the container


def _resident(pid: int) -> int:
    """Return the bytes in memory of a process and all that it started."""
    total, todo = 0, [pid]
    while todo:
        one = todo.pop()
        try:
            with open(f"/proc/{one}/statm", encoding="ascii") as file:
                total += int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            with open(f"/proc/{one}/task/{one}/children", encoding="ascii") as file:
                todo += [int(child) for child in file.read().split()]
        except (OSError, ValueError, IndexError):
            continue
    return total


def _enter(pid: int, argv: list[str]) -> int:
    """Run a program in the name spaces of a container, with its environment."""
    with open(f"/proc/{pid}/environ", "rb") as file:
        pairs = [entry.split(b"=", 1) for entry in file.read().split(b"\0") if b"=" in entry]
    spaces = [os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY) for name in ("user", "mnt", "pid")]
    for space in spaces:
        if _LIBC.setns(space, 0) != 0:
            sys.stderr.write(f"setns: {os.strerror(ctypes.get_errno())}\n")
            return START_ERROR
    child = os.fork()
    if child == 0:
        try:
            os.chdir("/")
            env = {key.decode(): value.decode() for key, value in pairs}
            os.execvpe(argv[0], argv, env)  # noqa: S606 - no shell wanted
        except OSError as exc:
            sys.stderr.write(f'exec: "{argv[0]}": {exc.strerror}\n')
        finally:
            os._exit(126)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def _start_of(pid: int) -> int:
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return int(file.read().rpartition(")")[2].split()[19])


def _read_all(fd: int) -> bytes:
    data = b""
    while part := os.read(fd, 4096):
        data += part
    os.close(fd)
    return data


def _write(path: str, document: dict[str, Any]) -> None:
    with open(path + ".part", "w", encoding="utf-8") as file:
        json.dump(document, file)
    os.replace(path + ".part", path)


if __name__ == "__main__":
    sys.exit(main())

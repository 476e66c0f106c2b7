"""Decides what this machine lends a module whose image does not bring its own programs."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PROGRAMS = {"edge-module": [sys.executable, "-m", "edge_components.iotedge.main"]}
_LENT = ("HOME", "LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE", "VIRTUAL_ENV", "PYTHONPATH")


def brings(tree: Path, program: str, env: Mapping[str, str]) -> bool:
    """Say whether an image has a program itself."""
    path = env.get("PATH", _SYSTEM_PATH)
    if "/" in program:
        return os.path.lexists(tree / program.lstrip("/"))
    return any(
        os.path.lexists(tree / folder.lstrip("/") / program) for folder in path.split(":") if folder
    )


def lent(command: list[str], env: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Return a command and its environment with what this machine lends them."""
    own = str(Path(sys.executable).parent)
    path = env.get("PATH") or os.environ.get("PATH", _SYSTEM_PATH)
    given = {name: os.environ[name] for name in _LENT if name in os.environ}
    program = _PROGRAMS.get(command[0], [command[0]])
    return [*program, *command[1:]], {**given, **env, "PATH": os.pathsep.join((own, path))}


def files_of(tree: Path) -> list[tuple[Path, str, bool]]:
    """Return the image's files and folders that this machine does not have at their paths."""
    found: list[tuple[Path, str, bool]] = []
    waiting = [tree]
    while waiting:
        for entry in sorted(waiting.pop().iterdir()):
            target = Path("/") / entry.relative_to(tree)
            if not os.path.lexists(target):
                found.append((entry, str(target), False))
            elif entry.is_dir() and not entry.is_symlink():
                waiting.append(entry)
    return found

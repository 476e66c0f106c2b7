"""What a model was trained from: the digests of its inputs and the project's git revision.

A folder's digest covers its files' paths and contents and nothing else, so two checkouts on two
machines give the same one.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

from edgectl.errors import TrainError

GIT_TIMEOUT_S = 20.0


def input_digest(path: Path) -> str:
    """Return the digest of a file, or of a folder's files: paths and contents.

    A link to a folder inside a folder counts by where it points and is not followed.

    Raises:
        TrainError: The path cannot be read.
    """
    try:
        if path.is_dir():
            return "sha256:" + _folder_hash(path)
        return "sha256:" + _file_hash(path)
    except OSError as exc:
        raise TrainError(f"the training input '{path}' cannot be read: {exc.strerror}") from exc


def git_revision(folder: Path) -> str:
    """Return the folder's git commit, with ``-dirty`` after it if tracked files were changed.

    Returns "" where there is no git or no commit.
    """
    commit = _git(folder, "rev-parse", "--verify", "HEAD")
    if not commit:
        return ""
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ".")
    return f"{commit}-dirty" if changed else commit


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _folder_hash(folder: Path) -> str:
    entries: list[tuple[str, str]] = []
    for parent, folders, files in os.walk(folder):
        here = Path(parent)
        for name in folders:
            if (here / name).is_symlink():
                target = os.fsencode((here / name).readlink())
                entries.append((_relative(here / name, folder), hashlib.sha256(target).hexdigest()))
        entries += [(_relative(here / name, folder), _file_hash(here / name)) for name in files]
    whole = hashlib.sha256()
    for name, content in sorted(entries):
        whole.update(f"{content}  {name}\0".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(  # git is the user's own, found on PATH
            ["git", "-C", str(folder), *arguments],  # noqa: S607 - git lies where PATH says
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_S,
            check=True,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()

"""Decides how a module finds its files where it cannot have a file tree of its own.

Every path below a bind's target is replaced by the one on this machine: in arguments, in variables,
and in small configuration files, of which the module gets copies. Whatever a program builds of
parts it does not reach, which is why a file tree is better.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

_TEXTS = {".toml", ".json", ".yaml", ".yml", ".ini", ".cfg", ".env"}
_MAX_BYTES = 256 << 10


class PathMap:
    """Replaces paths.

    Args:
        folder: Takes the copies of configuration.
        binds: Source on this machine, target in the module, and whether it is read only.
    """

    def __init__(self, folder: Path, binds: Iterable[tuple[Path, str, bool]]) -> None:
        given = list(binds)
        self._places = {target.rstrip("/"): str(source) for source, target, _ in given}
        shutil.rmtree(folder, ignore_errors=True)
        for number, (source, target, read_only) in enumerate(given):
            if read_only and source.is_dir():
                self._places[target.rstrip("/")] = str(folder / str(number))
        for number, (source, _, read_only) in enumerate(given):
            if read_only and source.is_dir():
                self._copy(source, folder / str(number))

    def text(self, text: str) -> str:
        """Return a text with every path below a target replaced."""
        for target in sorted(self._places, key=len, reverse=True):
            pattern = rf"(?<![\w./-]){re.escape(target)}(?=$|[/:;,\s\"'])"
            text = re.sub(pattern, lambda _match, to=self._places[target]: to, text)  # type: ignore[misc]  # the default binds the loop's value
        return text

    def _copy(self, source: Path, folder: Path) -> None:
        shutil.copytree(source, folder)
        for file in folder.rglob("*"):
            if file.is_file() and file.suffix in _TEXTS and file.stat().st_size <= _MAX_BYTES:
                file.write_text(self.text(file.read_text()))

"""The directory sink: one JSON file per reading, whole or not at all, within a byte budget.

The answer of ``plate.png`` is ``plate.png.json``; a later reading of the same name replaces it.
When the budget is full the oldest answers go.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import msgspec

from edge_components.contract.pipeline import DirectorySink

_SUFFIX = ".json"
_MAX_NAME_BYTES = 200


def file_name(name: str) -> str:
    """Return a reading's name as a file may have it: a topic or a client's word may not."""
    plain = "".join("_" if char in "/\\" or ord(char) < 32 else char for char in name)
    if plain.startswith("."):
        plain = "_" + plain[1:]
    return plain.encode("utf-8", "surrogateescape")[:_MAX_NAME_BYTES].decode("utf-8", "ignore")


class DirectoryWriter:
    """Writes answers."""

    def __init__(self, sink: DirectorySink, folder: Path) -> None:
        self._folder = folder
        self._max_bytes = sink.max_bytes
        self._sizes: dict[str, int] | None = None

    def write(self, name: str, answer: dict[str, Any]) -> None:
        """Write one answer.

        Raises:
            OSError: The disk does not take it; nothing half-written stays.
        """
        data = msgspec.json.encode(answer) + b"\n"
        sizes = self._known()
        target = file_name(name) + _SUFFIX
        part = self._folder / f".{target}.part"
        try:
            part.write_bytes(data)
            part.replace(self._folder / target)
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink()
            raise
        sizes.pop(target, None)
        sizes[target] = len(data)
        self._trim(sizes, keep=target)

    def close(self, timeout_s: float) -> None:
        """There is nothing to wait for."""

    def _known(self) -> dict[str, int]:
        if self._sizes is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            with os.scandir(self._folder) as entries:
                files = [
                    (entry.stat().st_mtime_ns, entry.name, entry.stat().st_size)
                    for entry in entries
                    if entry.name.endswith(_SUFFIX) and entry.is_file(follow_symlinks=False)
                ]
            self._sizes = {name: size for _, name, size in sorted(files)}
        return self._sizes

    def _trim(self, sizes: dict[str, int], *, keep: str) -> None:
        total = sum(sizes.values())
        for name in list(sizes):
            if total <= self._max_bytes or name == keep:
                return
            total -= sizes.pop(name)
            (self._folder / name).unlink(missing_ok=True)

"""What a device knows after a power cut: small documents, each replaced whole."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any, TypeVar

import msgspec

_T = TypeVar("_T")


class Kept:
    """JSON documents in a folder.

    Args:
        folder: Is made.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._lock = threading.Lock()

    def read(self, name: str, type_: type[_T], default: _T) -> _T:
        """Return a document, the default when there is none that can be read."""
        found = self.find(name, type_)
        return default if found is None else found

    def find(self, name: str, type_: type[_T]) -> _T | None:
        """Return a document, None when there is none that can be read."""
        try:
            return msgspec.json.decode((self._folder / f"{name}.json").read_bytes(), type=type_)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def write(self, name: str, value: Any) -> None:
        """Replace a document; whoever reads finds the old or the new one, whole."""
        part, file = self._folder / f"{name}.part", self._folder / f"{name}.json"
        with self._lock:
            with part.open("wb") as stream:
                part.chmod(0o600)
                stream.write(msgspec.json.encode(value))
                stream.flush()
                os.fsync(stream.fileno())
            part.replace(file)

"""Upload sessions: a blob that comes in one part or several, in order.

Source: OCI distribution-spec 1.1, "Pushing a blob in chunks".
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable
from pathlib import Path

from edgectl.emulation.registry.errors import RefusedError
from edgectl.emulation.registry.grammar import check_session

_CONTENT_RANGE = re.compile(r"(?:bytes )?(\d+)-(\d+)(?:/.*)?")


class Uploads:
    """The sessions that are open; they end with the process.

    Args:
        folder: Where the parts are gathered.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._open: dict[str, tuple[str, threading.Lock]] = {}

    def begin(self, repository: str) -> str:
        """Open a session and return its name."""
        name = os.urandom(16).hex()
        self._path(name).touch()
        with self._lock:
            self._open[name] = (repository, threading.Lock())
        return name

    def size(self, repository: str, name: str) -> int:
        """Return how many bytes a session has.

        Raises:
            RefusedError: ``BLOB_UPLOAD_UNKNOWN``.
        """
        self._session(repository, name)
        return self._path(name).stat().st_size

    def append(self, repository: str, name: str, content_range: str, parts: Iterable[bytes]) -> int:
        """Add a part and return how many bytes there are now.

        A part that broke off stays as far as it came, so its sender can go on from there.

        Raises:
            RefusedError: ``RANGE_INVALID``: it is not the next part; ``BLOB_UPLOAD_UNKNOWN``.
        """
        lock = self._session(repository, name)
        with lock, self._path(name).open("ab") as file:
            begin = file.tell()
            last = _check_begin(content_range, begin)
            for part in parts:
                file.write(part)
            end = file.tell()
        if last is not None and end != last + 1:
            raise RefusedError("SIZE_INVALID", f"'{content_range}' came with {end - begin} bytes")
        return end

    def finish(self, repository: str, name: str) -> Path:
        """End a session and return its content.

        Raises:
            RefusedError: ``BLOB_UPLOAD_UNKNOWN``.
        """
        self._session(repository, name)
        with self._lock:
            self._open.pop(name, None)
        return self._path(name)

    def _session(self, repository: str, name: str) -> threading.Lock:
        with self._lock:
            found = self._open.get(check_session(name))
        if found is None or found[0] != repository:
            raise RefusedError("BLOB_UPLOAD_UNKNOWN", f"blob upload unknown to registry: {name}")
        return found[1]

    def _path(self, name: str) -> Path:
        return self._folder / f"upload.{name}"


def _check_begin(content_range: str, size: int) -> int | None:
    """Check that a part is the next one; return its last byte's place, None where not said."""
    if not content_range:
        return None
    match = _CONTENT_RANGE.fullmatch(content_range.strip())
    if match is None or int(match[1]) != size or int(match[2]) < int(match[1]):
        raise RefusedError(
            "RANGE_INVALID",
            f"the next part begins at {size}, not '{content_range}'",
            headers={"Range": f"0-{max(size - 1, 0)}"},
        )
    return int(match[2])

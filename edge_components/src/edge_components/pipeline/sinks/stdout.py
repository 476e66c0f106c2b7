"""Standard output as a sink: one line of JSON an answer."""

from __future__ import annotations

import os
from typing import Any

import msgspec


class StdoutWriter:
    """Writes lines.

    Attributes:
        gone: Whether nobody reads any more.
    """

    def __init__(self, descriptor: int = 1) -> None:
        self.gone = False
        self._descriptor = descriptor

    def write(self, name: str, answer: dict[str, Any]) -> None:
        """Write one answer.

        Raises:
            OSError: It cannot be written; a reader that went away is no error.
        """
        del name
        data = memoryview(msgspec.json.encode(answer) + b"\n")
        while data and not self.gone:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BrokenPipeError:
                self.gone = True

    def close(self, timeout_s: float) -> None:
        """There is nothing to wait for."""

"""What goes back over the wire: a status, headers, and bytes or a part of a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class Content(NamedTuple):
    """A part of a file, from ``begin`` to before ``end``."""

    file: Path
    begin: int
    end: int


class Answer(NamedTuple):
    """An answer; its length is told from the body."""

    status: int
    headers: Mapping[str, str] = {}
    body: bytes | Content = b""

    @property
    def length(self) -> int:
        """The body's length in bytes."""
        if isinstance(self.body, Content):
            return self.body.end - self.body.begin
        return len(self.body)


class Asked(NamedTuple):
    """A request, its body not read yet.

    Attributes:
        path: Decoded, with the leading slash.
        query: First value of each parameter.
        headers: Names in lower case.
        url: The registry's own address as the caller wrote it, without a path.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    url: str

"""``python _counted.py FILE …``: edgectl, with a line in the file for every HTTP request.

For providers whose emulator does not count. A line is written when its answer has come, so that a
driver which is killed has counted too.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from edgectl.cli.main import run

LIBRARIES = ("httpx", "httpx2")
"""The second is what lightkube brings."""


class Book(logging.Handler):
    """Writes down the method of each request that httpx tells of."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file.open("a", buffering=1)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        if isinstance(record.args, tuple) and record.args:
            self._file.write(f"{record.args[0]}\n")


def main() -> int:
    """Run a command."""
    book = Book(Path(sys.argv[1]))
    for name in LIBRARIES:
        log = logging.getLogger(name)
        log.addHandler(book)
        log.setLevel(logging.INFO)
        log.propagate = False
    return run(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())

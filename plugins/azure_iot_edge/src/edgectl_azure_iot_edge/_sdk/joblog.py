"""A training job's log: the lines that are new since the last look, and the last ones of all."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from edgectl_azure_iot_edge._sdk.workspace import ArtifactStore
from edgectl_azure_iot_edge.training import LOGS, artifact_prefix

TAIL_LINES = 20
MAX_LINE = 2000


class JobLog:
    """Reads what a job's first process prints.

    Args:
        store: Where Azure ML keeps it.
        job: The job's name.
        show: Is given each line once.

    Attributes:
        tail: The last lines.
    """

    def __init__(self, store: ArtifactStore, job: str, show: Callable[[str], None]) -> None:
        self._store = store
        self._prefix = artifact_prefix(job) + LOGS
        self._show = show
        self._name = ""
        self._read = 0
        self._rest = b""
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)

    def show(self, *, last: bool = False) -> None:
        """Show what is new.

        Args:
            last: Nothing comes any more: what has no line's end yet is shown too.

        Raises:
            ProviderError: The store refused.
        """
        if not self._name:
            # Several processes have a log each: std_log_process_0.txt is the first one's.
            self._name = min((name for name, _ in self._store.names(self._prefix)), default="")
        if not self._name:
            return
        for part in self._store.read(self._name, self._read):
            self._read += len(part)
            *whole, self._rest = (self._rest + part).replace(b"\r", b"\n").split(b"\n")
            for line in whole:
                self._tell(line)
        if last:
            self._tell(self._rest)
            self._rest = b""

    def _tell(self, line: bytes) -> None:
        text = line[:MAX_LINE].decode("utf-8", "replace").rstrip()
        if text:
            self.tail.append(text)
            self._show(text)

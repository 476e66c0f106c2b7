"""Keeps what survives the nucleus's death, in one file that is replaced whole.

A deployment changes the active set in one step: before it the old components are the device's,
after it the new ones, and ``before`` has what a rollback goes back to until the result is known.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import msgspec

from edgectl.api import Record


class Installed(Record, frozen=True, kw_only=True):
    """A component of the device.

    Attributes:
        recipe: The canonical recipe's text.
        root: Whether a deployment names it, rather than another component.
        from_arns: The deployments (configuration ARNs) that name it.
    """

    version: str
    arn: str
    recipe: str
    configuration: dict[str, Any] = {}
    posix_user: str | None = None
    root: bool = True
    from_arns: tuple[str, ...] = ()


class RootComponent(Record, frozen=True, kw_only=True):
    """What a target's deployment says of a component."""

    version: str
    arn: str


class Report(Record, frozen=True, kw_only=True):
    """What has to be told to the cloud still."""

    kind: str
    key: str
    status: str
    details: dict[str, Any] = {}


class State(Record, frozen=True, kw_only=True):
    """All of it.

    Attributes:
        groups: By target, the components that its last successful deployment set.
        applied: The deployment whose result is not told yet, "" for none.
        before: The components and configuration to go back to, while ``applied`` is set.
        bootstrapped: Components whose Bootstrap has run in this deployment.
        sequence: Of the last fleet status message.
    """

    components: dict[str, Installed] = {}
    groups: dict[str, dict[str, RootComponent]] = {}
    applied: str = ""
    before: dict[str, Installed] | None = None
    bootstrapped: tuple[str, ...] = ()
    reports: tuple[Report, ...] = ()
    sequence: int = 0


class StateFile:
    """The file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self.state = self._read()

    def change(self, **fields: Any) -> State:
        """Set fields, durably."""
        with self._lock:
            found = msgspec.structs.replace(self.state, **fields)
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary = self._path.with_suffix(".tmp")
            with temporary.open("wb") as stream:
                stream.write(msgspec.json.encode(found))
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(self._path)
            self.state = found
            return found

    def _read(self) -> State:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=State)
        except FileNotFoundError:
            return State()

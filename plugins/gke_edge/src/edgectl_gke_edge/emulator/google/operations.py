"""Long-running operations: they take their time, run once for a request id, and change state.

What an operation does to the account is done when its time has come and somebody looks, under the
account's lock: so there is no thread that could be late.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import grpc
from google.longrunning import operations_pb2
from google.protobuf import any_pb2, empty_pb2
from google.rpc import code_pb2

from edgectl_gke_edge.emulator.google.errors import GoogleError, invalid, not_found

MAX_REQUEST_ID = 36


@dataclass
class Operation:
    """One operation.

    Attributes:
        finish: What is done at its end; what it returns is the result.
        metadata: Makes the API's metadata message, from the operation.
    """

    name: str
    verb: str
    target: str
    began: datetime
    ends_at: float
    finish: Callable[[], Any]
    metadata: Callable[[Operation], Any] | None
    request_id: str = ""
    ended: datetime | None = None
    result: Any = None
    error: GoogleError | None = None
    cancelled: bool = False

    @property
    def done(self) -> bool:
        """Whether it has come to an end."""
        return self.ended is not None


@dataclass
class Operations:
    """The operations of a project.

    Attributes:
        takes_s: How long each takes.
        clock: Seconds of a monotonic clock.
        failing: Sentences with which the next operations end in an error: a fault.
    """

    takes_s: float = 2.0
    clock: Callable[[], float] = time.monotonic
    failing: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lock = threading.RLock()
        self._known: dict[str, Operation] = {}

    def start(
        self,
        parent: str,
        verb: str,
        target: str,
        finish: Callable[[], Any],
        *,
        metadata: Callable[[Operation], Any] | None = None,
        request_id: str = "",
    ) -> Operation:
        """Begin an operation."""
        with self.lock:
            operation = Operation(
                name=f"{parent}/operations/operation-{uuid.uuid4()}",
                verb=verb,
                target=target,
                began=datetime.now(UTC),
                ends_at=self.clock() + self.takes_s,
                finish=finish,
                metadata=metadata,
                request_id=request_id,
            )
            self._known[operation.name] = operation
            return operation

    def repeated(self, request_id: str, verb: str, target: str) -> Operation | None:
        """Return the operation that the same request began before, or None.

        Raises:
            GoogleError: INVALID_ARGUMENT, the id is too long or another request's.
        """
        if not request_id:
            return None
        if len(request_id) > MAX_REQUEST_ID:
            raise invalid("request_id", f"must have at most {MAX_REQUEST_ID} characters")
        with self.lock:
            found = next((o for o in self._known.values() if o.request_id == request_id), None)
            if found and (found.verb, found.target) != (verb, target):
                raise invalid("request_id", "was used for another request")
            return found

    def settle(self) -> None:
        """Bring to their end all operations whose time has come."""
        with self.lock:
            now = self.clock()
            for operation in sorted(self._known.values(), key=lambda o: o.ends_at):
                if not operation.done and operation.ends_at <= now:
                    self._end(operation)

    def _end(self, operation: Operation) -> None:
        operation.ended = datetime.now(UTC)
        if self.failing:
            operation.error = GoogleError(grpc.StatusCode.INTERNAL, self.failing.pop(0))
            return
        try:
            operation.result = operation.finish()
        except GoogleError as exc:
            operation.error = exc

    def get(self, name: str, *, gke: bool = False) -> Operation:
        """Return an operation.

        Raises:
            GoogleError: NOT_FOUND.
        """
        with self.lock:
            self.settle()
            found = self._known.get(name)
            if found is None:
                raise not_found(name, gke=gke)
            return found

    def below(self, parent: str) -> list[Operation]:
        """List a location's operations, oldest first."""
        with self.lock:
            self.settle()
            return [o for name, o in self._known.items() if name.startswith(f"{parent}/")]

    def cancel(self, name: str) -> None:
        """Cancel an operation: it ends with CANCELLED, and what it would do is not done."""
        with self.lock:
            operation = self.get(name)
            if not operation.done:
                operation.cancelled = True
                operation.ended = datetime.now(UTC)

    def forget(self, name: str) -> None:
        """Delete an operation; what it does goes on."""
        with self.lock:
            self.get(name)
            del self._known[name]


def to_longrunning(operation: Operation) -> Any:
    """Return the ``google.longrunning.Operation``."""
    message = operations_pb2.Operation(name=operation.name, done=operation.done)
    if operation.metadata is not None:
        message.metadata.CopyFrom(_packed(operation.metadata(operation)))
    if operation.cancelled:
        message.error.code = code_pb2.CANCELLED
        message.error.message = "The operation was cancelled."
    elif operation.error is not None:
        message.error.CopyFrom(operation.error.to_status())
    elif operation.done:
        message.response.CopyFrom(_packed(operation.result or empty_pb2.Empty()))
    return message


def _packed(message: Any) -> Any:
    packed = any_pb2.Any()
    packed.Pack(type(message).pb(message) if hasattr(type(message), "pb") else message)
    return packed

"""User steps: a function that is installed on the device, in a process that can be killed.

A release names an entry point (group ``edge_components.steps``) or a step of the device's file;
it brings no code. The function runs in a child: a call that takes too long, or kills its process,
costs its reading and nothing else, and the next reading has a new child. After a few such ends in
a row the step rests, so that a broken step does not eat the device.

The state of a stateful function goes with each call and comes back with its answer, so it
survives the child, and is kept like that of any step.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from edge_components.contract.pipeline import User
from edge_components.pipeline.breaker import CircuitBreaker
from edge_components.pipeline.errors import PipelineError
from edge_components.pipeline.postprocess import Work
from edge_components.pipeline.reading import Item
from edge_components.pipeline.user_wire import (
    LENGTH_BYTES,
    MAX_FRAME_BYTES,
    Call,
    Result,
    Started,
    pack,
    unpack,
)

GROUP = "edge_components.steps"
_START_TIMEOUT_S = 20.0
_FAILURES_BEFORE_REST = 3
_REST_S, _MAX_REST_S = 1.0, 60.0


def find_target(name: str, device_steps: Mapping[str, str]) -> str:
    """Return the function that a name means, as ``module:function``.

    Raises:
        PipelineError: Nothing of that name is installed.
    """
    if name in device_steps:
        return device_steps[name]
    for entry in importlib.metadata.entry_points(group=GROUP, name=name):
        return entry.value
    found = {entry.name for entry in importlib.metadata.entry_points(group=GROUP)}
    known = ", ".join(f"'{one}'" for one in sorted({*found, *device_steps})) or "none"
    raise PipelineError(f"no user step '{name}' is installed on this device (there is {known})")


class UserStage:
    """Calls the function before or after inference.

    Raises:
        PipelineError: It is not installed, or does not start.
    """

    def __init__(self, step: User, state_key: str, device_steps: Mapping[str, str]) -> None:
        self.dirty = False
        self._step = step
        self._state: dict[str, Any] = {}
        self._target = find_target(step.name, device_steps)
        self._child: _Child | None = _Child(self._target)
        self._breaker = CircuitBreaker(_FAILURES_BEFORE_REST, _REST_S, _MAX_REST_S)
        self.state_key = state_key if self._child.started.stateful else ""

    def __call__(self, item: Item) -> list[Item]:
        """Replace the reading's value; nothing comes of a reading that the function drops.

        Raises:
            PipelineError: The function failed, or took too long.
        """
        found = self._call(item, pack(item.value), {})
        if found is None:
            return []
        value = unpack(found)
        if isinstance(value, dict):
            raise PipelineError(f"user step '{self._step.name}' gave an answer, not an array")
        item.value = value
        return [item]

    def answer(self, work: Work, item: Item) -> None:
        """Replace the answer.

        Raises:
            PipelineError: The function failed, or took too long.
        """
        if work.boxes is not None:
            work.settle()
        outputs = {name: pack(array) for name, array in work.tensors.items()}
        found = self._call(item, pack(work.answer), outputs)
        if found is None:
            work.dropped = True
            return
        answer = unpack(found)
        if not isinstance(answer, dict):
            raise PipelineError(f"user step '{self._step.name}' gave no answer, which is a dict")
        work.answer = answer

    def dump(self) -> bytes:
        """Return the function's state as MessagePack."""
        return msgspec.msgpack.encode(self._state)

    def restore(self, data: bytes) -> None:
        """Take the state that ``dump`` gave.

        Raises:
            ValueError, msgspec.MsgspecError: It is no such thing.
        """
        self._state = msgspec.msgpack.decode(data, type=dict[str, Any])

    def close(self, timeout_s: float) -> None:
        """End the child."""
        del timeout_s
        self._end()

    def _call(self, item: Item, value: Any, outputs: dict[str, Any]) -> Any:
        step = self._step
        if self._breaker.is_open:
            raise PipelineError(f"user step '{step.name}' rests after it failed several times")
        call = Call(
            value=value,
            outputs=outputs,
            name=item.name,
            key=item.key,
            time_unix_ns=item.time_ns,
            options=step.options,
            state=self._state if self.state_key else {},
        )
        try:
            if self._child is None:
                self._child = _Child(self._target)
            result = self._child.call(call, step.timeout_s)
        except PipelineError as exc:
            self._breaker.failed()
            self._end()
            raise PipelineError(f"user step '{step.name}' {exc}") from exc
        self._breaker.succeeded()
        if result.error:
            raise PipelineError(f"user step '{step.name}': {result.error}")
        if self.state_key and result.state != self._state:
            self._state, self.dirty = result.state, True
        return result.value

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()


class _Child:
    """A process that has the function loaded."""

    def __init__(self, target: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "edge_components.pipeline.user_child", target],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            bufsize=0,
        )
        assert self._process.stdin is not None  # noqa: S101  # asked for above
        assert self._process.stdout is not None  # noqa: S101  # asked for above
        self._to, self._from = self._process.stdin, self._process.stdout
        os.set_blocking(self._to.fileno(), False)
        os.set_blocking(self._from.fileno(), False)
        try:
            self.started = msgspec.msgpack.decode(
                self._receive(time.monotonic() + _START_TIMEOUT_S), type=Started
            )
        except (PipelineError, msgspec.DecodeError) as exc:
            self.kill()
            raise PipelineError(f"the user step '{target}' does not start: {exc}") from exc
        if self.started.error:
            self.kill()
            raise PipelineError(f"the user step '{target}' does not start: {self.started.error}")

    def call(self, call: Call, timeout_s: float) -> Result:
        """Call the function.

        Raises:
            PipelineError: It does not answer in time, or its process ended.
        """
        deadline = time.monotonic() + timeout_s
        body = msgspec.msgpack.encode(call)
        self._send(len(body).to_bytes(LENGTH_BYTES, "big") + body, deadline, timeout_s)
        try:
            return msgspec.msgpack.decode(self._receive(deadline, timeout_s), type=Result)
        except msgspec.DecodeError as exc:
            raise PipelineError(f"gave an answer that cannot be read: {exc}") from exc

    def kill(self) -> None:
        """End it and whatever it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._to.close()
        self._from.close()

    def _send(self, data: bytes, deadline: float, timeout_s: float) -> None:
        view = memoryview(data)
        while view:
            _await(self._to.fileno(), select.POLLOUT, deadline, timeout_s)
            try:
                view = view[os.write(self._to.fileno(), view) :]
            except BlockingIOError:
                continue
            except BrokenPipeError as exc:
                raise PipelineError("ended its process") from exc

    def _receive(self, deadline: float, timeout_s: float = _START_TIMEOUT_S) -> bytes:
        length = int.from_bytes(self._exactly(LENGTH_BYTES, deadline, timeout_s), "big")
        if length > MAX_FRAME_BYTES:
            raise PipelineError(f"gave {length} bytes, at most {MAX_FRAME_BYTES}")
        return self._exactly(length, deadline, timeout_s)

    def _exactly(self, count: int, deadline: float, timeout_s: float) -> bytes:
        found = bytearray()
        while len(found) < count:
            _await(self._from.fileno(), select.POLLIN, deadline, timeout_s)
            try:
                data = os.read(self._from.fileno(), count - len(found))
            except BlockingIOError:
                continue
            if not data:
                raise PipelineError("ended its process")
            found += data
        return bytes(found)


def _await(descriptor: int, what: int, deadline: float, timeout_s: float) -> None:
    poller = select.poll()
    poller.register(descriptor, what)
    left_ms = max(0.0, (deadline - time.monotonic()) * 1000)
    if not poller.poll(left_ms):
        raise PipelineError(f"took longer than {timeout_s:g} s and was killed")

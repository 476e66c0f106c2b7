"""The child that runs a user step: loads one function, then answers calls until its input ends.

A step is a function of two arguments: the value (an array or a text before inference, the answer
after it) and a context. What it returns takes the value's place; None drops the reading. With an
attribute ``stateful = True`` it may keep plain data in ``context.state``.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import msgspec
import numpy as np

from edge_components.pipeline.user_wire import (
    LENGTH_BYTES,
    Call,
    Result,
    Started,
    pack,
    unpack,
)

_PR_SET_PDEATHSIG = 1
Step = Callable[[Any, "Context"], Any]


class Context:
    """What a step knows beside its value.

    Attributes:
        name: The reading's name.
        key: Whose reading it is.
        time_unix_ns: When it came.
        options: The step's ``options`` in the release.
        outputs: The model's outputs by name; empty before inference.
        state: Plain data that is kept from call to call, where the function is ``stateful``.
    """

    def __init__(self, call: Call) -> None:
        self.name = call.name
        self.key = call.key
        self.time_unix_ns = call.time_unix_ns
        self.options = call.options
        self.outputs = {name: unpack(array) for name, array in call.outputs.items()}
        self.state = call.state


def load(target: str) -> Step:
    """Return the function that ``module:function`` means.

    Raises:
        ImportError, AttributeError, TypeError, ValueError: It is not there, or no function.
    """
    module, _, path = target.partition(":")
    found: Any = import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    if not callable(found):
        raise TypeError(f"'{target}' cannot be called")
    step: Step = found
    return step


def run(step: Step, call: Call) -> Result:
    """Call the step; whatever it raises becomes an error in a sentence."""
    try:
        context = Context(call)
        found = step(unpack(call.value), context)
        if found is None:
            return Result(state=context.state)
        plain = found if isinstance(found, (str, dict)) else np.asarray(found)
        return Result(value=pack(plain), state=context.state)
    except Exception as exc:  # noqa: BLE001  # it is the user's function, and may raise anything
        return Result(error=f"{type(exc).__name__}: {exc}"[:500], state=call.state)


def main(target: str) -> int:
    """Answer calls on standard input; what the step prints goes to standard error."""
    _die_with_parent()
    answers = os.dup(1)
    os.dup2(2, 1)
    try:
        step = load(target)
    except Exception as exc:  # noqa: BLE001  # importing runs the user's code
        _send(answers, Started(error=f"{type(exc).__name__}: {exc}"[:500]))
        return 1
    _send(answers, Started(stateful=bool(getattr(step, "stateful", False))))
    with os.fdopen(0, "rb", closefd=False) as calls:
        while len(head := calls.read(LENGTH_BYTES)) == LENGTH_BYTES:
            body = calls.read(int.from_bytes(head, "big"))
            result = run(step, msgspec.msgpack.decode(body, type=Call))
            try:
                _send(answers, result)
            except (TypeError, ValueError, OverflowError) as exc:
                _send(answers, Result(error=f"gave what cannot be sent: {exc}"[:500]))
    return 0


def _send(descriptor: int, what: msgspec.Struct) -> None:
    body = msgspec.msgpack.encode(what)
    view = memoryview(len(body).to_bytes(LENGTH_BYTES, "big") + body)
    while view:
        view = view[os.write(descriptor, view) :]


def _die_with_parent() -> None:
    """A step that hangs must not outlive a runtime that was killed (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

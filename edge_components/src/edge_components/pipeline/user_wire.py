"""What goes between the pipeline and the child that runs a user step: MessagePack frames."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from edge_components.golden import Array
from edge_components.pipeline.errors import PipelineError

LENGTH_BYTES = 4
MAX_FRAME_BYTES = 256 << 20
_KINDS = "biuf"


class Started(msgspec.Struct):
    """The child's first word: whether the function keeps a state, or why it is not there."""

    stateful: bool = False
    error: str = ""


class Call(msgspec.Struct):
    """One call."""

    value: Any
    outputs: dict[str, Any]
    name: str
    key: str
    time_unix_ns: int
    options: dict[str, Any]
    state: dict[str, Any]


class Result(msgspec.Struct):
    """Its result: a value, None for a reading that is dropped, or an error."""

    value: Any = None
    state: dict[str, Any] = {}
    error: str = ""


def pack(value: Array | str | dict[str, Any]) -> dict[str, Any]:
    """Return a value as plain data.

    Raises:
        PipelineError: It is an array of things that are no numbers or texts.
    """
    if isinstance(value, str):
        return {"text": value}
    if isinstance(value, dict):
        return {"answer": value}
    if value.dtype.kind == "O":
        return {"texts": [str(one) for one in value.ravel()], "shape": list(value.shape)}
    if value.dtype.kind not in _KINDS:
        raise PipelineError(f"an array of {value.dtype} cannot go to a user step")
    return {
        "dtype": value.dtype.str,
        "shape": list(value.shape),
        "data": np.ascontiguousarray(value).tobytes(),
    }


def unpack(plain: Any) -> Array | str | dict[str, Any]:
    """Return what ``pack`` took.

    Raises:
        PipelineError: It is no such thing.
    """
    try:
        if "text" in plain:
            return str(plain["text"])
        if "answer" in plain:
            return dict(plain["answer"])
        if "texts" in plain:
            return np.array(plain["texts"], dtype=np.object_).reshape(plain["shape"])
        dtype = np.dtype(plain["dtype"])
        if dtype.kind not in _KINDS:
            raise PipelineError(f"a user step gave an array of {dtype}")
        found: Array = np.frombuffer(plain["data"], dtype=dtype).reshape(plain["shape"])
    except (KeyError, TypeError, ValueError) as exc:
        raise PipelineError(f"a user step gave what cannot be read: {exc}") from exc
    return found

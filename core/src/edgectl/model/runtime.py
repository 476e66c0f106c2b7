"""ONNX Runtime as this package uses it: one thread, the CPU, no telemetry, quiet, our errors.

One thread keeps sums in one order, so that a model gives the same bytes each time.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import Error as _ProtobufError
from onnx import TensorProto, helper
from onnxruntime.capi import onnxruntime_pybind11_state as _state

from edgectl.errors import ModelError

onnxruntime.disable_telemetry_events()

Arrays = dict[str, np.ndarray[Any, np.dtype[Any]]]

# Domains whose operators the wheels of ONNX Runtime carry on every platform.
KNOWN_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
MAX_VERSION = 1000
_SEVERITY_ERROR = 3
_SEVERITY_FATAL = 4

# What a damaged file raises when it is parsed.
ProtobufError: type[Exception] = _ProtobufError

# Every failure of the runtime is its own exception class, derived from Exception directly.
RUNTIME_ERRORS: tuple[type[Exception], ...] = (
    *(cls for cls in vars(_state).values() if isinstance(cls, type) and issubclass(cls, Exception)),
    _ProtobufError,
    RuntimeError,
    ValueError,
    TypeError,
    MemoryError,
)


def short_reason(exc: BaseException) -> str:
    """Return the runtime's words on one line, without its source paths and codes."""
    text = " ".join(str(exc).split())
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    text = re.sub(r"^/\S+:\d+ .*?\) (?=[A-Z])", "", text)
    return text[:300] or type(exc).__name__


def session_options(*, optimize: bool = True) -> Any:
    """Return options for a session that computes the same way each time."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = _SEVERITY_FATAL
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
    return options


def open_session(model: Path | bytes, *, what: str) -> Any:
    """Load a model into the runtime.

    Args:
        model: The ONNX file, or a whole model in memory.
        what: Its name for messages.

    Raises:
        ModelError: The runtime does not take it.
    """
    source = model if isinstance(model, bytes) else str(model)
    try:
        return onnxruntime.InferenceSession(
            source, sess_options=session_options(), providers=["CPUExecutionProvider"]
        )
    except RUNTIME_ERRORS as exc:
        raise ModelError(
            f"ONNX Runtime {onnxruntime.__version__} cannot load {what}: {short_reason(exc)}"
        ) from exc


def supports(domain: str, opset: int, ir_version: int) -> bool:
    """Whether the installed runtime loads a model that is stamped with these versions."""
    return (
        1 <= opset <= MAX_VERSION
        and 1 <= ir_version <= MAX_VERSION
        and _supports(domain, opset, ir_version)
    )


@cache
def newest_opset(domain: str) -> int:
    """Return the newest opset of a domain that the installed runtime loads."""
    newest = onnx.defs.onnx_opset_version() + 8
    return next((v for v in range(newest, 0, -1) if _supports(domain, v, 8)), 0)


@cache
def newest_ir_version() -> int:
    """Return the newest IR version that the installed runtime loads."""
    return next((v for v in range(onnx.IR_VERSION + 8, 0, -1) if _supports("", 13, v)), 0)


@cache
def _supports(domain: str, opset: int, ir_version: int) -> bool:
    """Load the smallest model with these stamps; the runtime's own check decides."""
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])], "g", [info[0]], [info[1]]
    )
    opsets = [helper.make_opsetid("", opset if domain in {"", "ai.onnx"} else 13)]
    if domain not in {"", "ai.onnx"}:
        opsets.append(helper.make_opsetid(domain, opset))
    model = helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)
    try:
        onnxruntime.InferenceSession(
            model.SerializeToString(),
            sess_options=session_options(optimize=False),
            providers=["CPUExecutionProvider"],
        )
    except RUNTIME_ERRORS:
        return False
    return True

"""The child process of ``guard``: reads arguments as JSON, answers with JSON on stdout.

What a library prints goes to stderr. A refusal is an answer with ``error`` and exit code 0; only
a crash, or a defect of ours, ends with another code.
"""

from __future__ import annotations

import base64
import importlib
import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx

from edgectl.errors import EdgectlError
from edgectl.model.runtime import RUNTIME_ERRORS, open_session, short_reason

_REFUSALS: tuple[type[Exception], ...] = (
    *RUNTIME_ERRORS,
    onnx.checker.ValidationError,
    onnx.shape_inference.InferenceError,
    OSError,
)
# What the quantisers raise on a model that they did not expect; the class's name says more there.
_STUMBLES = (
    LookupError,
    AttributeError,
    AssertionError,
    ArithmeticError,
)


Answer = dict[str, Any]


def check(model: str) -> None:
    """Check a model with onnx, then load it into the runtime."""
    # With a path, the checker also takes models of more than 2 GiB with external data.
    onnx.checker.check_model(model, full_check=True)
    open_session(Path(model), what="it")


def infer_outputs(model: str) -> Answer:
    """Return the outputs with the shapes that onnx infers, each a ValueInfoProto in base64."""
    loaded = onnx.load(model, load_external_data=False)
    outputs = onnx.shape_inference.infer_shapes(loaded).graph.output
    return {"outputs": [base64.b64encode(o.SerializeToString()).decode() for o in outputs]}


# Module and function; the quantisers take half a second to import, which a check need not pay.
VERBS = {
    "check": (__name__, "check"),
    "infer": (__name__, "infer_outputs"),
    "fp16": ("edgectl.model.half", "convert_fp16"),
    "int8-static": ("edgectl.model.quantize", "quantize_static_int8"),
    "int8-dynamic": ("edgectl.model.quantize", "quantize_dynamic_int8"),
}


def answer(verb: str, arguments: dict[str, Any]) -> Answer:
    """Run one verb; what a library refuses becomes an answer."""
    module, function = VERBS[verb]
    run: Callable[..., Answer | None] = getattr(importlib.import_module(module), function)
    try:
        return run(**arguments) or {}
    except EdgectlError as exc:
        return {"error": f"failed '{verb}': {exc.message}", "hint": exc.hint}
    except _REFUSALS as exc:
        return {"error": f"failed '{verb}': {short_reason(exc)}"}
    except _STUMBLES as exc:
        return {"error": f"failed '{verb}': {type(exc).__name__}: {short_reason(exc)}"}


def _no_core_files() -> None:
    if sys.platform != "win32":
        import resource  # noqa: PLC0415 - Windows has no such module

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    """Answer the question on stdin."""
    _no_core_files()
    logging.basicConfig(level=logging.ERROR)
    out = os.dup(1)
    os.dup2(2, 1)
    reply = answer(sys.argv[1], json.load(sys.stdin))
    os.write(out, json.dumps(reply).encode())


if __name__ == "__main__":
    main()

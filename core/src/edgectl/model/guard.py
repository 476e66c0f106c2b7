"""Risky work on a model in a child process: what crashes there becomes an error here.

The native code of onnx and ONNX Runtime can end a process on a bad model. The child also has a
fixed hash seed, so that code which walks over sets writes the same bytes each time.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

from edge_components.contract.errors import ContractError
from edge_components.contract.jsonio import canonical_json, decode_json
from edgectl.errors import ModelError

TIMEOUT_S = 1800.0
MAX_ANSWER_BYTES = 4 << 20
_WORKER = "edgectl.model.worker"


def run_guarded(
    verb: str, arguments: dict[str, Any], *, what: str, timeout_s: float = TIMEOUT_S
) -> dict[str, Any]:
    """Run one verb of the worker and return its answer.

    Args:
        verb: A name in the worker's table.
        arguments: Plain data.
        what: The model's name for messages.
        timeout_s: The child is killed after it.

    Raises:
        ModelError: The worker refused the model, crashed or did not come to an end.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", _WORKER, verb],
            input=canonical_json(arguments),
            capture_output=True,
            env={**os.environ, "PYTHONHASHSEED": "0"},
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise ModelError(f"{what} was not done with '{verb}' after {timeout_s:g} s") from exc
    if done.returncode != 0:
        raise ModelError(
            f"{what} crashed '{verb}' ({_death(done.returncode)}){_last_line(done.stderr)}",
            hint="the model is damaged or hits a defect of onnxruntime; export it again",
        )
    try:
        answer = decode_json(
            done.stdout, dict[str, Any], what="the worker's answer", max_bytes=MAX_ANSWER_BYTES
        )
    except ContractError as exc:
        raise ModelError(f"{what} ended '{verb}' without an answer") from exc
    if "error" in answer:
        raise ModelError(f"{what} {answer['error']}", hint=str(answer.get("hint", "")))
    return answer


def _death(code: int) -> str:
    if code > 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _last_line(stderr: bytes) -> str:
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    return f": {lines[-1][:300]}" if lines else ""

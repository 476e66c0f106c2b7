"""Training as a process on this machine: any framework, as long as it leaves an ONNX file.

The command runs in the project's folder without a shell. It finds its inputs in
``EDGECTL_INPUT_<NAME>`` and writes to ``EDGECTL_OUTPUT_MODEL`` and ``EDGECTL_OUTPUT_METRICS``.
It has a process group of its own, and no process of that group outlives the call.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from edge_components.contract.errors import ContractError
from edge_components.contract.jsonio import decode_json
from edgectl.errors import TrainError
from edgectl.records import TrainedModel
from edgectl.requests import TrainRequest
from edgectl.trained_from import git_revision, input_digest

MAX_METRICS_BYTES = 1 << 20
MAX_LINE_BYTES = 4096
TAIL_LINES = 15
STOP_GRACE_S = 5.0
_POLL_S = 0.2


def run_training(request: TrainRequest, progress: Callable[[str], None]) -> TrainedModel:
    """Run a project's training on this machine and say what it left.

    A bare ``python`` is the interpreter that runs edgectl, unless a virtual environment is
    active; then it is that environment's.

    Args:
        request: What to run.
        progress: Takes each line that the command prints.

    Raises:
        TrainError: The command cannot be started, failed, left no new model, or its metrics are
            not a JSON object of numbers. The command's last lines are in the message.
    """
    environment = training_environment(request)
    inputs = {name: input_digest(path) for name, path in sorted(request.inputs.items())}
    revision = git_revision(request.project_dir)
    before = _fingerprint(request.model)
    for output in (request.model, request.metrics):
        if output is not None:
            output.parent.mkdir(parents=True, exist_ok=True)
    _run(request, environment, progress)
    _check_model(request.model, before)
    return TrainedModel(
        model=request.model,
        metrics=read_metrics(request.metrics) if request.metrics else {},
        inputs=inputs,
        command=request.command,
        revision=revision,
    )


def training_environment(request: TrainRequest) -> dict[str, str]:
    """Return the variables that tell the command where its inputs and outputs are.

    Raises:
        TrainError: An input does not exist, or two inputs' names give the same variable.
    """
    variables = {"EDGECTL_OUTPUT_MODEL": str(request.model), "PYTHONUNBUFFERED": "1"}
    if request.metrics is not None:
        variables["EDGECTL_OUTPUT_METRICS"] = str(request.metrics)
    for name, path in request.inputs.items():
        variable = "EDGECTL_INPUT_" + re.sub(r"[^A-Z0-9]", "_", name.upper())
        if variable in variables:
            raise TrainError(f"two training inputs would both be {variable}; rename '{name}'")
        if not path.exists():
            raise TrainError(f"the training input '{name}' does not exist: '{path}'")
        variables[variable] = str(path)
    return variables


def read_metrics(path: Path) -> dict[str, float]:
    """Read the metrics file: a JSON object of finite numbers.

    Raises:
        TrainError: It is missing or holds something else.
    """
    try:
        return decode_json(
            path.read_bytes(),
            dict[str, float],
            what=f"the metrics file '{path}'",
            max_bytes=MAX_METRICS_BYTES,
        )
    except OSError as exc:
        raise TrainError(f"training left no metrics file '{path}': {exc.strerror}") from exc
    except ContractError as exc:
        raise TrainError(
            f"training left unusable metrics: {exc}",
            hint='write one JSON object of numbers, for example {"accuracy": 0.97}',
        ) from exc


def _run(
    request: TrainRequest, environment: dict[str, str], progress: Callable[[str], None]
) -> None:
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    with _process(request, environment) as process:
        for line in _lines(process):
            tail.append(line)
            progress(line)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    code = process.returncode
    if code != 0:
        how = f"was killed by signal {-code}" if code < 0 else f"exited with code {code}"
        raise TrainError(
            f"the training command '{request.command[0]}' {how}; its last lines:\n"
            + "\n".join(tail)
        )


@contextlib.contextmanager
def _process(
    request: TrainRequest, environment: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    try:
        process = subprocess.Popen(
            _command(request.command),
            cwd=request.project_dir,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as exc:
        raise TrainError(
            f"the training command '{request.command[0]}' cannot be started: {exc.strerror}"
        ) from exc
    try:
        yield process
    finally:
        _stop_group(process)
        if process.stdout is not None:
            process.stdout.close()


def _command(command: tuple[str, ...]) -> tuple[str, ...]:
    if not command:
        raise TrainError("the training command is empty")
    if command[0] not in {"python", "python3"}:
        return command
    active = "VIRTUAL_ENV" in os.environ or "CONDA_PREFIX" in os.environ
    if active and shutil.which(command[0]):
        return command
    return (sys.executable, *command[1:])


def _lines(process: subprocess.Popen[bytes]) -> Iterator[str]:
    """Yield what the process prints until it has ended, also if a child keeps the pipe open."""
    pipe = process.stdout
    if pipe is None:
        return
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            ended = _has_ended(process)
            if ended:
                _signal_group(process.pid, signal.SIGKILL)
            if not selector.select(_POLL_S):
                if ended:
                    break
                continue
            data = os.read(pipe.fileno(), 1 << 16)
            if not data:
                break
            *whole, rest = (rest + data).replace(b"\r", b"\n").split(b"\n")
            whole, rest = _bounded(whole, rest)
            yield from (_text(line) for line in whole if line.strip())
    if rest.strip():
        yield _text(rest)


def _bounded(whole: list[bytes], rest: bytes) -> tuple[list[bytes], bytes]:
    return (whole, rest) if len(rest) <= MAX_LINE_BYTES else ([*whole, rest], b"")


def _text(line: bytes) -> str:
    return line[:MAX_LINE_BYTES].decode("utf-8", "replace").rstrip()


def _stop_group(process: subprocess.Popen[bytes]) -> None:
    """End the whole group: politely if the command still runs, what it left behind at once."""
    if not _has_ended(process):
        _signal_group(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_GRACE_S
        while not _has_ended(process) and time.monotonic() < deadline:
            time.sleep(0.02)
    _signal_group(process.pid, signal.SIGKILL)
    process.wait()


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Look without reaping, so that the group's number cannot go to somebody else meanwhile."""
    if process.returncode is not None:
        return True
    options = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, process.pid, options) is not None


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _fingerprint(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _check_model(path: Path, before: tuple[int, int, int] | None) -> None:
    after = _fingerprint(path)
    if after is None or not path.is_file():
        raise TrainError(
            f"training ended well but left no model at '{path}'",
            hint="write the ONNX file to the path in EDGECTL_OUTPUT_MODEL",
        )
    if after == before:
        raise TrainError(
            f"training ended well but did not write '{path}': the file is from an earlier run"
        )

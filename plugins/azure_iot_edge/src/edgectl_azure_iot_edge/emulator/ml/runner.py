"""Jobs that run: code and inputs from storage, a process with its own folder, outputs to storage.

The compute is this machine and the environment's image is this Python: what the image has beside is
the user's to install. As on Azure, the command is a line for bash, ``${{inputs.x}}`` and
``${{outputs.y}}`` in it stand for paths, the working folder is the code's, and what lies in its
``outputs`` and ``logs`` goes to the artifact store.
Sources: "Train models (create jobs)" and the command job's YAML schema of Azure Machine Learning.
"""

from __future__ import annotations

import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from edgectl_azure_iot_edge.emulator.ml.jobs import Job
from edgectl_azure_iot_edge.emulator.ml.naming import (
    ARTIFACT_STORE,
    BLOB_STORE,
    artifact_prefix,
    output_prefix,
)
from edgectl_azure_iot_edge.emulator.ml.storage import Storage, StorageError

LOG = "user_logs/std_log.txt"
STOP_GRACE_S = 30.0
_FLUSH_S = 0.2
_TAIL_LINES = 20
_BINDING = re.compile(r"\$\{\{\s*(inputs|outputs|name)(?:\.([A-Za-z0-9_]+))?\s*\}\}")


class StepError(Exception):
    """A job cannot go on; the text says why."""


class Runner:
    """Runs jobs, each on a thread and in a process of its own.

    Args:
        folder: Takes the jobs' folders.
        storage: The workspace's datastores.
        code: Returns where the files of a code asset lie: container and prefix.
        now: The account's time.
    """

    def __init__(
        self,
        folder: Path,
        *,
        storage: Storage,
        code: Callable[[str], tuple[str, str]],
        now: Callable[[], datetime],
    ) -> None:
        self._folder = folder
        self._storage = storage
        self._code = code
        self._now = now
        self._closing = threading.Event()
        self._running: list[Job] = []

    def start(self, job: Job) -> None:
        """Begin a job."""
        self._running = [*(one for one in self._running if not one.over.is_set()), job]
        threading.Thread(target=self._run, args=(job,), daemon=True).start()

    def close(self) -> None:
        """Kill what still runs."""
        self._closing.set()
        for job in self._running:
            job.cancel.set()
        for job in self._running:
            job.over.wait(10.0)

    def _run(self, job: Job) -> None:
        place = self._folder / job.name
        try:
            job.status = "Preparing"
            shutil.rmtree(place, ignore_errors=True)
            paths = self._prepare(job, place)
            if not job.cancel.is_set():
                self._execute(job, place, paths)
            self._end(job, "Canceled" if job.cancel.is_set() else "Completed")
        except StepError as exc:
            job.error = str(exc)
            self._end(job, "Failed")
        except OSError as exc:
            job.error = f"The compute failed: {exc}"
            self._end(job, "Failed")
        finally:
            shutil.rmtree(place, ignore_errors=True)
            job.over.set()

    def _end(self, job: Job, status: str) -> None:
        job.ended = self._now()
        job.status = status

    def _prepare(self, job: Job, place: Path) -> dict[str, str]:
        """Bring code and inputs, and return what stands for each binding."""
        code = place / "code"
        code.mkdir(parents=True)
        if job.asked.code_id:
            container, prefix = self._code(job.asked.code_id)
            self._storage.fetch(container, prefix, code)
        paths = {"name": job.name}
        for name, port in (job.asked.inputs or {}).items():
            paths[f"inputs.{name}"] = (
                port.value or ""
                if port.job_input_type == "literal"
                else str(self._input(name, port.uri or "", place / "inputs" / name))
            )
        for name in job.asked.outputs or {}:
            folder = place / "named" / name
            folder.mkdir(parents=True)
            paths[f"outputs.{name}"] = str(folder)
        return paths

    def _input(self, name: str, uri: str, folder: Path) -> Path:
        try:
            container, path = self._storage.locate(uri)
            return self._storage.fetch_input(container, path, folder)
        except StorageError as exc:
            raise StepError(
                f"Unable to mount or download the input '{name}' from '{uri}': {exc}"
            ) from exc

    def _execute(self, job: Job, place: Path, paths: dict[str, str]) -> None:
        command = _bound(job.asked.command, paths)
        shell = shutil.which("bash") or "/bin/sh"
        job.started, job.status = self._now(), "Running"
        code = place / "code"
        for name in ("outputs", "logs"):
            (code / name).mkdir(exist_ok=True)
        log = _Log(self._storage, artifact_prefix(job.name) + LOG)
        job.process = subprocess.Popen(
            [shell, "-c", command],
            cwd=code,
            env=_environment(job, place, paths),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        late = threading.Thread(target=_watch, args=(job, self._closing), daemon=True)
        late.start()
        log.follow(job.process)
        code_ = job.process.wait()
        late.join()
        if job.status != "CancelRequested":
            job.status = "Finalizing"
        self._collect(job, place)
        if code_ != 0 and not job.cancel.is_set():
            how = code_ if code_ > 0 else 128 - code_
            raise StepError(
                f"Execution failed. User process '{shell}' exited with status code {how}. Please "
                f"check log file '{LOG}' for error details. Error: {log.tail()}"
            )

    def _collect(self, job: Job, place: Path) -> None:
        container = self._storage.container(ARTIFACT_STORE)
        for name in ("outputs", "logs"):
            prefix = f"{artifact_prefix(job.name)}{name}/"
            self._storage.send(place / "code" / name, container, prefix)
        for name, port in (job.asked.outputs or {}).items():
            target = self._storage.container(BLOB_STORE), output_prefix(job.name, name)
            if port.uri:
                target = self._storage.locate(port.uri)
            self._storage.send(place / "named" / name, *target)


class _Log:
    """A job's output on its way to storage, while it still comes."""

    def __init__(self, storage: Storage, path: str) -> None:
        self._storage = storage
        self._path = path
        self._data = bytearray()
        self._sent = -1
        self._due = 0.0
        self._container = storage.container(ARTIFACT_STORE)

    def follow(self, process: subprocess.Popen[bytes]) -> None:
        """Read what a process prints until nobody can print any more."""
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        self._send()
        with process.stdout as stream, selectors.PollSelector() as ready:
            ready.register(stream, selectors.EVENT_READ)
            while True:
                readable = ready.select(_FLUSH_S)
                part = os.read(stream.fileno(), 1 << 16) if readable else b""
                if readable and not part:
                    break
                self._data += part
                if not readable or time.monotonic() >= self._due:
                    self._send()
        self._send()

    def tail(self) -> str:
        """Return the last lines."""
        lines = self._data.decode(errors="replace").splitlines()
        return "\n".join(lines[-_TAIL_LINES:])

    def _send(self) -> None:
        self._due = time.monotonic() + _FLUSH_S
        if len(self._data) != self._sent:
            self._storage.put(self._container, self._path, bytes(self._data), "text/plain")
            self._sent = len(self._data)


def _watch(job: Job, closing: threading.Event) -> None:
    """Stop the process when somebody wants it, or when its time is over."""
    process = job.process
    assert process is not None  # noqa: S101 - started before
    limit = job.timeout_s
    deadline = time.monotonic() + limit if limit is not None else None
    while process.poll() is None and not job.cancel.wait(0.05):
        if deadline is not None and time.monotonic() >= deadline:
            job.error = f"The job was canceled: it reached its timeout of {limit:g} s"
            job.cancel.set()
    if process.poll() is not None:
        return
    job.status = "CancelRequested"
    _signal(process, signal.SIGTERM)
    grace = time.monotonic() + (0.0 if closing.is_set() else STOP_GRACE_S)
    while process.poll() is None and time.monotonic() < grace and not closing.is_set():
        time.sleep(0.05)
    _signal(process, signal.SIGKILL)


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


def _bound(command: str, paths: dict[str, str]) -> str:
    """Put paths and values in the place of a command's bindings.

    Raises:
        StepError: There is no such input or output.
    """

    def value(match: re.Match[str]) -> str:
        key = match[1] if match[2] is None else f"{match[1]}.{match[2]}"
        if key not in paths:
            raise StepError(f"the command names '{key}', which the job does not have")
        return paths[key]

    return _BINDING.sub(value, command)


def _environment(job: Job, place: Path, paths: dict[str, str]) -> dict[str, str]:
    """Return what the process gets: nothing of the emulator's own but where its Python is."""
    found = {
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))),
        "HOME": str(place),
        "LANG": "C.UTF-8",
        "AZUREML_RUN_ID": job.name,
        "AZUREML_EXPERIMENT_NAME": job.asked.experiment_name or "Default",
    }
    for key, path in paths.items():
        kind, _, name = key.partition(".")
        if name:
            found[f"AZURE_ML_{kind.upper().rstrip('S')}_{name}"] = path
    return found | (job.asked.environment_variables or {})

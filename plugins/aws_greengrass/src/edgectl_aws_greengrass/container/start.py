"""Runs a project's training inside a SageMaker container as it runs on the operator's machine.

The command finds the project around it, its inputs where the project has them, and the same
variables. Whatever it leaves in its output folder becomes the job's model archive. Python's
standard library only, and nothing newer than 3.8: the image is the user's.

SageMaker gives the folder ``/opt/ml`` its form (SageMaker developer guide, "Run training with
your own container"): channels below ``input/data``, the archive is made of ``model``, and the
text in ``output/failure`` becomes the job's failure reason.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

MAX_REASON = 1000
GRACE_S = 90.0  # SageMaker sends SIGKILL 120 s after SIGTERM


def main() -> int:
    """Run the job that lies beside this file; return its exit code."""
    here = Path(__file__).resolve().parent
    base = here.parents[2]
    job = json.loads((here / "job.json").read_text(encoding="utf-8"))
    work = base / "edgectl"
    prepare(job, base, here, work)
    before = files(work)
    code = run(job["command"], work, variables(job, base, work))
    if code != 0:
        how = f"was killed by signal {-code}" if code < 0 else f"exited with code {code}"
        fail(base, f"the training command '{job['command'][0]}' {how}")
        return code if code > 0 else 128 - code
    collect(job, work, base / "model", before)
    return 0


def prepare(job: dict[str, Any], base: Path, here: Path, work: Path) -> None:
    """Lay out the project, with its inputs where it has them."""
    if work.exists():
        shutil.rmtree(str(work))
    work.mkdir(parents=True)
    with tarfile.open(str(here / "code.tar.gz")) as archive:
        archive.extractall(str(work))  # noqa: S202 - made by edgectl, whose account this is
    for entry in job["inputs"].values():
        if entry["path"]:
            place = work / entry["path"]
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(source(entry, base))
    for output in (job["model"], job["metrics"]):
        if output:
            (work / output).parent.mkdir(parents=True, exist_ok=True)
    (base / "model").mkdir(parents=True, exist_ok=True)


def variables(job: dict[str, Any], base: Path, work: Path) -> dict[str, str]:
    """Return the command's environment."""
    environment = dict(os.environ)
    environment.setdefault("SM_MODEL_DIR", str(base / "model"))
    environment.setdefault("SM_OUTPUT_DATA_DIR", str(base / "output" / "data"))
    for variable, entry in job["inputs"].items():
        environment[variable] = str(source(entry, base))
    environment["EDGECTL_OUTPUT_MODEL"] = str(work / job["model"])
    if job["metrics"]:
        environment["EDGECTL_OUTPUT_METRICS"] = str(work / job["metrics"])
    environment["PYTHONUNBUFFERED"] = "1"
    return environment


def source(entry: dict[str, str], base: Path) -> Path:
    """Return where an input lies: a channel's folder, or the one file in it."""
    channel = base / "input" / "data" / entry["channel"]
    return channel / entry["file"] if entry["file"] else channel


def run(command: list[str], work: Path, environment: dict[str, str]) -> int:
    """Run the command to its end; a SIGTERM is handed on, and it gets time to save its work."""
    program = sys.executable if command[0] in ("python", "python3") else command[0]
    local = work / program
    if local.is_file():
        # S3 keeps no modes.
        local.chmod(local.stat().st_mode | 0o111)
    child = subprocess.Popen([program, *command[1:]], cwd=str(work), env=environment)
    deadline = [0.0]

    def stop(number: int, _frame: Any) -> None:
        deadline[0] = time.monotonic() + GRACE_S
        child.send_signal(number)

    signal.signal(signal.SIGTERM, stop)
    while True:
        try:
            return child.wait(1.0)
        except subprocess.TimeoutExpired:
            if deadline[0] and time.monotonic() > deadline[0]:
                child.kill()


def collect(job: dict[str, Any], work: Path, model: Path, before: set[str]) -> None:
    """Move the outputs to where SageMaker makes its archive of."""
    wanted = {job["model"], job["metrics"]} - {""}
    folder = Path(job["model"]).parent
    for name in sorted(files(work)):
        beside = name not in before and folder in Path(name).parents
        if name in wanted or beside:
            target = model / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(str(work / name), str(target))


def files(root: Path) -> set[str]:
    """Return the paths of the regular files below a folder."""
    found = set()
    for folder, _folders, names in os.walk(str(root)):
        for name in names:
            path = Path(folder) / name
            if not path.is_symlink():
                found.add(path.relative_to(root).as_posix())
    return found


def fail(base: Path, reason: str) -> None:
    """Say why the job failed, where SageMaker looks for it."""
    output = base / "output"
    output.mkdir(parents=True, exist_ok=True)
    (output / "failure").write_text(reason[:MAX_REASON], encoding="utf-8")
    sys.stderr.write(reason + "\n")


if __name__ == "__main__":
    sys.exit(main())

"""Runs a project's training inside an Azure ML job as it runs on the operator's machine.

The command finds the project around it, its inputs where the project has them, and the same
variables. Whatever it leaves in its output folder goes to ``outputs``, which Azure ML brings to
its store. Python's standard library only, and nothing newer than 3.8: the image is the user's.

Arguments are ``VARIABLE=path`` for each input: where Azure ML has put it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

GRACE_S = 25.0  # Azure ML kills a canceled job's container half a minute after its SIGTERM


def main() -> int:
    """Run the job that lies beside this file; return its exit code."""
    here = Path(__file__).resolve().parent
    work = here.parent
    job = json.loads((here / "job.json").read_text(encoding="utf-8"))
    places = dict(argument.split("=", 1) for argument in sys.argv[1:])
    prepare(job, work, places)
    before = files(work)
    code = run(job["command"], work, variables(job, work, places))
    if code != 0:
        how = f"was killed by signal {-code}" if code < 0 else f"exited with code {code}"
        sys.stderr.write(f"the training command '{job['command'][0]}' {how}\n")
        return code if code > 0 else 128 - code
    collect(job, work, before)
    return 0


def prepare(job: dict[str, Any], work: Path, places: dict[str, str]) -> None:
    """Put inputs where the project has them, and make the outputs' folders."""
    for variable, path in job["inputs"].items():
        if path:
            place = work / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(places[variable])
    for output in (job["model"], job["metrics"]):
        if output:
            (work / output).parent.mkdir(parents=True, exist_ok=True)


def variables(job: dict[str, Any], work: Path, places: dict[str, str]) -> dict[str, str]:
    """Return the command's environment."""
    environment = dict(os.environ)
    for variable in job["inputs"]:
        environment[variable] = places[variable]
    environment["EDGECTL_OUTPUT_MODEL"] = str(work / job["model"])
    if job["metrics"]:
        environment["EDGECTL_OUTPUT_METRICS"] = str(work / job["metrics"])
    environment["PYTHONUNBUFFERED"] = "1"
    return environment


def run(command: list[str], work: Path, environment: dict[str, str]) -> int:
    """Run the command to its end; a SIGTERM is handed on, and it gets time to save its work."""
    program = sys.executable if command[0] in ("python", "python3") else command[0]
    local = work / program
    if local.is_file():
        # Blob storage keeps no modes.
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


def collect(job: dict[str, Any], work: Path, before: set[str]) -> None:
    """Move the outputs to where Azure ML takes them from."""
    wanted = {job["model"], job["metrics"]} - {""}
    folder = Path(job["model"]).parent
    target = work / job["outputs"]
    for name in sorted(files(work)):
        beside = name not in before and folder in Path(name).parents
        if name in wanted or beside:
            place = target / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(str(work / name), str(place))


def files(root: Path) -> set[str]:
    """Return the paths of the regular files below a folder."""
    found = set()
    for folder, _folders, names in os.walk(str(root)):
        for name in names:
            path = Path(folder) / name
            if not path.is_symlink():
                found.add(path.relative_to(root).as_posix())
    return found


if __name__ == "__main__":
    sys.exit(main())

"""Installs the edgectl runtime for the component that carries this file.

Runs on the device, with the device's Python and its standard library only. If this Python has
exactly the wanted runtime already (an image that comes with onnxruntime for its accelerator), it
is used as it is. Otherwise the runtime gets an environment of its own, which sees the system's
packages, from the wheels that were carried along or from the device's package index. What is
there stays whole until the new one is, so that a device can go back after any failure.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAMS = {
    "edge-runtime": "edge_components.runtime.main",
    "edge-agent": "edge_components.agent.main",
}
OWN = "edgectl_edge_components-"
KEEP = 2
NEEDED = (3, 11)
FIND = (
    "import importlib.util as u; s = u.find_spec('edge_components'); "
    "print(s.submodule_search_locations[0] if s and s.submodule_search_locations else '')"
)


def content_of(folder: Path) -> str:
    """Return the digest of a package's files: paths and contents, nothing else."""
    found = []
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if "__pycache__" in name.parts or path.suffix in {".pyc", ".pyo"} or not path.is_file():
            continue
        found.append((name.as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()))
    lines = "".join(f"{digest} {name}\n" for name, digest in sorted(found))
    return "sha256:" + hashlib.sha256(lines.encode()).hexdigest()


def has_it(python: Path, wanted: str) -> bool:
    """Whether an interpreter imports the wanted runtime; nothing of it is run."""
    done = subprocess.run(
        [str(python), "-c", FIND], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
    )
    folder = done.stdout.decode().strip()
    return done.returncode == 0 and bool(folder) and content_of(Path(folder)) == wanted


def make_environment(wheels: Path, into: Path, wanted: str) -> Path:
    """Install the runtime into an environment named after its content; return its Python."""
    final = into / f"venv-{wanted.rsplit(':', maxsplit=1)[-1][:12]}"
    python = final / "bin" / "python"
    if python.exists() and has_it(python, wanted):
        return python
    shutil.rmtree(str(final), ignore_errors=True)
    run([sys.executable, "-m", "venv", "--system-site-packages", str(final)])
    carried = sorted(path for path in wheels.iterdir() if path.suffix == ".whl")
    own = [path for path in carried if path.name.startswith(OWN)]
    source = ["--no-index"] if len(carried) > len(own) else []
    pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    run([*pip, "--find-links", str(wheels), *source, *map(str, own)])
    if not has_it(python, wanted):
        raise SystemExit("the runtime that was installed is not the one that was published")
    return python


def run(command: list[str]) -> None:
    """Run a command; end with its last lines if it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        lines = done.stdout.decode(errors="replace").strip().splitlines()[-15:]
        raise SystemExit(f"'{' '.join(command[:4])}' failed:\n" + "\n".join(lines))


def write_programs(python: Path, into: Path) -> None:
    """Make the programs that the recipes call, each in one step."""
    folder = into / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    for name, module in PROGRAMS.items():
        number, part = tempfile.mkstemp(dir=str(folder))
        with os.fdopen(number, "w") as file:
            file.write(f'#!/bin/sh\nexec {shlex.quote(str(python))} -m {module} "$@"\n')
        Path(part).chmod(0o755)
        Path(part).replace(folder / name)


def forget_old(into: Path, python: Path) -> None:
    """Remove environments that neither this version nor the one before it uses."""
    found = sorted(into.glob("venv-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    kept = [path for path in found if path in python.parents]
    for path in found:
        if path not in kept and len(kept) < KEEP:
            kept.append(path)
        elif path not in kept:
            shutil.rmtree(str(path), ignore_errors=True)


def main() -> None:
    """Install, or see that there is nothing to do."""
    parser = argparse.ArgumentParser(description="Install the edgectl runtime.")
    parser.add_argument("--wheels", type=Path, required=True, help="folder with what was carried")
    parser.add_argument("--into", type=Path, required=True, help="the component's own folder")
    options = parser.parse_args()
    wanted = os.environ["EDGECTL_RUNTIME_CONTENT"]
    if sys.version_info[:2] < NEEDED:
        have = f"{sys.version_info[0]}.{sys.version_info[1]}"
        raise SystemExit(
            f"the runtime needs Python {NEEDED[0]}.{NEEDED[1]}, '{sys.executable}' is {have}: set "
            "providers.aws.runtime.python"
        )
    python = Path(sys.executable)
    if not has_it(python, wanted):
        python = make_environment(options.wheels, options.into, wanted)
    write_programs(python, options.into)
    forget_old(options.into, python)


if __name__ == "__main__":
    main()

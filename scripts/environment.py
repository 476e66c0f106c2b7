"""Make one of the workspace's virtual environments, or leave it alone when it is up to date.

``environment.py demo FOLDER`` installs the self-hosted line only; ``environment.py dev FOLDER``
everything that `make test` and `make check` need; ``environment.py kserve FOLDER`` somebody else's
clients, which a slow test runs. What is installed stands in
``requirements/NAME.txt``, pinned with hashes; the workspace's own distributions follow editable,
offline and with the pinned build tools, so nothing unpinned is ever fetched.

An environment carries a fingerprint of what it was made from (Python, locks, project files and
this script), so a second run costs a few file reads. Only the standard library is used: this runs
before anything is installed.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import platform
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STAMP = ".made-from"
SELF_HOSTED = ("edge_components", "core", "plugins/selfhosted")
CLOUD = ("plugins/aws_greengrass", "plugins/azure_iot_edge", "plugins/gke_edge")
DISTRIBUTIONS: dict[str, tuple[str, ...]] = {
    "demo": SELF_HOSTED,
    "dev": SELF_HOSTED + CLOUD,
    "kserve": (),
}
# What a laptop that only wants the self-hosted line must not have to download.
HEAVY = re.compile(
    r"(boto3|botocore|sagemaker|moto|azure|msrest|google-(api|auth|cloud)|grpcio|lightkube"
    r"|kubernetes|torch|tensorflow|nvidia)(-|$)"
)
UNITS = {"kb": 1e3, "kib": 1024.0, "mb": 1e6, "mib": 1024.0**2, "gb": 1e9, "gib": 1024.0**3}
DOWNLOADING = re.compile(r"^\s*Downloading (\S+) \(([\d.]+) ?([kKMG]i?B)\)")
PREPARED = re.compile(r"^\s*Prepared (\d+) packages?")


class SetupError(Exception):
    """The environment cannot be made; the message says why and what to do."""


@dataclass
class Downloads:
    """What the installers said that they fetched.

    uv names every package of 1 MiB and more with its size, and counts all.
    """

    sizes: dict[str, float] = field(default_factory=dict)
    prepared: int = 0

    def read(self, line: str) -> None:
        """Take one line of an installer's output."""
        if found := DOWNLOADING.match(line):
            self.sizes[found[1]] = float(found[2]) * UNITS[found[3].lower()]
        elif found := PREPARED.match(line):
            self.prepared += int(found[1])

    def summary(self) -> str:
        """Say it in one clause."""
        if not self.sizes and not self.prepared:
            return "nothing downloaded, all was in the cache"
        small = self.prepared - len(self.sizes)
        megabytes = sum(self.sizes.values()) / 1e6
        more = f" and {small} packages below 1 MB each" if small > 0 else ""
        return f"downloaded {megabytes:.0f} MB{more}"


def fingerprint(name: str) -> str:
    """Digest everything that decides what the environment holds."""
    files = [
        Path(__file__),
        ROOT / "requirements" / "uv.txt",
        ROOT / "requirements" / f"{name}.txt",
        *(ROOT / folder / "pyproject.toml" for folder in DISTRIBUTIONS[name]),
    ]
    digest = hashlib.sha256(f"{platform.python_version()} {ROOT}".encode())
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def say(text: str) -> None:
    """Print one line of progress at once."""
    print(text, flush=True)


def run(command: list[str], downloads: Downloads) -> None:
    """Run an installer, show its lines as they come, and count what it downloads.

    Raises:
        SetupError: It failed.
    """
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None  # noqa: S101 - PIPE was asked for
        for line in process.stdout:
            downloads.read(line)
            if not line.startswith((" + ", "Requirement already", "Collecting ")):
                say(f"  {line.rstrip()}")
    if process.returncode:
        raise SetupError(f"'{' '.join(command[:4])} …' failed with exit code {process.returncode}")


def python_of(folder: Path) -> Path:
    """Name the environment's interpreter."""
    return folder / "bin" / "python"


def make_venv(folder: Path) -> None:
    """Make the virtual environment, anew when it belongs to another Python or was moved.

    Raises:
        SetupError: This Python has neither ensurepip nor pip, or something else is in the way.
    """
    config = folder / "pyvenv.cfg"
    if folder.exists() and not config.exists():
        raise SetupError(f"'{folder}' exists and is not a virtual environment; move it away")
    if config.exists() and python_of(folder).exists():
        made = dict(line.split(" = ", 1) for line in config.read_text().splitlines() if "=" in line)
        if made.get("version") == platform.python_version() and made.get("command", "").endswith(
            f" {folder}"
        ):
            return
    options = ["--clear"]
    if importlib.util.find_spec("ensurepip") is None:
        if importlib.util.find_spec("pip") is None:
            raise SetupError(
                f"'{sys.executable}' has neither ensurepip nor pip, so no virtual environment can "
                "be made (on Debian and Ubuntu: apt install python3-venv)"
            )
        options.append("--without-pip")
    run([sys.executable, "-m", "venv", *options, str(folder)], Downloads())


def install(name: str, folder: Path, downloads: Downloads) -> None:
    """Bring uv, the locked packages and the workspace's own distributions into the folder."""
    python = str(python_of(folder))
    pip = [python, "-m", "pip"]
    if not list(folder.glob("lib/python*/site-packages/pip")):
        pip = [sys.executable, "-m", "pip", "--python", python]
    quiet = ["--progress-bar", "off", "--no-input", "--disable-pip-version-check"]
    lock = ["--require-hashes", "-r", str(ROOT / "requirements" / "uv.txt")]
    run([*pip, "install", *quiet, "--no-deps", *lock], downloads)
    uv = [str(folder / "bin" / "uv"), "pip"]
    lock = ["--require-hashes", f"requirements/{name}.txt"]
    run([*uv, "sync", "--python", python, *lock], downloads)
    if not DISTRIBUTIONS[name]:
        return
    editable = [part for path in DISTRIBUTIONS[name] for part in ("-e", f"./{path}")]
    flags = ["--offline", "--no-deps", "--no-build-isolation"]
    run([*uv, "install", "--python", python, *flags, *editable], Downloads())


def check_light(folder: Path) -> None:
    """Refuse an environment of the self-hosted line that got a cloud SDK, or lacks something.

    Raises:
        SetupError: The lock holds something that does not belong there.
    """
    listed = subprocess.run(
        [str(folder / "bin" / "uv"), "pip", "list", "-q", "--format=json", "-p", python_of(folder)],
        check=True,
        capture_output=True,
        text=True,
    )
    heavy = [entry["name"] for entry in json.loads(listed.stdout) if HEAVY.match(entry["name"])]
    if heavy:
        raise SetupError(f"the self-hosted line must not install {', '.join(heavy)}")
    run(
        [str(folder / "bin" / "uv"), "pip", "check", "-q", "-p", str(python_of(folder))],
        Downloads(),
    )


def ensure(name: str, folder: Path) -> None:
    """Make the environment unless it is as it should be."""
    wanted = fingerprint(name)
    stamp = folder / STAMP
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    say(f"setting up {folder.name} for Python {platform.python_version()}")
    started = time.monotonic()
    stamp.unlink(missing_ok=True)
    make_venv(folder)
    downloads = Downloads()
    install(name, folder, downloads)
    if name == "demo":
        check_light(folder)
    stamp.write_text(wanted)
    took_s = time.monotonic() - started
    say(f"{folder.name} is ready: {downloads.summary()}, {took_s:.0f} s")


def main() -> int:
    """Read the arguments and do it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", choices=sorted(DISTRIBUTIONS))
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    try:
        ensure(arguments.name, arguments.folder.absolute())
    except SetupError as error:
        print(f"set-up failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

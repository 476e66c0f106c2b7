"""Built wheels, and fresh environments that hold one of them with its locked dependencies."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = {
    "edgectl": "core",
    "edgectl-edge-components": "edge_components",
    "edgectl-aws-greengrass": "plugins/aws_greengrass",
    "edgectl-azure-iot-edge": "plugins/azure_iot_edge",
    "edgectl-gke-edge": "plugins/gke_edge",
    "edgectl-selfhosted": "plugins/selfhosted",
}

Wheel = Callable[[str], Path]
Environment = Callable[..., Path]


def run(*command: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a program to its end without input and without this environment's own variables."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL"))}
    return subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


@pytest.fixture(scope="session")
def program() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a program; see ``run``."""
    return run


@pytest.fixture(scope="session")
def folders() -> dict[str, Path]:
    """Each distribution's folder."""
    return {name: ROOT / folder for name, folder in FOLDERS.items()}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Wheel:
    """Build a distribution's wheel, once, with the installed hatchling and without network."""
    output = tmp_path_factory.mktemp("wheels")
    built: dict[str, Path] = {}

    def build(name: str) -> Path:
        if name not in built:
            options = ("--wheel", "--no-isolation", "--skip-dependency-check")
            folder = output / name
            result = run(
                sys.executable, "-m", "build", *options, "--outdir", folder, ROOT / FOLDERS[name]
            )
            assert result.returncode == 0, result.stdout + result.stderr
            (built[name],) = folder.glob("*.whl")
        return built[name]

    return build


@pytest.fixture(scope="session")
def uv() -> str:
    """The uv that made this environment."""
    found = shutil.which(
        "uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    if found is None:
        pytest.skip("uv is not installed; `make test` installs it")
    return found


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory, wheel: Wheel, uv: str) -> Environment:
    """Make a fresh environment with these distributions and their locked dependencies.

    The versions and their hashes are those of the development lock. The package cache is warm
    from the set-up of this environment, so the registry is asked only when something is missing.
    """
    made: dict[tuple[str, ...], Path] = {}

    def make(*names: str) -> Path:
        if names in made:
            return made[names]
        folder = tmp_path_factory.mktemp("alone")
        wheels = [wheel(name) for name in names]
        digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in wheels]
        wanted = folder / "wanted.txt"
        wanted.write_text(
            "".join(
                f"{name} @ {path.as_uri()} --hash=sha256:{digest}\n"
                for name, path, digest in zip(names, wheels, digests, strict=True)
            )
        )
        python = folder / "venv" / "bin" / "python"
        result = run(uv, "venv", "-q", "--no-project", "-p", sys.executable, folder / "venv")
        assert result.returncode == 0, result.stderr
        locked = ("--require-hashes", "-r", wanted, "-c", ROOT / "requirements" / "dev.txt")
        for network in (("--offline",), ()):
            result = run(uv, "pip", "install", "-q", *network, "-p", python, *locked, cwd=folder)
            if result.returncode == 0:
                break
        assert result.returncode == 0, result.stderr
        made[names] = folder / "venv"
        return made[names]

    return make

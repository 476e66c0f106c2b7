"""The runtime's wheel is the same bytes everywhere, and the installer on the device knows it."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
import zipfile
from importlib.resources import files
from pathlib import Path

import pytest

from edgectl_aws_greengrass import wheel as wh
from edgectl_aws_greengrass._sdk import runtime

INSTALLER = Path(str(files("edgectl_aws_greengrass") / "device" / "install.py"))
TINY = wh.RuntimeFiles(
    name="edgectl-edge-components",
    version="0.1.0",
    package="edge_components",
    files={"__init__.py": b"", "agent/__init__.py": b"", "agent/main.py": b"print('agent runs')\n"},
    metadata="Metadata-Version: 2.1\nName: edgectl-edge-components\nVersion: 0.1.0\n",
)


def test_the_wheel_of_equal_files_is_equal_bytes() -> None:
    other = wh.RuntimeFiles(
        name=TINY.name,
        version=TINY.version,
        package=TINY.package,
        files=dict(reversed(list(TINY.files.items()))),
        metadata=TINY.metadata,
    )
    assert wh.build_wheel(TINY) == wh.build_wheel(other)


def test_the_wheels_record_names_every_file() -> None:
    with zipfile.ZipFile(io.BytesIO(wh.build_wheel(TINY))) as archive:
        names = archive.namelist()
        record = archive.read("edgectl_edge_components-0.1.0.dist-info/RECORD").decode()
    assert sorted(row[0] for row in csv.reader(io.StringIO(record))) == sorted(names)


def test_the_installed_runtime_is_read_whole() -> None:
    found = runtime.installed()
    assert {"agent/main.py", "contract/release.py"} <= found.files.keys()
    assert not any(name.endswith(".pyc") for name in found.files)
    assert "edge-agent" in found.entry_points


def install(
    wheels: Path, into: Path, content: str, *, python: str = sys.executable
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, str(INSTALLER), "--wheels", str(wheels), "--into", str(into)],
        env={**os.environ, "EDGECTL_RUNTIME_CONTENT": content},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def test_a_python_that_has_the_runtime_is_used_as_it_is(tmp_path: Path) -> None:
    into = tmp_path / "work"
    into.mkdir()
    done = install(tmp_path, into, runtime.installed_content())
    assert done.returncode == 0, done.stderr
    assert not list(into.glob("venv-*"))
    assert sys.executable in (into / "bin" / "edge-agent").read_text()
    assert os.access(into / "bin" / "edge-runtime", os.X_OK)


def test_otherwise_the_carried_wheel_is_installed_into_an_environment_of_its_own(
    tmp_path: Path,
) -> None:
    wheels, into = tmp_path / "it's here", tmp_path / "work dir"
    wheels.mkdir()
    into.mkdir()
    (wheels / wh.wheel_name(TINY)).write_bytes(wh.build_wheel(TINY))
    content = wh.content_digest(TINY.files)
    done = install(wheels, into, content)
    assert done.returncode == 0, done.stderr
    said = subprocess.run(
        [str(into / "bin" / "edge-agent")], capture_output=True, text=True, timeout=60, check=True
    )
    assert said.stdout == "agent runs\n"
    (environment,) = into.glob("venv-*")
    before = environment.stat().st_mtime_ns
    assert install(wheels, into, content).returncode == 0
    assert environment.stat().st_mtime_ns == before


@pytest.mark.slow
def test_a_wheel_that_is_not_what_was_published_is_refused(tmp_path: Path) -> None:
    into = tmp_path / "work"
    into.mkdir()
    (tmp_path / wh.wheel_name(TINY)).write_bytes(wh.build_wheel(TINY))
    done = install(tmp_path, into, f"sha256:{'0' * 64}")
    assert done.returncode != 0
    assert "not the one that was published" in done.stderr
    assert not (into / "bin").exists()


@pytest.mark.parametrize("name", ["edge-agent", "edge-runtime"])
def test_the_programs_that_recipes_call_are_the_distributions_own(name: str) -> None:
    assert f"{name} = " in runtime.installed().entry_points

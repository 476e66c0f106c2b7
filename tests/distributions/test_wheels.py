"""Each of the six distributions builds as a wheel: all of its package, and nothing else."""

from __future__ import annotations

import configparser
import email
import hashlib
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

Wheel = Callable[[str], Path]
NAMES = (
    "edgectl",
    "edgectl-edge-components",
    "edgectl-aws-greengrass",
    "edgectl-azure-iot-edge",
    "edgectl-gke-edge",
    "edgectl-selfhosted",
)


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def content(wheel: Wheel, name: str) -> dict[str, bytes]:
    """The wheel's files."""
    with zipfile.ZipFile(wheel(name)) as archive:
        return {entry: archive.read(entry) for entry in archive.namelist()}


def dist_info(content: dict[str, bytes]) -> str:
    """The one folder of the wheel that describes it."""
    (folder,) = {entry.split("/")[0] for entry in content if ".dist-info/" in entry}
    return folder


def test_a_wheel_holds_every_file_of_its_package_and_no_other(
    content: dict[str, bytes], folders: dict[str, Path], name: str
) -> None:
    source = folders[name] / "src"
    expected = {
        str(path.relative_to(source))
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    packaged = {entry for entry in content if not entry.startswith(dist_info(content))}
    assert packaged == expected
    (package,) = {entry.split("/")[0] for entry in packaged}
    assert f"{package}/py.typed" in packaged


def test_a_wheel_carries_license_and_readme(
    content: dict[str, bytes], folders: dict[str, Path], name: str
) -> None:
    info = dist_info(content)
    metadata = email.message_from_bytes(content[f"{info}/METADATA"])
    assert metadata["License-Expression"] == "Apache-2.0"
    root_license = (folders["edgectl"].parent / "LICENSE").read_bytes()
    assert content[f"{info}/licenses/LICENSE"] == root_license
    assert f"# {name}" in str(metadata.get_payload())
    assert metadata["Requires-Python"] == ">=3.11"


def test_every_entry_point_leads_to_a_module_of_the_wheel(content: dict[str, bytes]) -> None:
    parser = configparser.ConfigParser(delimiters=("=",))
    parser.read_string(content[f"{dist_info(content)}/entry_points.txt"].decode())
    modules = [
        value.partition(":")[0].replace(".", "/")
        for s in parser.sections()
        for _, value in parser[s].items()
    ]
    assert modules
    assert [
        m for m in modules if f"{m}.py" not in content and f"{m}/__init__.py" not in content
    ] == []


def test_the_same_sources_give_the_same_wheel(
    wheel: Wheel,
    program: Callable[..., object],
    folders: dict[str, Path],
    tmp_path: Path,
) -> None:
    name = "edgectl-gke-edge"
    program(sys.executable, "-m", "build", "-w", "-n", "-x", "-o", tmp_path, folders[name])
    (again,) = tmp_path.glob("*.whl")
    digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (wheel(name), again)}
    assert len(digests) == 1

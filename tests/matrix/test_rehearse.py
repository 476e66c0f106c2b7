"""Rehearsing as CI does: the example script on each cloud's emulator, and several at once."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

sys.path.insert(0, str(Path(__file__).parent / "support"))
sys.path.insert(0, str(Path(__file__).parents[1] / "site_support"))
from matrix_project import PROJECT
from tiny_site import TRAIN

SCRIPT = Path(__file__).parents[2] / "examples" / "ci" / "rehearse.sh"
IMAGES = {
    "aws": '    training: {image: "123456789012.dkr.ecr.us-east-1.amazonaws.com/train:1"}\n',
    "azure": '    training: {compute: cpu-cluster, image: "example.test/python:3.11"}\n',
    "gke": '    training: {image: "${GKE_TRAINING_IMAGE:-none}"}\n',
}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The matrix's project, with images to train in."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    text = PROJECT.format(version="1")
    for provider, image in IMAGES.items():
        text = text.replace(f"\n  {provider}:\n", f"\n  {provider}:\n{image}")
    (folder / "edgectl.yaml").write_text(text)
    (folder / "train.py").write_text(TRAIN)
    (folder / "scale.txt").write_text("1.0")
    shutil.copy(SCRIPT, folder)
    return folder


@pytest.fixture
def environment() -> dict[str, str]:
    """No folder for temporary files of the test's own: sockets below it need short names."""
    programs = Path(sys.executable).parent
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith("EDGECTL_")},
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
    }


def run(folder: Path, environment: Mapping[str, str], *command: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("provider", sorted(IMAGES))
def test_the_script_ends_with_devices_that_answer_and_nothing_left_to_change(
    project: Path, environment: dict[str, str], provider: str
) -> None:
    verdict = project / "verdict.xml"
    said = run(project, {**environment, "JUNIT": str(verdict)}, "./rehearse.sh", provider)
    assert re.search(r"release 1 \(present\): 0 devices change", said)
    root = ET.parse(verdict).getroot()
    assert int(root.get("tests", "0")) >= 2
    assert (root.get("failures"), root.get("errors"), root.get("skipped")) == ("0", "0", "0")
    assert not (project / ".edgectl" / "journal.jsonl").exists()


def test_several_providers_are_rehearsed_in_one_command(
    project: Path, environment: dict[str, str]
) -> None:
    for step in ("train", "register", "package"):
        run(project, environment, "edgectl", step)
    targets = ("-t", "lab", "-t", "shops")
    said = run(project, environment, "edgectl", "deploy", "--emulate", "--devices", "1", *targets)
    assert "provider 'gke' is emulated by process" in said
    assert "provider 'selfhosted' is emulated by process" in said
    for target in ("lab", "shops"):
        assert f"{target}: healthy - 1 of 1 devices are healthy\n" in said

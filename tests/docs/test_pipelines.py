"""The ready-made CI pipelines: they parse, and call edgectl with options that it has."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import click
import pytest
import yaml

from edgectl.cli.main import cli

ROOT = Path(__file__).parents[2]
CI = ROOT / "examples" / "ci"
FILES = ("github.yml", "gitlab-ci.yml")
_CALL = re.compile(r"^[ \t]*(?:- |&& )?(edgectl [a-z][^|>&\n]*)", re.MULTILINE)


def calls() -> Iterator[tuple[str, str]]:
    """Every command line of edgectl in the examples."""
    for name in (*FILES, "rehearse.sh"):
        for line in _CALL.findall((CI / name).read_text()):
            yield name, line.strip().rstrip("\\").strip()


def test_the_examples_call_edgectl() -> None:
    found = list(calls())
    assert {name for name, _ in found} == {*FILES, "rehearse.sh"}
    assert len(found) >= 15


@pytest.mark.parametrize(("name", "line"), list(calls()))
def test_every_option_in_the_examples_exists(name: str, line: str) -> None:
    words = shlex.split(line)[1:]
    context = click.Context(cli)
    command = cli.get_command(context, words[0])
    if isinstance(command, click.Group):
        command = command.get_command(context, "aws")  # `emulate PROVIDER`: all have these
    assert command is not None, (name, line)
    known = {option for parameter in command.params for option in parameter.opts}
    assert [word for word in words if word.startswith("-") and word not in known] == [], line


@pytest.mark.parametrize("name", FILES)
def test_a_deploy_job_applies_the_reviewed_plan_and_cannot_run_twice_at_once(name: str) -> None:
    document: dict[str, Any] = yaml.safe_load((CI / name).read_text())
    jobs = document.get("jobs", document)
    text = json.dumps(jobs["deploy"])
    assert "edgectl deploy --plan plan.json" in text
    assert "concurrency" in jobs["deploy"] or "resource_group" in jobs["deploy"]
    assert "id-token" in text or "extends" in jobs["deploy"]


@pytest.mark.slow
def test_a_rehearsal_ends_with_devices_that_answer_and_nothing_left_to_change(
    tmp_path: Path,
) -> None:
    project = tmp_path / "plates"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("EDGECTL_")}
    programs = Path(sys.executable).parent
    environment["PATH"] = f"{programs}{os.pathsep}{environment['PATH']}"
    environment["JUNIT"] = str(tmp_path / "verdict.xml")
    subprocess.run(["edgectl", "init", project], env=environment, check=True, timeout=60)
    shutil.copy(CI / "rehearse.sh", project)
    done = subprocess.run(
        ["./rehearse.sh", "selfhosted"],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    root = ET.parse(tmp_path / "verdict.xml").getroot()
    assert int(root.get("tests", "0")) >= 2
    assert (root.get("failures"), root.get("errors"), root.get("skipped")) == ("0", "0", "0")

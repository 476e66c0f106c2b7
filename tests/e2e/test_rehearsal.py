"""`edgectl deploy --emulate` as a user types it: real devices, and an end that leaves nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from edgectl.cli.main import run

END_TIMEOUT_S = 60.0


@pytest.fixture(scope="module")
def built(site_in: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with its package, whose hub is one that emulators can stand in for."""
    site = site_in(tmp_path_factory.mktemp("built"))
    text = (site.folder / "edgectl.yaml").read_text()
    text = text.replace("${EDGECTL_HUB_URL}", "${EDGECTL_HUB_URL:-https://hub.example}")
    text = text.replace("${EDGECTL_HUB_PASSWORD_FILE}", "${EDGECTL_HUB_PASSWORD_FILE:-none}")
    (site.folder / "edgectl.yaml").write_text(text)
    for step in ("train", "register", "package"):
        site.run(step)
    folder: Path = site.folder
    return folder


@pytest.fixture
def project(built: Path, site_in: Any, tmp_path: Path) -> Iterator[Any]:
    """A built project; whatever still runs below its folder in the end is ended."""
    site = site_in(tmp_path)
    shutil.copytree(built, tmp_path, dirs_exist_ok=True)
    (tmp_path / "tmp").mkdir()
    site.env["TMPDIR"] = str(tmp_path / "tmp")
    yield site
    for process in left(site):
        process.kill()


def left(site: Any) -> list[psutil.Process]:
    """Processes that work with a file below the project's folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if process.pid != os.getpid() and any(str(site.folder) in word for word in words):
            found.append(process)
    return found


def await_none(site: Any) -> None:
    deadline = time.monotonic() + END_TIMEOUT_S
    while running := left(site):
        assert time.monotonic() < deadline, running
        time.sleep(0.05)


def deploy(site: Any, *arguments: str, code: int) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        site.command("deploy", "--emulate", "--poll", "0.2", *arguments),
        cwd=site.folder,
        env=site.env,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done


def test_a_rehearsal_deploys_to_emulators_ignores_real_credentials_and_leaves_nothing(
    project: Any, tmp_path: Path
) -> None:
    journal = (project.folder / ".edgectl" / "journal.jsonl").read_bytes()
    project.env |= {"EDGECTL_HUB_URL": "https://hub.example", "AWS_SECRET_ACCESS_KEY": "real"}
    done = deploy(project, "--devices", "1", code=0)
    assert done.stdout == "all: healthy - 1 of 1 devices are healthy\n"
    assert re.search(r"^ignored, as this is a rehearsal: .*AWS_SECRET_ACCESS_KEY", done.stderr)
    assert re.search(r"provider 'selfhosted' is emulated by process \d+", done.stderr)
    assert re.search(r"device all-1 \(all\) answers at http://127\.0\.0\.1:\d+", done.stderr)
    assert left(project) == []
    assert list((tmp_path / "tmp").glob("edgectl-*")) == []
    assert (project.folder / ".edgectl" / "journal.jsonl").read_bytes() == journal


@pytest.mark.slow
def test_a_release_that_fails_on_virtual_devices_has_the_exit_code_of_a_deploy(
    project: Any,
) -> None:
    import numpy as np  # noqa: PLC0415 - only this test pays for it

    prepared = json.loads((project.folder / ".edgectl/build/prepared.json").read_text())
    with np.load(prepared["golden"]) as data:
        arrays = {key: data[key] for key in data.files}
    arrays = {k: v + 1 if k.startswith("output.") else v for k, v in arrays.items()}
    np.savez(prepared["golden"], **arrays)
    project.run("package")
    done = deploy(project, "--devices", "1", code=4)
    assert "golden-failed" in done.stdout
    assert left(project) == []


@pytest.mark.slow
def test_an_address_that_the_emulator_does_not_set_is_refused_and_not_reached(
    project: Any,
) -> None:
    file = project.folder / "edgectl.yaml"
    file.write_text(re.sub(r"\$\{EDGECTL_HUB_URL[^}]*\}", "https://hub.example", file.read_text()))
    done = deploy(project, "--devices", "1", code=1)
    assert "'hub.example:443' is not on this machine" in done.stderr
    assert left(project) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGINT, "rehearsing with emulators"),
        (signal.SIGTERM, "is emulated by process"),
        (signal.SIGINT, "have not settled"),
    ],
)
def test_an_interrupted_rehearsal_leaves_no_process_and_no_file(
    project: Any, tmp_path: Path, number: signal.Signals, said: str
) -> None:
    with start(project) as process:
        wait_for(process, said)
        process.send_signal(number)
        _, rest = process.communicate(timeout=END_TIMEOUT_S)
    assert process.returncode == 130, rest
    assert rest.endswith("interrupted\n")
    assert left(project) == []
    assert list((tmp_path / "tmp").glob("edgectl-*")) == []


@pytest.mark.slow
def test_where_the_command_itself_is_killed_its_emulators_end_by_themselves(
    project: Any,
) -> None:
    with start(project) as process:
        wait_for(process, "have not settled")
        process.kill()
        process.communicate()
    await_none(project)


@pytest.mark.slow
def test_emulators_that_are_kept_answer_in_a_shell_with_their_settings_until_they_are_killed(
    project: Any,
) -> None:
    done = deploy(project, "--devices", "1", "--keep", code=0)
    (settings,) = re.findall(r"after `\. (\S+)`", done.stderr)
    (pids,) = re.findall(r"`kill ([\d ]+)` stops them", done.stderr)
    shell = f". {settings}; exec {' '.join(project.command('-o', 'json', 'status'))}"
    asked = subprocess.run(
        ["bash", "-c", shell],
        cwd=project.folder,
        env=project.env,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    (row,) = json.loads(asked.stdout)
    assert (row["device"], row["state"], row["active"]) == ("all-1", "healthy", 1)
    for pid in pids.split():
        os.kill(int(pid), signal.SIGTERM)
    await_none(project)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--keep"], "--devices, --keep and --soak are for --emulate"),
        (["--emulate", "--plan", __file__], "which --emulate does not look at"),
    ],
)
def test_options_that_do_not_go_together_are_a_usage_error(
    site: Any, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--project", str(site.folder), "deploy", *arguments]) == 2
    assert words in capsys.readouterr().err


def start(site: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        site.command("deploy", "--emulate", "--poll", "0.2", "--devices", "1"),
        cwd=site.folder,
        env=site.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(process: subprocess.Popen[str], words: str) -> None:
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if words in line:
            return
    raise AssertionError(f"it ended before it said '{words}': {said}")

"""Commands, their errors and their exit codes, as a newcomer meets them."""

from __future__ import annotations

import fcntl
import json
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).parents[3] / "examples" / "plates"


def test_without_arguments_the_help_is_shown(site: Any) -> None:
    done = site.run(code=2)
    assert "Commands:" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["deplyo"], "Did you mean 'deploy'?"),
        (["deploy", "--wrong"], "No such option"),
        (["deploy", "--poll", "fast"], "is not a valid float"),
        (["-o", "xml", "status"], "'xml' is not one of"),
        (["devices", "add", "x"], "Missing option"),
        (["telemetry", "--since", "yesterday"], "yesterday"),
    ],
)
def test_wrong_usage_exits_2_and_says_what_is_wrong(
    site: Any, arguments: list[str], message: str
) -> None:
    site.write()
    assert message in site.run(*arguments, code=2).stderr


def test_outside_a_project_the_error_says_how_to_begin(site: Any) -> None:
    done = site.run("plan", code=1)
    assert done.stderr.startswith("error: there is no project file")
    assert "hint: `edgectl init` writes one" in done.stderr


@pytest.mark.parametrize(
    ("step", "before"), [("register", "train"), ("package", "register"), ("plan", "package")]
)
def test_a_step_names_the_one_that_is_missing(site: Any, step: str, before: str) -> None:
    site.write()
    assert f"run `edgectl {before}` first" in site.run(step, code=1).stderr


def test_a_gate_that_is_missed_stops_register_with_the_number(site: Any) -> None:
    site.write(scale=0.25)
    site.run("train")
    done = site.run("register", code=1)
    assert "0.25" in done.stderr
    assert ">= 0.5" in done.stderr
    assert "run `edgectl register` first" in site.run("package", code=1).stderr


def test_a_registered_version_does_not_change(site: Any) -> None:
    site.build()
    site.write(scale=0.9)
    site.run("train")
    done = site.run("register", code=1)
    assert "is registered with" in done.stderr
    assert "new version" in done.stderr


def test_approval_is_kept_and_does_not_move_the_digest(site: Any) -> None:
    site.build()
    before = json.loads(site.run("-o", "json", "package").stdout)["digest"]
    done = site.run("register", "--approve")
    assert done.stdout.splitlines()[0].endswith("approved")
    assert json.loads(site.run("-o", "json", "package").stdout)["digest"] == before


def test_an_unknown_provider_lists_the_known(site: Any) -> None:
    site.write()
    text = (site.folder / "edgectl.yaml").read_text()
    (site.folder / "edgectl.yaml").write_text(text.replace("provider: memory", "provider: cloud"))
    done = site.run("status", code=1)
    assert done.stderr.startswith("error: provider 'cloud' is not known")
    assert "selfhosted" in done.stderr


def test_a_setting_of_a_provider_that_is_wrong_names_file_line_and_key(site: Any) -> None:
    site.write(memory="{devices: 6, pages: 3}")
    done = site.run("status", code=1)
    assert done.stderr.startswith("error: edgectl.yaml:14: providers.memory")
    assert "pages" in done.stderr


BARE = """\
from edgectl.api import Capabilities, Record, hookimpl

class Config(Record, frozen=True):
    pass

class Bare:
    config_type = Config

    def __init__(self, config, context):
        pass

    @hookimpl
    def capabilities(self, request):
        return Capabilities()
"""


def test_a_hook_that_a_provider_lacks_is_an_error_that_says_so(site: Any) -> None:
    site.write()
    text = (site.folder / "edgectl.yaml").read_text()
    (site.folder / "edgectl.yaml").write_text(text.replace("provider: memory", "provider: bare"))
    (site.folder / "bare.py").write_text(BARE)
    installed = site.folder / "bare-1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: bare\nVersion: 1\n")
    (installed / "entry_points.txt").write_text("[edgectl.providers]\nbare = bare:Bare\n")
    site.env["PYTHONPATH"] = str(site.folder)
    done = site.run("status", code=1)
    assert done.stderr.startswith("error: provider 'bare' does not implement")


def test_providers_tells_what_each_does(site: Any) -> None:
    listed = {r["provider"]: r for r in json.loads(site.run("-o", "json", "providers").stdout)}
    assert listed["selfhosted"]["lacks"] == "preview"
    for name in ("memory", "aws", "azure", "gke"):
        assert listed[name]["does"] == "everything", name


def test_devices_come_and_go(site: Any) -> None:
    site.write(memory="{devices: 1}")
    folder = site.folder / "new"
    site.run(
        "devices", "add", "lot-9", "-t", "all", "--hardware", "raspberry-pi-4",
        "--write", str(folder),
    )  # fmt: skip
    (file,) = folder.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert "lot-9" in site.run("devices", "list").stdout
    assert "raspberry-pi-4" in site.run("devices", "show", "lot-9").stdout
    site.run("devices", "remove", "lot-9", "-t", "all")
    done = site.run("devices", "remove", "lot-9", "-t", "all", code=1)
    assert "knows no device 'lot-9'" in done.stderr


def test_doctor_passes_on_a_whole_project_and_fails_on_a_broken_one(site: Any) -> None:
    site.write()
    assert "NO" not in site.run("doctor").stdout
    text = (site.folder / "edgectl.yaml").read_text()
    (site.folder / "edgectl.yaml").write_text(text.replace("provider: memory", "provider: cloud"))
    assert "NO" in site.run("doctor", code=1).stdout


def test_init_writes_the_example_and_overwrites_nothing(site: Any) -> None:
    site.run("init", "my-plates")
    written = {p.name: p.read_text() for p in (site.folder / "my-plates").iterdir()}
    assert "name: my-plates\n" in written["edgectl.yaml"]
    done = site.run("init", "my-plates", code=1)
    assert "exists already; nothing was written" in done.stderr
    assert {p.name: p.read_text() for p in (site.folder / "my-plates").iterdir()} == written


def test_what_init_writes_is_the_example(site: Any) -> None:
    site.run("init", "copy", "--name", "parking-plates")
    example = {p.name: p.read_text() for p in EXAMPLE.iterdir() if p.is_file()}
    assert {p.name: p.read_text() for p in (site.folder / "copy").iterdir()} == example


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_is_no_success_and_needs_no_word(site: Any, unbuffered: str) -> None:
    shell = " ".join(site.command("schema")) + " | head -1; echo ${PIPESTATUS[0]}"
    env = site.env | {"PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(
        ["bash", "-c", shell], cwd=site.folder, env=env, capture_output=True, text=True,
        check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["{", "141"]
    assert done.stderr == ""


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_what_is_printed_arrives_whole_though_the_command_was_suspended(
    site: Any, unbuffered: str
) -> None:
    whole = site.run("schema").stdout
    assert len(whole) > 1 << 16, "it fits into a pipe"
    env = site.env | {"PYTHONUNBUFFERED": unbuffered}
    with subprocess.Popen(
        site.command("schema"), cwd=site.folder, env=env, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        full = process.stdout.fileno()
        until(lambda: waiting_bytes(full) == 1 << 16)
        process.send_signal(signal.SIGSTOP)
        until(lambda: " (stopped)" in Path(f"/proc/{process.pid}/status").read_text())
        process.send_signal(signal.SIGCONT)
        until(lambda: " (stopped)" not in Path(f"/proc/{process.pid}/status").read_text())
        assert process.stdout.read() == whole
    assert process.returncode == 0


def until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def waiting_bytes(pipe: int) -> int:
    found = fcntl.ioctl(pipe, termios.FIONREAD, bytes(4))
    return int.from_bytes(found, sys.byteorder)


def test_an_emulator_that_is_not_there_is_named(site: Any) -> None:
    done = site.run("emulate", "memory", code=1)
    assert done.stderr.startswith("error: no emulator is installed for provider 'memory'")

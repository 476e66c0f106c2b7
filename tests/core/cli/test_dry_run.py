"""`--dry-run`: every command that changes something has it, and then it changes nothing.

The commands run in this process, on copies of sites that were prepared once. What must not change
is all of it: the project's folder with store, keys and journal, and the provider's own state,
which the memory provider keeps there too.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import pluggy
import pytest

from edgectl import hookspecs
from edgectl.cli.main import cli, run
from edgectl.dryrun import DryRun
from edgectl.provider import Provider

READS = {
    "devices list": "reads",
    "devices show": "reads",
    "doctor": "reads",
    "journal show": "reads",
    "journal verify": "reads",
    "providers": "reads",
    "schema": "reads",
    "status": "reads",
    "telemetry": "reads",
    "telemetry plot": "draws what it read into a file that is named for it",
    "demo": "works in a folder of its own, with programs that it stops",
    "emulate aws": "runs an emulator until it is told to stop",
    "emulate azure": "runs an emulator until it is told to stop",
    "emulate gke": "runs an emulator until it is told to stop",
    "emulate selfhosted": "runs an emulator until it is told to stop",
    "hub": "runs the hub until it is told to stop",
}
HARDWARE = ("--hardware", "raspberry-pi-4")


class Case(NamedTuple):
    """A command line, the site that it runs on, and a piece of what it says on either output."""

    line: str
    site: str
    says: str


CASES = (
    Case("abort", "begun", "would add to the journal 'abort' (target all, release 1)"),
    Case("deploy", "built", "would call 'deploy' at provider 'memory'"),
    Case("deploy --junit verdict.xml", "built", "would write verdict.xml"),
    Case("deploy --no-wait --new-release", "deployed", "would add to the journal 'rollout-begin'"),
    Case("deploy --force-unapproved", "built", "would call 'package' at provider 'memory'"),
    Case("deploy", "begun", "would add to the journal 'rollout-end'"),
    Case("devices add lot-9 -t all --hardware raspberry-pi-4", "built", "would call 'enroll'"),
    Case("devices add lot-9 -t all --hardware raspberry-pi-4 --write new", "built", "new/…"),
    Case("devices add lot-9 -t all --hardware raspberry-pi-4", "fresh", "publisher.pem"),
    Case("devices remove device-0001 -t all", "built", "would call 'retire'"),
    Case("init plates", "fresh", "would write plates/edgectl.yaml"),
    Case("package", "built", "package.json"),
    Case("package --push registry.example/tiny:1 --export out2", "built", "would send"),
    Case("package --bundle release.tar", "built", "would write release.tar"),
    Case("package --pull registry.example/tiny:1", "fresh", "registry.example/tiny:1"),
    Case("pause", "begun", "would add to the journal 'pause' (target all, release 1)"),
    Case("plan", "built", "release 1 (new): 6 devices change"),
    Case("plan --write manifests", "built", "would write manifests/…"),
    Case("register", "built", "would call 'register' at provider 'memory'"),
    Case("register --approve", "built", "approval approved"),
    Case("register --reject", "built", "approval rejected"),
    Case("resume", "begun", "would call 'deploy' at provider 'memory'"),
    Case("resume --approve", "waiting", "would add to the journal 'approve'"),
    Case("rollback", "deployed", "would call 'package' at provider 'memory' (target all, release"),
    Case("run", "built", "would call 'train' at provider 'memory'"),
    Case("train", "built", "would call 'train' at provider 'memory' (command python train.py"),
    Case("train", "fresh", "trained.json"),
)


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command that can be called, by its words; some groups can be called themselves."""
    if not isinstance(command, click.Group):
        yield " ".join(path), command
        return
    if path and command.invoke_without_command:
        yield " ".join(path), command
    context = click.Context(command)
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        assert child is not None
        yield from leaves(child, (*path, name))


COMMANDS = dict(leaves(cli))


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_command_reads_only_or_can_be_run_dry(name: str) -> None:
    options = {option for param in COMMANDS[name].params for option in param.opts}
    assert ("--dry-run" in options) == (name not in READS), name


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - set(READS)))
def test_what_can_be_run_dry_is_tried_here(name: str) -> None:
    assert any(f"{case.line} ".startswith(f"{name} ") for case in CASES)


def snapshot(folder: Path) -> dict[str, tuple[Any, ...]]:
    """The site and all that temporary files left: kind, mode, time of change and content."""
    found = {}
    for path in sorted([*(folder / "site").rglob("*"), *(folder / "tmp").iterdir()]):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (status.st_mode, status.st_mtime_ns, content)
    return found


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory, site_in: Any) -> Callable[[str], Path]:
    """Prepare a site once: fresh, built, deployed (twice), begun or waiting."""
    made: dict[str, Path] = {}

    def site(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            _prepare(site_in(made[name]), name)
        return made[name]

    return site


def _prepare(site: Any, name: str) -> None:
    if name == "fresh":
        site.write()
        return
    pauses = "{waves: [1, 100%], soak: 0s, pause_after: [1]}"
    site.build(**({"rollout": pauses} if name == "waiting" else {}))
    (site.folder / "out").mkdir(exist_ok=True)
    call(site.folder, "train")
    if name == "deployed":
        call(site.folder, "deploy", "--poll", "0.05")
        site.write(version="2", scale=0.9)
        for step in ("train", "register", "package"):
            call(site.folder, step)
        call(site.folder, "deploy", "--poll", "0.05")
    elif name == "begun":
        call(site.folder, "deploy", "--no-wait")
        # Only a look moves the devices of this provider on: until they have settled.
        for _ in range(6):
            call(site.folder, "status")
    elif name == "waiting":
        call(site.folder, "deploy", "--poll", "0.05")


def call(folder: Path, *arguments: str, code: int = 0) -> None:
    assert run(["--project", str(folder), *arguments]) == code


@pytest.fixture
def place(
    sites: Callable[[str], Path],
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A copy of the site that a case wants, as the present folder; temporary files lie beside."""
    folder = tmp_path / "site"
    shutil.copytree(sites(request.param), folder)
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    monkeypatch.chdir(folder)
    return tmp_path


@pytest.mark.parametrize(
    ("place", "case"),
    [pytest.param(case.site, case, id=f"{case.line} ({case.site})") for case in CASES],
    indirect=["place"],
)
def test_a_dry_run_changes_nothing_and_says_what_it_would_do(
    place: Path, case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(place)
    assert run([*case.line.split(), "--dry-run"]) == 0
    said = capsys.readouterr()
    assert case.says in said.out + said.err
    assert said.err.endswith("dry run: nothing was changed\n")
    assert snapshot(place) == before


@pytest.mark.parametrize(
    ("place", "line"),
    [("built", "deploy"), ("deployed", "deploy"), ("begun", "deploy"), ("built", "plan")],
    indirect=["place"],
)
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_deploy_that_is_run_dry_prints_the_plan(
    place: Path, line: str, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert place.is_dir()
    capsys.readouterr()
    assert run(["-o", form, "plan"]) == 0
    plan = capsys.readouterr().out
    assert run(["-o", form, line, "--dry-run"]) == 0
    assert capsys.readouterr().out == plan


@pytest.mark.parametrize("place", ["deployed"], indirect=True)
def test_a_deploy_without_a_change_says_so(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert place.is_dir()
    assert run(["deploy", "--dry-run"]) == 0
    assert "nothing would change" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["begun"], indirect=True)
def test_json_has_what_would_be_done_step_by_step(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert place.is_dir()
    assert run(["-o", "json", "pause", "--dry-run"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["dry_run"] is True
    assert told["results"][0]["phase"] == "pause"
    (call_, kept) = told["would"]
    assert (call_["do"], call_["what"], call_["provider"]) == ("call", "coordinate", "memory")
    assert json.loads(call_["facts"]["control"])["phase"] == "pause"
    assert (kept["do"], kept["what"], kept["facts"]) == (
        "journal",
        "pause",
        {"target": "all", "release": "1"},
    )


@pytest.mark.parametrize(
    ("place", "line", "words"),
    [
        ("built", "pause", "no rollout is under way"),
        ("built", "devices remove lot-9 -t all", "knows no device 'lot-9'"),
        ("begun", "resume --approve", "waits for no approval"),
        ("fresh", "deploy", "run `edgectl package` first"),
        ("built", "deploy --emulate", "no emulator is installed for provider 'memory'"),
        ("built", "rollback", "nothing was ever deployed"),
    ],
    indirect=["place"],
)
def test_what_would_be_refused_is_refused_with_the_same_words(
    place: Path, line: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(place)
    assert run([*line.split(), "--dry-run"]) == 1
    assert words in capsys.readouterr().err
    assert snapshot(place) == before


@pytest.mark.parametrize("place", ["built"], indirect=True)
def test_without_the_publishers_key_a_dry_deploy_fails_as_the_deploy_would(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "site" / ".edgectl" / "keys" / "publisher.pem").unlink()
    assert run(["deploy", "--dry-run"]) == 1
    assert "publisher's key" in capsys.readouterr().err


LOOKING = (
    *("approval", "capabilities", "check", "history"),
    *("inventory", "observe", "preview", "telemetry"),
)
HOOKS = [name for name in vars(hookspecs) if getattr(vars(hookspecs)[name], "edgectl_spec", None)]


@pytest.mark.parametrize("hook", sorted(HOOKS))
def test_a_dry_provider_never_reaches_a_hook_that_is_not_known_to_only_read(hook: str) -> None:
    reached = []

    class Plugin:
        pass

    def body(self: object, request: object) -> None:
        del self, request
        reached.append(hook)

    setattr(Plugin, hook, hookspecs.hookimpl(body))
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(Plugin())
    dry = DryRun()
    provider: Provider = dry.provider("some", manager)
    with contextlib.suppress(Exception):  # what it is asked with is nonsense
        provider._call(hook, None, object)
    dry.close()
    assert (reached == [hook]) == (hook in LOOKING)

"""What goes wrong outside edgectl: steps that failed, files that cannot be written, lost keys."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from typing import Any

import pytest


def test_a_refused_model_leaves_the_version_before_it_whole(site: Any) -> None:
    site.write()
    site.run("train")
    site.run("register")
    (site.folder / "out" / "model.onnx").write_bytes(b"not a model")
    site.run("register", code=1)
    assert json.loads(site.run("-o", "json", "package").stdout)["version"] == "1"


def test_a_registered_version_leaves_no_files_of_the_ones_before(site: Any) -> None:
    site.build()
    site.build(version="2", scale=2.0)
    left = [path.name for path in (site.folder / ".edgectl" / "build").glob("model*")]
    assert len(left) == 1


def test_nothing_is_packaged_under_a_version_that_was_not_registered(site: Any) -> None:
    site.build()
    site.write(version="2")
    done = site.run("package", code=1)
    assert "version 1 was registered last, edgectl.yaml says 2" in done.stderr
    assert "`edgectl register`" in done.stderr


def test_nothing_is_registered_from_a_training_that_failed(site: Any) -> None:
    site.write()
    site.run("train")
    (site.folder / "scale.txt").write_text("none")
    site.run("train", code=1)
    assert "run `edgectl train` first" in site.run("register", code=1).stderr


def test_a_deploy_never_makes_a_new_key(site: Any) -> None:
    site.build()
    keys = site.folder / ".edgectl" / "keys"
    for path in keys.iterdir():
        path.unlink()
    done = site.run("deploy", code=1)
    assert "publisher.pem' is missing" in done.stderr
    assert "EDGECTL_SIGNING_KEY" in done.stderr
    assert not list(keys.iterdir())


def test_a_lost_private_key_is_not_replaced_while_its_public_half_is_there(site: Any) -> None:
    site.build()
    (site.folder / ".edgectl" / "keys" / "publisher.pem").unlink()
    assert "publisher.pem' is missing" in site.run("package", code=1).stderr


def test_a_key_variable_that_points_nowhere_is_named(site: Any) -> None:
    site.build()
    site.env["EDGECTL_SIGNING_KEY"] = "nowhere.pem"
    done = site.run("package", code=1)
    assert "EDGECTL_SIGNING_KEY names 'nowhere.pem'" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["init", "taken"],
        ["init", "taken/below"],
        ["devices", "add", "d", "-t", "all", "--hardware", "x86-64-cpu", "--write", "taken/below"],
    ],
)
def test_a_file_in_the_way_is_an_error_of_one_sentence(site: Any, arguments: list[str]) -> None:
    site.write()
    (site.folder / "taken").write_text("")
    done = site.run(*arguments, code=1)
    assert "error: 'taken" in done.stderr
    assert "Traceback" not in done.stderr


def test_init_refuses_a_name_that_the_project_file_would_refuse(site: Any) -> None:
    done = site.run("init", "new", "--name", "Bad Name", code=2)
    assert "'Bad Name' is no project name" in done.stderr
    assert not (site.folder / "new").exists()


def test_a_target_that_is_named_twice_is_deployed_to_once(site: Any) -> None:
    site.build()
    done = site.run("deploy", "-t", "all", "-t", "all", "--poll", "0.05")
    assert done.stdout == "all: healthy - 6 of 6 devices are healthy\n"


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_no_color_is_honoured_on_a_terminal(site: Any, no_color: str, coloured: bool) -> None:
    site.build()
    site.env["NO_COLOR"] = no_color
    ours, theirs = pty.openpty()
    subprocess.run(
        site.command("status"), cwd=site.folder, env=site.env, stdout=theirs, check=True, timeout=60
    )
    os.close(theirs)
    said = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert "TARGET" in said
    assert ("\x1b[" in said) is coloured

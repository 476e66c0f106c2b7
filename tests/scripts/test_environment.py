"""Making the environments: what is refused with which words, and when nothing has to be done."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest


def make(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make in the workspace."""
    return subprocess.run(
        ["make", "-s", *arguments],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_what_was_downloaded_is_added_up(environment_script: ModuleType) -> None:
    downloads = environment_script.Downloads()
    for line in (
        "    Downloading uv-0.13.9-py3-none-linux.whl (17.6 MB)\n",
        "Downloading onnxruntime (22.7MiB)\n",
        " Downloaded onnxruntime\n",
        "Prepared 60 packages in 1.64s\n",
    ):
        downloads.read(line)
    assert downloads.summary() == "downloaded 41 MB and 58 packages below 1 MB each"


def test_small_packages_are_named_only_where_there_are_some(environment_script: ModuleType) -> None:
    downloads = environment_script.Downloads()
    downloads.read("    Downloading uv-0.13.9-py3-none-linux.whl (17.6 MB)\n")
    assert downloads.summary() == "downloaded 18 MB"


def test_a_warm_cache_is_told(environment_script: ModuleType) -> None:
    downloads = environment_script.Downloads()
    downloads.read("Installed 59 packages in 211ms\n")
    assert downloads.summary() == "nothing downloaded, all was in the cache"


@pytest.mark.parametrize(
    ("name", "heavy"),
    [
        ("boto3", True),
        ("azure-ai-ml", True),
        ("google-cloud-container", True),
        ("nvidia-cublas-cu12", True),
        ("torch", True),
        ("protobuf", False),
        ("boto3000", False),
        ("oras", False),
    ],
)
def test_cloud_sdks_are_recognised(environment_script: ModuleType, name: str, heavy: bool) -> None:
    assert bool(environment_script.HEAVY.match(name)) is heavy


def test_the_demo_lock_holds_no_cloud_sdk(environment_script: ModuleType, root: Path) -> None:
    lines = (root / "requirements/demo.txt").read_text().splitlines()
    names = [line.partition("==")[0] for line in lines if "==" in line]
    assert len(names) > 40
    assert [name for name in names if environment_script.HEAVY.match(name)] == []


def test_an_environment_that_is_up_to_date_is_left_alone(
    environment_script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / environment_script.STAMP).write_text(environment_script.fingerprint("demo"))
    environment_script.ensure("demo", tmp_path)
    assert capsys.readouterr().out == ""


def test_the_two_environments_have_different_fingerprints(environment_script: ModuleType) -> None:
    assert environment_script.fingerprint("demo") != environment_script.fingerprint("dev")


def test_a_folder_that_is_something_else_is_not_touched(
    environment_script: ModuleType, tmp_path: Path
) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    with pytest.raises(environment_script.SetupError, match="not a virtual environment"):
        environment_script.make_venv(tmp_path)
    assert precious.read_text() == "mine"


def test_a_virtual_environment_is_kept_until_it_is_moved(
    environment_script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without ensurepip it is made in a moment, as where only pip is installed.
    monkeypatch.setattr(importlib.util, "find_spec", {"pip": object()}.get)
    first, second = tmp_path / "first", tmp_path / "second"
    environment_script.make_venv(first)
    (first / "mark").touch()
    environment_script.make_venv(first)
    assert (first / "mark").exists()
    first.rename(second)
    environment_script.make_venv(second)
    assert not (second / "mark").exists()


def test_a_python_without_ensurepip_and_pip_gets_a_clear_word(
    environment_script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(environment_script.SetupError, match="apt install python3-venv"):
        environment_script.make_venv(tmp_path / "venv")
    assert not (tmp_path / "venv").exists()


def test_make_refuses_an_old_python_with_its_version(root: Path, tmp_path: Path) -> None:
    old = tmp_path / "old-python"
    pretend = "import sys; code = sys.argv[1]; sys.version_info = (3, 9, 18); exec(code)"
    old.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{pretend}" "$2"\n')
    old.chmod(0o755)
    result = make(root, "python", f"PYTHON={old}")
    assert result.returncode != 0
    assert f"edgectl needs Python 3.11 or newer; {old} is 3.9" in result.stderr


def test_make_names_a_python_that_is_not_there(root: Path) -> None:
    result = make(root, "python", "PYTHON=no-such-python")
    assert result.returncode != 0
    assert "'no-such-python' was not found" in result.stderr


def test_make_takes_this_python(root: Path) -> None:
    result = make(root, "python", f"PYTHON={sys.executable}")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_make_without_a_command_lists_the_commands(root: Path) -> None:
    listed = make(root).stdout
    for command in ("demo", "test", "test-slow", "check", "bench", "lock", "clean"):
        assert f"  {command} " in listed

"""Installed packages that wrap or veto hooks, add commands, or are missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

VETO = """
from edgectl.api import DeployResult, VetoError, hookimpl


class FridayGate:
    def __init__(self, context):
        self.context = context

    @hookimpl(wrapper=True)
    def deploy(self, request):
        if "device-0002" in request.devices:
            raise VetoError("no deploy to device-0002 on a Friday", hint="wait for Monday")
        self.context.progress(f"gate: {len(request.devices)} devices may have it")
        result = yield
        assert isinstance(result, DeployResult)
        return result
"""


def install(site: Any, module: str, code: str, entry_points: str) -> None:
    """Put a package where the site's Python finds it, as an installer does."""
    folder = site.folder / "packages"
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / f"{module}.py").write_text(code)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)
    site.env["PYTHONPATH"] = str(folder)


def test_an_extension_sees_every_call_and_may_veto_it(site: Any) -> None:
    site.build(rollout="{waves: [1, 100%]}")
    install(site, "gate", VETO, "[edgectl.extensions]\nfriday = gate:FridayGate\n")
    done = site.run("deploy", "--poll", "0.05", code=1)
    assert "gate: 1 devices may have it" in done.stderr
    assert (
        "error: all: no deploy to device-0002 on a Friday\n  hint: wait for Monday" in done.stderr
    )
    rows = json.loads(site.run("-o", "json", "status").stdout)
    assert sum(1 for row in rows if row["release"]) == 1
    lines = json.loads(site.run("-o", "json", "journal", "show").stdout)
    assert [line["result"] for line in lines if line["action"] == "assign"] == ["ok", "veto"]


def test_an_extension_that_cannot_be_loaded_is_named(site: Any) -> None:
    site.write()
    install(site, "broken", "import nothing_there\n", "[edgectl.extensions]\nbad = broken:X\n")
    done = site.run("status", code=1)
    assert done.stderr.startswith("error: extension 'bad' cannot be loaded: No module named")


def test_an_extension_with_a_hook_that_does_not_exist_is_an_error(site: Any) -> None:
    site.write()
    code = (
        "from edgectl.api import hookimpl\n\n"
        "class Wrong:\n    @hookimpl\n    def depoly(self, request):\n        return None\n\n"
        "wrong = Wrong()\n"
    )
    install(site, "wrong", code, "[edgectl.extensions]\nwrong = wrong:wrong\n")
    done = site.run("status", code=1)
    assert "depoly" in done.stderr
    assert "is broken" in done.stderr


def test_a_package_adds_a_command(site: Any) -> None:
    code = "import click\n\n@click.command()\ndef hello():\n    click.echo('hello from afar')\n"
    install(site, "greeter", code, "[edgectl.commands]\nhello = greeter:hello\n")
    assert site.run("hello").stdout == "hello from afar\n"
    assert "hello" in site.run("--help").stdout


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """An environment that has edgectl's code and nothing that is installed beside it."""
    folder = tmp_path / "bare"
    folder.mkdir()
    root = Path(__file__).parents[3]
    (folder / "edgectl").symlink_to(root / "core/src/edgectl")
    (folder / "edge_components").symlink_to(root / "edge_components/src/edge_components")
    packages = Path(pytest.__file__).parents[1]
    for name in ("click", "msgspec", "pluggy", "yaml", "_yaml"):
        (folder / name).symlink_to(packages / name)
    return {"PYTHONPATH": str(folder), "PATH": os.environ["PATH"], "HOME": str(tmp_path)}


def test_a_known_provider_that_is_not_installed_is_named_with_the_command(
    site: Any, bare: dict[str, str]
) -> None:
    site.write()
    text = (site.folder / "edgectl.yaml").read_text().replace("provider: memory", "provider: aws")
    (site.folder / "edgectl.yaml").write_text(text)
    done = subprocess.run(
        [sys.executable, "-S", "-m", "edgectl.cli.main", "status"],
        cwd=site.folder,
        env=bare,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr == (
        "error: provider 'aws' is not installed\n  hint: pip install edgectl-aws-greengrass\n"
    )

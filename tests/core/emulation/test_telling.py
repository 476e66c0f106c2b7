"""An emulator's words: settings that a shell reads as they are, and a file for its owner alone."""

from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path

import msgspec
import pytest

from edgectl.emulation import tell


class Info(msgspec.Struct):
    env: dict[str, str]
    url: str = "http://here"


def test_a_shell_takes_the_settings_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    value = "HostName=h;Key=a b'c$d"
    tell(Info({"CLOUD_KEY": value}), ["one device", "  its port"], None)
    said = capsys.readouterr().out
    assert said.endswith("\n# one device\n#   its port\n")
    script = f'{said}printf %s "$CLOUD_KEY"'
    done = subprocess.run(["sh", "-euc", script], capture_output=True, text=True, check=True)
    assert done.stdout == value


def test_the_file_has_everything_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "info.json"
    tell(Info({"CLOUD_KEY": "secret"}), [], file)
    assert json.loads(file.read_text()) == {"env": {"CLOUD_KEY": "secret"}, "url": "http://here"}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [file]

"""docs/runtime.md names every setting of ``edge-runtime serve``, and none that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge_components.runtime.main import main

ROOT = Path(__file__).resolve().parents[3]


def test_every_setting_is_documented(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    offered = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}
    _, _, table = (ROOT / "docs" / "runtime.md").read_text().partition("## Every setting")
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    documented = {name for row in rows for name in re.findall(r"`(--[a-z-]+)", row)}
    assert documented == offered

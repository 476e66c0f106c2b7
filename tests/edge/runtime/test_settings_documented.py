"""docs/runtime.md names every option of serve and bench, and none that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge_components.runtime.main import main

PAGE = Path(__file__).resolve().parents[3] / "docs" / "runtime.md"


@pytest.mark.parametrize(
    ("command", "heading"), [("serve", "## Every setting"), ("bench", "### Measuring a device")]
)
def test_every_setting_is_documented(
    capsys: pytest.CaptureFixture[str], command: str, heading: str
) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    offered = set(re.findall(r"(?<![\w-])--[a-z-]+", capsys.readouterr().out)) - {"--help"}
    _, _, rest = PAGE.read_text().partition(f"\n{heading}\n")
    section, _, _ = rest.partition("\n## ")
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    documented = {name for row in rows for name in re.findall(r"`(--[a-z-]+)", row)}
    documented |= {"--output"} if any(row.startswith("| `-o ") for row in rows) else set()
    assert documented == offered

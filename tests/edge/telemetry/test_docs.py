"""The page on telemetry explains every setting, kind of record and reason of a loss."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_components.contract.device import TelemetrySection
from edge_components.contract.telemetry import Kind

PAGE = (Path(__file__).parents[3] / "docs" / "telemetry.md").read_text(encoding="utf-8")
RELEASE = ("telemetry_sample", "record", "redact")
DROPS = ("budget", "ttl", "disk", "ring", "refused", "unreadable")


@pytest.mark.parametrize(
    "word", [*RELEASE, *TelemetrySection.__struct_fields__, *map(str, Kind), *DROPS]
)
def test_the_page_explains(word: str) -> None:
    assert f"`{word}`" in PAGE

"""``edgectl telemetry plot`` as users call it."""

from __future__ import annotations

import json
import time
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from edge_components.contract.histogram import counted, to_attributes
from edge_components.contract.telemetry import Kind, TelemetryRecord


@pytest.fixture
def deployed(site: Any, tell: Any) -> Any:
    site.build(memory="{devices: 2}")
    site.run("deploy")
    devices = json.loads(site.run("devices", "list", "-o", "json").stdout)
    now = time.time_ns()
    histogram = to_attributes("latency_s", counted([0.002, 0.003], (0.001, 0.005)))
    for row in devices:
        for age_s in (120, 60, 0, -7 * 86_400):
            tell(
                site,
                TelemetryRecord(
                    id=f"{row['device']}-{age_s}",
                    kind=Kind.HEALTH,
                    time_unix_ns=now - age_s * 10**9,
                    device=row["device"],
                    application="tiny",
                    attributes={"requests": 200 - age_s, **histogram},
                ),
            )
    return site


def test_it_writes_the_picture_that_the_ending_asks_for_and_names_it(deployed: Any) -> None:
    done = deployed.run("telemetry", "plot", "--file", "t.svg")
    assert done.stdout == "t.svg\n"
    assert "2 records from the future are left out" in done.stderr
    assert ET.parse(deployed.folder / "t.svg").getroot().tag.endswith("svg")
    row = json.loads(deployed.run("telemetry", "plot", "--file", "t.PNG", "-o", "json").stdout)
    assert row["devices"] == 2
    assert row["diagrams"][0] == "all: latency of all answers"
    assert (deployed.folder / "t.PNG").read_bytes().startswith(b"\x89PNG")


def test_no_records_are_a_note_and_a_picture_that_says_so(site: Any) -> None:
    site.build(memory="{devices: 2}")
    done = site.run("telemetry", "plot")
    assert "there are no records in this time" in done.stderr
    assert b"no records in this time" in (site.folder / "telemetry.svg").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("plot", "--file", "t.jpg"), "neither in .svg nor in .png"),
        (("plot", "--since", "soon"), "--since"),
        (("--since", "2h", "plot"), "--since belongs behind 'plot'"),
        (("plot", "--latency-limit", "0"), "--latency-limit"),
    ],
)
def test_wrong_usage_is_refused(site: Any, arguments: tuple[str, ...], message: str) -> None:
    site.build(memory="{devices: 2}")
    assert message in site.run("telemetry", *arguments, code=2).stderr

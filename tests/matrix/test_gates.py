"""Gates on all four providers: what devices tell comes up by each cloud's own way, and decides.

The bad model is right on its golden set and fails on what the devices are asked in service, so only
telemetry can tell that it is bad. A wave that told too little fails here, so passing is proof too.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from matrix_project import APPLICATION, PLACES

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e" / "support"))
from gates_site import TRAIN, asked

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SOAK = "soak: 0s"
GATES = '{{error_rate: "<= 5%", restarts: "<= 0", min_samples: 20, on_missing: fail}}'
COLLECTOR = """\
    collector:
      endpoint: ${{GKE_COLLECTOR}}
      files: ${{GKE_TELEMETRY}}
"""
INFER = f"/v2/models/{APPLICATION}/infer"


def deploy(matrix: Any, code: int = 0) -> dict[str, Any]:
    """Deploy while the devices are asked what the bad model cannot answer; return the verdicts."""
    with asked([cloud.url for cloud in matrix.clouds.values()], INFER, 0.05):
        said = matrix.run("-o", "json", "deploy", "--poll", "0.5", code=code)
    return {result["target"]: result["verdict"] for result in json.loads(said)}


def test_telemetry_decides_on_all_four_providers(matrix: Any) -> None:
    matrix.deploy(asking=False)
    assert SOAK in matrix.project
    matrix.project = matrix.project.replace(SOAK, f"soak: 40s, gates: {GATES}") + COLLECTOR
    (matrix.folder / "train.py").write_text(TRAIN)

    # A good release passes its gates: no runtime began anew, whatever way it was given.
    (matrix.folder / "fault.txt").write_text("")
    good = matrix.build("2", 2.0)
    verdicts = deploy(matrix)
    assert {verdict["outcome"] for verdict in verdicts.values()} == {"healthy"}
    results = {(f["measure"], f["result"]) for v in verdicts.values() for f in v["gates"]}
    assert results == {("error_rate", "met"), ("restarts", "met")}

    # A release that fails in service goes back everywhere.
    (matrix.folder / "fault.txt").write_text("errors")
    matrix.build("3", 3.0)
    verdicts = deploy(matrix, code=6)
    assert set(verdicts) == {place.target for place in PLACES}
    for verdict in verdicts.values():
        assert verdict["outcome"] == "rolled_back"
        assert "wave 1: error_rate is 100%, at most 5% is allowed" in verdict["why"]
    assert matrix.answering() == {good}
    assert set(matrix.answers().values()) == {(2.0,) * 4}

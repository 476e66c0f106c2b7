"""The example of this repository on ten edge devices, as on the team's own machines."""

from __future__ import annotations

import json
import shutil
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
EXAMPLE = Path(__file__).parents[4] / "examples/plates"
AZURE = {
    "subscription_id": "${AZURE_SUBSCRIPTION_ID:-none}",
    "resource_group": "edgectl",
    "iot_hub": "edgectl-hub",
    "workspace": "edgectl-ml",
    "training": {"compute": "cpu-cluster", "image": "example.test/python:3.11"},
    "registry": "${EDGECTL_AZURE_REGISTRY:-none}",
    "units": 100,
}


def ask(url: str) -> list[float]:
    """Ask a device's model about a black picture."""
    with urllib.request.urlopen(f"{url}/v2/models/parking-plates", timeout=20) as answer:
        tensor = json.load(answer)["inputs"][0]
    shape = [1 if size < 0 else size for size in tensor["shape"]]
    given = {**tensor, "shape": shape, "data": [0.0] * (shape[0] * shape[1])}
    body = json.dumps({"inputs": [given]}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/v2/models/parking-plates/infer", body, headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        found: list[float] = json.load(answer)["outputs"][0]["data"]
    return found


def test_the_example_runs_on_ten_edge_devices_with_the_digest_that_it_has_elsewhere(
    site: Any,
) -> None:
    shutil.copytree(EXAMPLE, site.folder, dirs_exist_ok=True)
    for command in (("train",), ("register",), ("-o", "json", "package")):
        said = site.run(*command)
    here = json.loads(said)["digest"]
    (site.folder / ".edgectl" / "store").rename(site.folder / "store-of-this-machine")

    file = site.folder / "edgectl.yaml"
    project = yaml.safe_load(file.read_text())
    project["providers"] = {"azure": AZURE}
    for target in project["targets"].values():
        target["provider"] = "azure"
    file.write_text(yaml.safe_dump(project))
    with site.account(5):
        said = site.run("run", "--provider", "azure", "--poll", "0.5")
        assert said.count("5 of 5 devices are healthy") == 2
        assert {(r["state"], r["digest"]) for r in site.rows().values()} == {("healthy", here)}
        answers = {tuple(ask(device["url"])) for device in site.devices.values()}
        assert len(site.devices) == 10
        assert len(answers) == 1

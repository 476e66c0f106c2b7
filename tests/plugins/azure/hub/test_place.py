"""The emulated subscription has the names that the project has for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgectl.api import Project, ProjectError, load_project
from edgectl_azure_iot_edge.emulator.command import bought_hub
from edgectl_azure_iot_edge.emulator.fleet import Fleet
from edgectl_azure_iot_edge.emulator.place import Place, place_of, setting

PROJECT = """
apiVersion: edgectl/v1
name: plates
version: 1.0.0
model: {path: model.onnx}
targets:
  lots: {provider: azure, selector: {tags: {site: parking}}}
providers:
  azure:
"""
ID = "11111111-2222-4333-8444-555555555555"


def project(folder: Path, *settings: str) -> Project:
    (folder / "edgectl.yaml").write_text(PROJECT + "".join(f"    {line}\n" for line in settings))
    return load_project(folder)


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_SUBSCRIPTION_ID", "EDGECTL_AZURE_REGISTRY", "GROUP", "UNITS"):
        monkeypatch.delenv(name, raising=False)


def test_the_projects_names_are_taken(tmp_path: Path) -> None:
    loaded = project(
        tmp_path,
        f"subscription_id: {ID}",
        "resource_group: edge",
        "iot_hub: my-hub",
        "workspace: my-ml",
        "registry: ${EDGECTL_AZURE_REGISTRY}",
        'training: {compute: gpu, image: "${EDGECTL_AZURE_REGISTRY}/train:1"}',
    )
    assert place_of(loaded) == Place(
        subscription=ID,
        resource_group="edge",
        hub="my-hub",
        workspace="my-ml",
        computes=("gpu", "cpu-cluster"),
    )


def test_what_the_project_does_not_say_has_a_name_of_the_emulators(tmp_path: Path) -> None:
    loaded = project(tmp_path, "subscription_id: ${AZURE_SUBSCRIPTION_ID}", "resource_group: edge")
    assert place_of(loaded) == Place(resource_group="edge")


def test_a_stand_in_is_not_taken_for_a_subscription(tmp_path: Path) -> None:
    loaded = project(tmp_path, "subscription_id: ${AZURE_SUBSCRIPTION_ID:-none}")
    assert place_of(loaded).subscription == Place().subscription


def test_variables_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUP", "of-the-team")
    loaded = project(tmp_path, "resource_group: ${GROUP}", "units: ${UNITS:-4}")
    assert place_of(loaded).resource_group == "of-the-team"
    assert bought_hub(loaded, {"units": None}).units == 4


def test_a_setting_below_one_that_is_not_there_is_nothing(tmp_path: Path) -> None:
    assert setting(project(tmp_path, "iot_hub: a"), "training", "compute") is None


def test_options_come_before_what_the_project_says(tmp_path: Path) -> None:
    loaded = project(tmp_path, "tier: S2", "units: 3")
    hub = bought_hub(loaded, {"tier": "B1", "units": None})
    assert (hub.tier, hub.units) == ("B1", 3)


@pytest.mark.parametrize("line", ["tier: S9", "units: many", "units: 0"])
def test_a_hub_that_nobody_sells_is_an_error_of_the_project(tmp_path: Path, line: str) -> None:
    with pytest.raises(ProjectError, match=r"edgectl\.yaml:\d+: providers\.azure"):
        bought_hub(project(tmp_path, line), {})


def test_the_hub_answers_under_the_projects_name(tmp_path: Path) -> None:
    loaded = project(tmp_path, "iot_hub: my-hub", "workspace: my-ml")
    fleet = Fleet(tmp_path / "emulator", loaded)
    try:
        told = fleet.start(()).env
        assert told["EDGECTL_AZURE_EVENTHUB"].endswith("EntityPath=iothub-ehub-my-hub")
    finally:
        fleet.stop()

"""The container file builds what the programs and the documentation say."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from edge_components.iotedge.main import main

ROOT = Path(__file__).parents[3]
FILE = (ROOT / "edge_components/container/Containerfile").read_text(encoding="utf-8")
PAGE = (ROOT / "docs/device-image.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "edge_components/pyproject.toml").read_text(encoding="utf-8"))


def test_its_entry_point_is_a_program_of_the_package() -> None:
    (entry,) = re.findall(r'^ENTRYPOINT \["([a-z-]+)"\]$', FILE, re.MULTILINE)
    assert entry == "edge-module"
    assert {entry, "edge-pod"} <= PROJECT["project"]["scripts"].keys()


def test_the_extras_that_it_installs_are_there() -> None:
    (extras,) = re.findall(r"^ARG EXTRAS=(\S+)$", FILE, re.MULTILINE)
    assert set(extras.split(",")) <= PROJECT["project"]["optional-dependencies"].keys()


def test_it_names_no_registry_and_no_root() -> None:
    images = re.findall(r"^ARG PYTHON=(\S+)$", FILE, re.MULTILINE)
    assert all("." not in image.partition(":")[0] for image in images)
    assert re.search(r"^USER \d+", FILE, re.MULTILINE)


@pytest.mark.parametrize("name", re.findall(r"^ARG ([A-Z]+)", FILE, re.MULTILINE))
def test_the_page_explains_each_argument(name: str) -> None:
    assert f"| `{name}` |" in PAGE


def test_the_page_explains_each_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    options = set(re.findall(r"(--[a-z-]+)", shown)) - {"--help", "--version", "--verbose"}
    assert options == set(re.findall(r"^\| `(--[a-z-]+)` \|", PAGE, re.MULTILINE))
    for variable in re.findall(r"EDGECTL_[A-Z_]+", shown):
        assert f"`{variable}`" in PAGE


def test_outside_iot_edge_it_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("IOTEDGE_DEVICEID", "IOTEDGE_MODULEID"):
        monkeypatch.delenv(name, raising=False)
    assert main(["--config", "/nowhere/device.toml"]) == 1
    assert "IOTEDGE_DEVICEID" in capsys.readouterr().err

"""docs/pipeline.md explains every part of a pipeline with each of its settings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest

from edge_components.contract import pipeline as contract
from edge_components.contract.device import EndpointSection, PipelineSection
from edge_components.runtime.main import main

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "pipeline.md").read_text(encoding="utf-8")
LISTED = {contract.Remote: "remote", contract.Fallback: "fallback"}


def section(title: str, level: str, *, within: str = PAGE) -> str:
    """The text below a heading, up to the next of its level or above."""
    _, found, rest = within.partition(f"\n{level} {title}\n")
    assert found, f"no heading {level} {title}"
    return re.split(rf"\n#{{2,{len(level)}}} ", rest)[0]


def settings(kind: Any) -> list[str]:
    return [name.removesuffix("_s") for name in kind.__struct_fields__]


def tagged(union: Any) -> list[tuple[str, Any]]:
    return [(kind.__struct_config__.tag, kind) for kind in get_args(union)]


PARTS = [
    *(("Sources", tag, kind) for tag, kind in tagged(contract.Source)),
    *(("Sinks", tag, kind) for tag, kind in tagged(contract.Sink)),
    *(("Who infers", tag, kind) for kind, tag in LISTED.items()),
]


@pytest.mark.parametrize(("chapter", "tag", "kind"), PARTS)
def test_every_setting_of_a_part_stands_in_its_section(chapter: str, tag: str, kind: Any) -> None:
    text = section(f"`{tag}`", "###", within=section(chapter, "##"))
    rows = "\n".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| `"))
    documented = set(re.findall(r"`(\w+)`", rows))
    assert documented == set(settings(kind))


@pytest.mark.parametrize("name", settings(contract.Queue))
def test_every_setting_of_the_queue_is_explained(name: str) -> None:
    assert f"| `{name}` |" in section("Queue", "##")


STEPS = [*tagged(contract.PreprocessStep), *tagged(contract.PostprocessStep)]


@pytest.mark.parametrize(("tag", "kind"), STEPS)
def test_every_setting_of_a_step_stands_in_its_row_or_section(tag: str, kind: Any) -> None:
    rows = [line for line in PAGE.splitlines() if re.match(rf"\| [^|]*`{tag}`[^|]*\|", line)]
    assert rows, f"no row for {tag}"
    text = rows[0]
    if "see below" in text:
        text = section(f"`{tag}`", "###")
    elif "user steps" in text:
        text = section("User steps", "##")
    assert [name for name in settings(kind) if f"`{name}`" not in text] == []


@pytest.mark.parametrize("name", [*PipelineSection.__struct_fields__, "pipeline"])
def test_every_key_of_the_devices_file_is_explained(name: str) -> None:
    assert re.search(rf"`{name}[.`]", section("Addresses and secrets", "##"))


@pytest.mark.parametrize("name", EndpointSection.__struct_fields__)
def test_every_key_of_an_endpoint_is_explained(name: str) -> None:
    assert re.search(rf"\.{name}`", section("Addresses and secrets", "##"))


def test_every_counter_is_named() -> None:
    sources = ROOT / "edge_components" / "src" / "edge_components" / "pipeline"
    counted = {
        name
        for path in sources.rglob("*.py")
        for name in re.findall(r'(?:count\(\s*|return |else )"([a-z]+_[a-z_]+)"', path.read_text())
        if not name.startswith("edge_")
    }
    assert {"dropped_oldest", "http_delivered", "remote_asked", "alarms_held"} <= counted
    assert sorted(name for name in counted if f"`{name}`" not in PAGE) == []


def test_the_shell_pipes_options_are_real(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["pipe", "--help"])
    offered = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    used = set(re.findall(r" (--[a-z-]+)", section("In a shell pipe", "##")))
    assert used
    assert used <= offered

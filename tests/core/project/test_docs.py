"""The page about the project file names every key."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from edgectl.project.schema import project_schema
from edgectl.project.steps import POSTPROCESS, PREPROCESS

PAGE = (Path(__file__).parents[3] / "docs" / "project-file.md").read_text()
DEFINITIONS = project_schema()["$defs"]
KEYS = sorted(
    {
        (name, key)
        for name, definition in DEFINITIONS.items()
        if name.endswith("Spec")
        for key in definition["properties"]
    }
)


@pytest.mark.parametrize(("type_name", "key"), KEYS)
def test_every_key_is_explained(type_name: str, key: str) -> None:
    forms = (f"`{key}`", f".{key}`", f"`{key}.")
    assert any(form in PAGE for form in forms), f"{type_name}.{key}"


@pytest.mark.parametrize("step", sorted({*PREPROCESS, *POSTPROCESS}))
def test_every_step_is_named(step: str) -> None:
    assert f"`{step}`" in PAGE


def test_the_selfhosted_settings_are_the_plugin_s() -> None:
    config = pytest.importorskip("edgectl_selfhosted.config", reason="plugin not installed")
    fields = [field.encode_name for field in msgspec.structs.fields(config.SelfhostedConfig)]
    assert [name for name in fields if f"`{name}`" not in PAGE] == []

"""docs/providers/azure.md: every setting is explained, and its roles are enough and no more."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgectl_azure_iot_edge.config import AzureConfig
from edgectl_azure_iot_edge.errors import RIGHTS
from edgectl_azure_iot_edge.schema import check_content, is_layered

PAGE = Path(__file__).parents[4] / "docs/providers/azure.md"
TEXT = PAGE.read_text()


def settings(kind: type[msgspec.Struct], before: str = "") -> list[str]:
    found = []
    for field in msgspec.structs.fields(kind):
        inner = field.type
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            found += settings(inner, f"{before}{field.name}.")
        else:
            found.append(before + field.name)
    return found


def document(heading: str) -> dict[str, Any]:
    part = TEXT.split(f"### {heading}\n")[1]
    match = re.search(r"```json\n(.*?)```", part, re.DOTALL)
    assert match is not None
    found: dict[str, Any] = json.loads(match[1])
    return found


@pytest.mark.parametrize("setting", settings(AzureConfig))
def test_every_setting_is_explained(setting: str) -> None:
    assert f"| `{setting}` |" in TEXT


def test_no_setting_is_explained_that_does_not_exist() -> None:
    table = TEXT.split("## Settings")[1].split("\n## ")[0]
    named = re.findall(r"^\| `([a-z_.]+)` \|", table, re.MULTILINE)
    assert set(named) == set(settings(AzureConfig))


def test_the_role_for_deploying_has_what_the_calls_need_and_no_more() -> None:
    removing_devices = "Microsoft.Devices/IotHubs/devices/delete"
    needed = {action for _, action in RIGHTS.values()} - {removing_devices}
    assert set(document("Role for deploying")["DataActions"]) == needed


def test_the_role_for_adding_devices_reaches_no_deployment() -> None:
    actions = document("Role for adding devices")["DataActions"]
    assert {action.split("/")[2] for action in actions} == {"devices", "twins"}


def test_the_base_deployment_is_one_and_keeps_the_schemas() -> None:
    content = document("2. A base deployment")
    check_content(content)
    assert not is_layered(content)


@pytest.mark.parametrize("link", re.findall(r"\]\((?:\.\./)?([a-z-]*\.md)?#([a-z0-9-]+)\)", TEXT))
def test_every_link_within_the_documentation_leads_somewhere(link: tuple[str, str]) -> None:
    page, anchor = link
    text = TEXT if not page else (PAGE.parents[1] / page).read_text()
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    plain = {re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-") for h in headings}
    assert anchor in plain

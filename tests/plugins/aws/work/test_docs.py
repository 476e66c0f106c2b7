"""docs/providers/aws.md: every setting is explained, and its policies are enough and no more."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgectl_aws_greengrass.config import AwsConfig

PAGE = Path(__file__).parents[4] / "docs/providers/aws.md"
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


def policy(heading: str) -> dict[str, Any]:
    part = TEXT.split(f"### {heading}\n")[1]
    match = re.search(r"```json\n(.*?)```", part, re.DOTALL)
    assert match is not None
    found: dict[str, Any] = json.loads(match[1])
    return found


POLICIES = [
    "The devices' role",
    "The training role",
    "The telemetry role",
    "Policy for deploying",
    "Policy for training and registering",
    "Policy for approving",
    "Policy for adding devices",
]


@pytest.mark.parametrize("setting", settings(AwsConfig))
def test_every_setting_is_explained(setting: str) -> None:
    assert f"| `{setting}` |" in TEXT


def test_no_setting_is_explained_that_does_not_exist() -> None:
    table = TEXT.split("## Settings")[1].split("\n## ")[0]
    named = re.findall(r"^\| `([a-z_.]+)` \|", table, re.MULTILINE)
    assert set(named) == set(settings(AwsConfig))


@pytest.mark.parametrize("heading", POLICIES)
def test_no_policy_allows_everything(heading: str) -> None:
    for statement in policy(heading)["Statement"]:
        actions = statement["Action"]
        actions = [actions] if isinstance(actions, str) else actions
        assert not [action for action in actions if action.endswith("*")]
        resources = statement["Resource"]
        resources = [resources] if isinstance(resources, str) else resources
        if "iam:PassRole" in actions or any(action.startswith("s3:") for action in actions):
            assert "*" not in resources


@pytest.mark.parametrize("link", re.findall(r"\]\((?:\.\./)?([a-z-]*\.md)?#([a-z0-9-]+)\)", TEXT))
def test_every_link_within_the_documentation_leads_somewhere(link: tuple[str, str]) -> None:
    page, anchor = link
    text = TEXT if not page else (PAGE.parents[1] / page).read_text()
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    plain = {re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-") for h in headings}
    assert anchor in plain

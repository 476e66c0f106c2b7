"""The locks agree with the distributions, and a disagreement is found."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def workspace(root: Path, tmp_path: Path) -> Path:
    """A copy of what the check reads."""
    shutil.copytree(root / "requirements", tmp_path / "requirements")
    for folder in ("core", "edge_components", "plugins/selfhosted"):
        (tmp_path / folder).mkdir(parents=True)
        shutil.copy(root / folder / "pyproject.toml", tmp_path / folder)
    return tmp_path


def change(file: Path, pattern: str, replacement: str) -> None:
    """Replace the first match; there has to be one."""
    text, count = re.subn(pattern, replacement, file.read_text(), count=1, flags=re.MULTILINE)
    assert count == 1, pattern
    file.write_text(text)


def test_the_committed_locks_agree(check_requirements: ModuleType, root: Path) -> None:
    assert check_requirements.check(root) == []


@pytest.mark.parametrize(
    ("file", "pattern", "replacement", "problem"),
    [
        ("core/pyproject.toml", '"click>=', '"not-locked>=1",\n"click>=', "'not-locked' of core"),
        ("core/pyproject.toml", '"click>=[^"]*"', '"click>=999"', "'click>=999' of core is locked"),
        ("requirements/demo.in", r"^httpx .*$", "", "'httpx' of plugins/selfhosted is not in"),
        ("requirements/demo.in", r"^httpx ", "leftover\nhttpx ", "declares 'leftover'"),
        ("requirements/dev.in", r"^pytest$", "pytest\nnew-tool", "dev.txt: 'new-tool' is not"),
        ("requirements/demo.txt", r"^click==\S+", "click==0.1", "demo.txt: 'click' is"),
        ("requirements/dev.txt", r"^uv==\S+", "uv==0.1", "uv.txt: 'uv' is"),
        ("requirements/uv.txt", r"^uv==", "--index-url https://example.invalid\nuv==", "registry"),
        ("requirements/uv.txt", r"^uv==\S+ \\(\n    --hash.*)+", "uv==0.13.9", "not pinned"),
    ],
)
def test_a_disagreement_is_found(
    check_requirements: ModuleType,
    workspace: Path,
    file: str,
    pattern: str,
    replacement: str,
    problem: str,
) -> None:
    change(workspace / file, pattern, replacement)
    found = check_requirements.check(workspace)
    assert any(problem in line for line in found), found

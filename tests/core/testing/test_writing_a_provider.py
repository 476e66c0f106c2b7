"""The page for authors of providers: every hook has its place, and the example passes the kit."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgectl import hookspecs
from edgectl.testing import conformance

PAGE = Path(__file__).parents[3] / "docs" / "writing-a-provider.md"
HOOKS = [
    name for name, value in vars(hookspecs).items() if hasattr(value, f"{hookspecs.PROJECT}_spec")
]


def blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)


def run_kit(folder: Path, only: str = "test") -> subprocess.CompletedProcess[str]:
    """Run the tests in a folder as an author would."""
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\npythonpath = .\n")
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-qrA", "-p", "no:cacheprovider"),
            *("-c", "pytest.ini", "-k", only, "."),
        ],
        cwd=folder,
        env={**os.environ, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


# A defect in the example, and the test that has to find it.
DEFECTS = [
    ("present != request.expect", "False", "test_coordinate_refuses"),
    ("known.content != record.content", "False", "test_package_refuses_other_content"),
    ("-r.number", "r.number", "test_history_begins_with_the_newest"),
    ("unchanged.append(name)", "assigned.append(name)", "test_deploy_twice"),
    ("folder.name in request.devices", "True", "test_observe_lists_only"),
    ("if not target.exists():", "if True:", "test_package_twice_sends_nothing"),
    ("State.SUPERSEDED", "State.HEALTHY", "test_observe_tells_that_a_newer"),
]


@pytest.fixture(scope="module")
def defects_found(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Run all defective examples in one go, each against the test that has to find it."""
    folder = tmp_path_factory.mktemp("defects")
    provider, test, *_ = blocks()
    for number, (right, wrong, _) in enumerate(DEFECTS):
        assert right in provider
        (folder / f"shelf_{number}.py").write_text(provider.replace(right, wrong))
        own = test.replace("from shelf import", f"from shelf_{number} import")
        (folder / f"test_shelf_{number}.py").write_text(own)
    return run_kit(folder, only=" or ".join(caught_by for *_, caught_by in DEFECTS)).stdout


def test_all_hooks_are_found() -> None:
    assert len(HOOKS) == 16
    assert {"train", "register", "package", "deploy", "telemetry"} <= set(HOOKS)


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_conformance_class(hook: str) -> None:
    name = f"{hook.capitalize()}Conformance"
    kit = getattr(conformance, name)
    assert issubclass(conformance.ProviderConformance, kit)
    tests = [test for test in vars(kit) if test.startswith(f"test_{hook}_")]
    assert tests, f"{name} has no test of its own"
    assert name in conformance.__all__


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_heading(hook: str) -> None:
    assert re.search(rf"^### `{hook}`$", PAGE.read_text(), re.MULTILINE)


def test_every_fixture_that_can_be_overridden_is_listed() -> None:
    named = set(re.findall(r"`(\w+)`", PAGE.read_text()))
    fixtures = {name for name in vars(conformance.Fixtures) if not name.startswith("_")}
    assert fixtures <= named


def test_example_passes_the_kit(tmp_path: Path) -> None:
    provider, test, *_ = blocks()
    (tmp_path / "shelf.py").write_text(provider)
    (tmp_path / "test_shelf.py").write_text(test)
    done = run_kit(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 25


@pytest.mark.parametrize("number", range(len(DEFECTS)), ids=[caught for *_, caught in DEFECTS])
def test_kit_finds_a_provider_that_breaks_a_rule(defects_found: str, number: int) -> None:
    caught_by = DEFECTS[number][2]
    assert re.search(
        rf"^FAILED test_shelf_{number}\.py::\w+::{caught_by}", defects_found, re.MULTILINE
    )

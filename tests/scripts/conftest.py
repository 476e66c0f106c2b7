"""The scripts as modules."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def load(name: str) -> ModuleType:
    """Import ``scripts/NAME.py`` without running it."""
    spec = importlib.util.spec_from_file_location(f"scripts_{name}", ROOT / f"scripts/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def check_requirements() -> ModuleType:
    """``scripts/check_requirements.py``."""
    return load("check_requirements")


@pytest.fixture(scope="session")
def environment_script() -> ModuleType:
    """``scripts/environment.py``."""
    return load("environment")


@pytest.fixture(scope="session")
def root() -> Path:
    """The workspace's folder."""
    return ROOT

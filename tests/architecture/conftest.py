"""Two ways to look at imports: what a fresh interpreter loaded, and what a source file names."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

LoadedBy = Callable[..., frozenset[str]]
NamedImports = Callable[[Path], Iterator[tuple[int, str]]]

_PROGRAM = """
import importlib, json, sys
before = set(sys.modules)
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
print(json.dumps(sorted(set(sys.modules) - before)))
"""


@pytest.fixture(scope="session")
def root() -> Path:
    """The workspace's folder."""
    return ROOT


@pytest.fixture(scope="session")
def loaded_by() -> LoadedBy:
    """Import modules in a fresh interpreter and return the names of all that came along."""

    def load(*modules: str) -> frozenset[str]:
        result = subprocess.run(
            [sys.executable, "-c", _PROGRAM, json.dumps(modules)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return frozenset(json.loads(result.stdout))

    return load


@pytest.fixture(scope="session")
def named_imports() -> NamedImports:
    """Yield line and full name of every import statement of a file, also inside functions."""

    def names(path: Path) -> Iterator[tuple[int, str]]:
        for node in ast.walk(ast.parse(path.read_text(), str(path))):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield node.lineno, alias.name
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}:{node.lineno}: relative import"
                for alias in node.names:
                    yield node.lineno, f"{node.module}.{alias.name}"

    return names

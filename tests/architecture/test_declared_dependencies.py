"""A distribution's pyproject declares the libraries that its sources import, and no others."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

NamedImports = Callable[[Path], Iterator[tuple[int, str]]]
DISTRIBUTIONS = (
    "core",
    "edge_components",
    "plugins/aws_greengrass",
    "plugins/azure_iot_edge",
    "plugins/gke_edge",
    "plugins/selfhosted",
)


# Libraries that are used without an import of ours, and by what.
INDIRECT = {
    "plugins/selfhosted": {
        "httptools": "uvicorn's parser",
        "python-multipart": "starlette's forms",
        "uvloop": "uvicorn's event loop",
    },
}
# Declared for hooks that are not written yet.
SDKS = ("plugins/aws_greengrass", "plugins/gke_edge")

# Editable installs and namespace packages do not tell whose module it is.
OWNERS = {
    "edgectl": {"edgectl"},
    "edge_components": {"edgectl-edge-components"},
    "edgectl_selfhosted": {"edgectl-selfhosted"},
    "edgectl_aws_greengrass": {"edgectl-aws-greengrass"},
    "edgectl_azure_iot_edge": {"edgectl-azure-iot-edge"},
    "edgectl_gke_edge": {"edgectl-gke-edge"},
    "google": {"protobuf", "google-auth"},
}


def sources(folder: Path) -> list[Path]:
    """The modules of a distribution; what ``edgectl init`` copies out is the user's program."""
    return [p for p in sorted((folder / "src").rglob("*.py")) if "templates" not in p.parts]


@pytest.fixture(scope="module")
def owners() -> dict[str, set[str]]:
    """The installed distributions that each top-level module may come from."""
    installed = metadata.packages_distributions().items()
    return {m: {canonicalize_name(name) for name in names} for m, names in installed} | OWNERS


@pytest.mark.parametrize("folder", DISTRIBUTIONS)
def test_imported_libraries_are_declared(
    root: Path, named_imports: NamedImports, owners: dict[str, set[str]], folder: str
) -> None:
    project = tomllib.loads((root / folder / "pyproject.toml").read_text())["project"]
    optional = project.get("optional-dependencies", {})
    requirements = [
        *project["dependencies"],
        *(text for extra in optional.values() for text in extra),
    ]
    declared = {canonicalize_name(Requirement(text).name) for text in requirements}
    declared.add(canonicalize_name(project["name"]))
    undeclared = {
        f"{file.relative_to(root)}:{line}: {name}"
        for file in sources(root / folder)
        for line, name in named_imports(file)
        if name.partition(".")[0] not in sys.stdlib_module_names
        if not owners.get(name.partition(".")[0], set()) & declared
    }
    assert sorted(undeclared) == []


@pytest.mark.parametrize("folder", [name for name in DISTRIBUTIONS if name not in SDKS])
def test_declared_libraries_are_imported(
    root: Path, named_imports: NamedImports, owners: dict[str, set[str]], folder: str
) -> None:
    project = tomllib.loads((root / folder / "pyproject.toml").read_text())["project"]
    declared = {canonicalize_name(Requirement(text).name) for text in project["dependencies"]}
    imported = {
        owner
        for file in sources(root / folder)
        for _, name in named_imports(file)
        for owner in owners.get(name.partition(".")[0], set())
    }
    assert sorted(declared - imported - INDIRECT.get(folder, {}).keys()) == []

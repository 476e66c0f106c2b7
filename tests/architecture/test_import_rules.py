"""Who may name whom in an import statement, wherever in a file it stands."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import edgectl.api
import edgectl.emulation

NamedImports = Callable[[Path], Iterator[tuple[int, str]]]
PLUGINS = ("aws_greengrass", "azure_iot_edge", "gke_edge", "selfhosted")


def test_import_linter_finds_no_broken_contract(root: Path) -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run(
        [linter, "--no-cache"], cwd=root, capture_output=True, text=True, timeout=110, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 broken" in result.stdout


def offences(
    folder: Path, named_imports: NamedImports, allowed: Callable[[str], bool]
) -> list[str]:
    """List the imports below a folder that are not allowed, as file, line and name."""
    files = sorted(folder.rglob("*.py"))
    assert files, folder
    return [
        f"{file.relative_to(folder)}:{line}: {name}"
        for file in files
        for line, name in named_imports(file)
        if not allowed(name)
    ]


def within(name: str, module: str) -> bool:
    """Tell whether a dotted name is the module or something of it."""
    return name == module or name.startswith(f"{module}.")


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_plugin_takes_from_core_and_device_side_only_edgectl_api(
    root: Path, named_imports: NamedImports, plugin: str
) -> None:
    def allowed(name: str) -> bool:
        ours = within(name, "edgectl") or within(name, "edge_components")
        return not ours or within(name, "edgectl.api") or within(name, "edgectl.emulation")

    assert offences(root / "plugins" / plugin / "src", named_imports, allowed) == []


@pytest.mark.parametrize("plugin", PLUGINS)
def test_only_a_plugins_emulator_takes_what_core_has_for_emulators(
    root: Path, named_imports: NamedImports, plugin: str
) -> None:
    def allowed(name: str) -> bool:
        return not within(name, "edgectl.emulation")

    found = offences(root / "plugins" / plugin / "src", named_imports, allowed)
    assert [place for place in found if "/emulator/" not in place] == []


def test_what_plugins_take_from_core_is_public(root: Path, named_imports: NamedImports) -> None:
    below = pkgutil.iter_modules(edgectl.emulation.__path__, "edgectl.emulation.")
    rooms = [importlib.import_module(room.name) for room in below if room.ispkg]
    doors = (edgectl.api, edgectl.emulation, *rooms)
    public = {f"{door.__name__}.{name}" for door in doors for name in door.__all__}
    public |= {door.__name__ for door in doors}

    def allowed(name: str) -> bool:
        return name in public or not any(within(name, door.__name__) for door in doors)

    for plugin in PLUGINS:
        assert offences(root / "plugins" / plugin / "src", named_imports, allowed) == []


def test_core_takes_only_the_contract_from_the_device_side(
    root: Path, named_imports: NamedImports
) -> None:
    def allowed(name: str) -> bool:
        return not within(name, "edge_components") or within(name, "edge_components.contract")

    assert offences(root / "core" / "src", named_imports, allowed) == []


def test_core_takes_nothing_of_google_but_protobuf(root: Path, named_imports: NamedImports) -> None:
    def allowed(name: str) -> bool:
        return not within(name, "google") or within(name, "google.protobuf")

    assert offences(root / "core" / "src", named_imports, allowed) == []


def test_every_name_of_the_public_surface_exists_once() -> None:
    assert len(edgectl.api.__all__) == len(set(edgectl.api.__all__))
    assert [name for name in edgectl.api.__all__ if not hasattr(edgectl.api, name)] == []


@pytest.mark.parametrize(
    "source",
    [
        "import edgectl.records\n",
        "def f():\n    from edgectl.records import Limits\n",
        "from edgectl import errors\n",
        "from edge_components.contract import state\n",
    ],
)
def test_an_import_past_the_api_would_be_found(
    tmp_path: Path, named_imports: NamedImports, source: str
) -> None:
    (tmp_path / "bad.py").write_text(source)

    def allowed(name: str) -> bool:
        ours = within(name, "edgectl") or within(name, "edge_components")
        return not ours or within(name, "edgectl.api")

    assert len(offences(tmp_path, named_imports, allowed)) == 1

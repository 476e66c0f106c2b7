"""What importing each room brings along, in a fresh interpreter.

`import-linter` reads the sources; this sees what really comes, through third parties too.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable

import pytest

LoadedBy = Callable[..., frozenset[str]]

SDKS = {"boto3", "botocore", "sagemaker", "azure", "google.cloud", "google.auth", "lightkube"}
PLUGINS = {
    "edgectl_selfhosted",
    "edgectl_aws_greengrass",
    "edgectl_azure_iot_edge",
    "edgectl_gke_edge",
}
HEAVY = {"numpy", "onnx", "onnxruntime", "cryptography", "cyclonedx", "oras", "rich", "httpx"}
CORE_ONLY = {"edgectl", "click", "pluggy", "yaml", "onnx", "rich"} | PLUGINS | SDKS
SERVERS = {"starlette", "uvicorn", "httpx", "multipart", "python_multipart", "sqlite3"}


def modules_below(name: str) -> list[str]:
    """Name a package's modules but for those that are programs (``__main__``)."""
    package = importlib.import_module(name)
    below = (module.name for module in pkgutil.walk_packages(package.__path__, f"{name}."))
    return [name, *(module for module in below if not module.endswith(".__main__"))]


def test_the_whole_device_side_brings_nothing_of_core(loaded_by: LoadedBy) -> None:
    loaded = loaded_by(*modules_below("edge_components"))
    assert "edge_components.contract.release" in loaded
    assert sorted(loaded & CORE_ONLY) == []


def test_the_contract_needs_the_standard_library_and_msgspec_only(loaded_by: LoadedBy) -> None:
    loaded = loaded_by(*modules_below("edge_components.contract")) - loaded_by("msgspec")
    allowed = {*sys.stdlib_module_names, "edge_components"}
    assert sorted({name.partition(".")[0] for name in loaded} - allowed) == []
    others = {name for name in loaded if name.startswith("edge_components.")}
    assert sorted(n for n in others if not n.startswith("edge_components.contract")) == []


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("edgectl.cli.main", HEAVY | PLUGINS | SDKS | {"yaml"}),
        ("edgectl.api", HEAVY | PLUGINS | SDKS),
        ("edgectl_selfhosted.plugin", HEAVY | SDKS | SERVERS | {"edgectl_selfhosted.hub"}),
        ("edgectl_aws_greengrass.plugin", HEAVY | SDKS | SERVERS),
        ("edgectl_azure_iot_edge.plugin", HEAVY | SDKS | SERVERS),
        ("edgectl_gke_edge.plugin", HEAVY | SDKS | SERVERS),
        # An idle agent stays below 40 MiB; these alone would be more.
        ("edge_components.agent.main", {"numpy", "onnxruntime", "PIL"}),
    ],
)
def test_importing_a_room_brings_nothing_that_it_uses_later(
    loaded_by: LoadedBy, module: str, unwanted: set[str]
) -> None:
    assert sorted(loaded_by(module) & unwanted) == []


@pytest.mark.parametrize("plugin", sorted(PLUGINS))
def test_a_plugin_brings_no_other_plugin(loaded_by: LoadedBy, plugin: str) -> None:
    assert sorted(loaded_by(f"{plugin}.plugin") & PLUGINS) == [plugin]


@pytest.mark.parametrize(
    "plugin",
    [
        "edgectl_selfhosted",
        "edgectl_aws_greengrass",
        "edgectl_azure_iot_edge",
        "edgectl_gke_edge",
    ],
)
def test_the_way_to_real_devices_brings_nothing_of_an_emulator(
    loaded_by: LoadedBy, plugin: str
) -> None:
    package = importlib.import_module(plugin)
    inner = pkgutil.iter_modules(package.__path__, f"{plugin}.")
    real = [m.name for m in inner if m.name.rpartition(".")[2] not in {"emulator", "hub", "cli"}]
    loaded = loaded_by(*real, *modules_below(f"{plugin}._sdk"))
    assert f"{plugin}._sdk" in loaded
    emulators = (f"{plugin}.emulator", "edgectl.emulation")
    assert sorted(name for name in loaded if name.startswith(emulators)) == []
    assert "moto" not in loaded

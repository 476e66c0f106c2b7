"""What a device, a laptop and a hub get when they install one distribution and nothing else."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Program = Callable[..., subprocess.CompletedProcess[str]]
Environment = Callable[..., Path]
Wheel = Callable[[str], Path]
CLOUD = ("edgectl-aws-greengrass", "edgectl-azure-iot-edge", "edgectl-gke-edge")
SDKS = (
    "boto3",
    "botocore",
    "sagemaker",
    "azure",
    "google-cloud",
    "google-api",
    "lightkube",
    "grpcio",
)

pytestmark = [pytest.mark.network, pytest.mark.timeout(300)]

IMPORT_ALL = """
import importlib, pkgutil, sys
# The example that `edgectl init` copies, and what needs an extra: testing, emulation, grpc, mqtt,
# camera.
BESIDE = (
    "edgectl.templates",
    "edgectl.emulation.mqtt",
    "edgectl.testing.conformance",
    "edge_components.mqtt",
    "edge_components.runtime.grpc",
    "edge_components.telemetry.mqtt_sender",
    "edge_components.pipeline.broker",
    "edge_components.pipeline.sinks.mqtt",
    "edge_components.pipeline.sources.mqtt",
    "edge_components.pipeline.sources.camera",
)
for root in sys.argv[1:]:
    package = importlib.import_module(root)
    for module in pkgutil.walk_packages(package.__path__, root + ".", onerror=lambda name: None):
        if not module.name.startswith(BESIDE) and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
print("all imported")
"""

LOAD_CLOUD = """
from edgectl.plugins import load_provider_class
print(*(load_provider_class(name) for name in ("aws", "azure", "gke")))
"""


def installed(program: Program, uv: str, environment: Path) -> set[str]:
    """The names of the distributions in an environment."""
    result = program(uv, "pip", "list", "-q", "--format=json", "-p", environment / "bin" / "python")
    return {entry["name"] for entry in json.loads(result.stdout)}


def test_the_device_side_brings_no_core_no_click_and_no_sdk(
    program: Program, uv: str, environment: Environment
) -> None:
    names = installed(program, uv, environment("edgectl-edge-components"))
    assert "onnxruntime" in names
    unwanted = {"edgectl", "click", "pluggy", "rich", "pyyaml", "onnx"}
    assert sorted(names & unwanted) == []
    assert [name for name in names if name.startswith(SDKS)] == []


def test_the_device_side_imports_as_a_whole(program: Program, environment: Environment) -> None:
    python = environment("edgectl-edge-components") / "bin" / "python"
    result = program(python, "-W", "error", "-c", IMPORT_ALL, "edge_components")
    assert result.stdout == "all imported\n", result.stderr


@pytest.mark.parametrize("command", ["edge-runtime", "edge-agent", "edge-module", "edge-pod"])
def test_the_devices_programs_say_what_they_take(
    program: Program, environment: Environment, command: str
) -> None:
    result = program(environment("edgectl-edge-components") / "bin" / command, "--help")
    assert result.returncode == 0, result.stderr
    assert command in result.stdout


def test_core_runs_with_the_device_side_and_no_provider(
    program: Program, uv: str, environment: Environment
) -> None:
    folder = environment("edgectl", "edgectl-edge-components")
    result = program(folder / "bin" / "edgectl", "--help")
    assert result.returncode == 0, result.stderr
    assert "deploy" in result.stdout
    assert [n for n in installed(program, uv, folder) if n.startswith(SDKS)] == []


def test_the_selfhosted_line_imports_as_a_whole_and_brings_no_sdk(
    program: Program, uv: str, environment: Environment
) -> None:
    folder = environment("edgectl", "edgectl-edge-components", "edgectl-selfhosted")
    result = program(folder / "bin" / "python", "-c", IMPORT_ALL, "edgectl_selfhosted", "edgectl")
    assert result.stdout == "all imported\n", result.stderr
    assert [n for n in installed(program, uv, folder) if n.startswith(SDKS)] == []
    assert program(uv, "pip", "check", "-p", folder / "bin" / "python").returncode == 0


def test_the_cloud_providers_open_beside_core_without_their_sdk(
    program: Program, uv: str, environment: Environment, wheel: Wheel
) -> None:
    python = environment("edgectl", "edgectl-edge-components") / "bin" / "python"
    wheels = [wheel(name) for name in CLOUD]
    result = program(uv, "pip", "install", "-q", "--offline", "--no-deps", "-p", python, *wheels)
    assert result.returncode == 0, result.stderr
    result = program(python, "-c", LOAD_CLOUD)
    assert result.returncode == 0, result.stderr
    assert all(name in result.stdout for name in ("AwsProvider", "AzureProvider", "GkeProvider"))
    result = program(uv, "pip", "uninstall", "-q", "-p", python, *CLOUD)
    assert result.returncode == 0, result.stderr

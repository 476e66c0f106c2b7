"""The cloud providers: open by name without their SDK, and state their limits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgectl.api import (
    ProjectError,
    ProviderContext,
    open_provider,
)

ROOT = Path(__file__).parents[3]
CONFIGS: dict[str, dict[str, Any]] = {
    "aws": {"region": "us-east-1", "bucket": "my-models"},
    "azure": {"subscription_id": "0", "resource_group": "plates", "iot_hub": "plates-hub"},
    "gke": {"project": "my-project", "registry": "us-docker.pkg.dev/my-project/edge"},
}
FOLDERS = {"aws": "aws_greengrass", "azure": "azure_iot_edge", "gke": "gke_edge"}
SDKS = ("boto3", "botocore", "sagemaker", "azure", "google.cloud", "lightkube", "grpc")


@pytest.fixture
def context(tmp_path: Path) -> ProviderContext:
    return ProviderContext(
        project_dir=tmp_path, state_dir=tmp_path / ".edgectl", progress=lambda _: None
    )


@pytest.mark.parametrize(
    ("name", "package_bytes", "calls_per_second", "device_rollback"),
    [
        ("aws", 2_000_000_000, 30.0, True),
        ("azure", None, pytest.approx(1 / 3), True),
        ("gke", None, None, True),
    ],
)
def test_limits_are_the_vendors(
    context: ProviderContext,
    name: str,
    package_bytes: int | None,
    calls_per_second: float | None,
    device_rollback: bool,
) -> None:
    capabilities = open_provider(name, CONFIGS[name], context).capabilities()
    assert capabilities.limits.max_package_bytes == package_bytes
    assert capabilities.limits.calls_per_second == calls_per_second
    assert capabilities.device_rollback is device_rollback


@pytest.mark.parametrize(
    ("name", "more", "keeps"),
    [
        ("aws", {}, False),
        ("azure", {}, True),
        ("azure", {"runtime": {"bake": True}}, False),
        ("gke", {}, True),
        ("gke", {"delivery": "init"}, True),
        ("gke", {"delivery": "image"}, False),
    ],
)
def test_only_devices_that_fetch_by_themselves_keep_to_limits_of_their_network(
    context: ProviderContext, name: str, more: dict[str, Any], keeps: bool
) -> None:
    found = open_provider(name, {**CONFIGS[name], **more}, context).capabilities()
    assert found.network is keeps


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_an_unknown_key_is_refused_with_its_name(context: ProviderContext, name: str) -> None:
    with pytest.raises(ProjectError, match="password"):
        open_provider(name, {**CONFIGS[name], "password": "x"}, context)


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_opening_imports_no_sdk(name: str, tmp_path: Path) -> None:
    program = f"""
import pathlib, sys
from edgectl.api import ProviderContext, open_provider
here = pathlib.Path({str(tmp_path)!r})
context = ProviderContext(project_dir=here, state_dir=here, progress=print)
open_provider({name!r}, {CONFIGS[name]!r}, context).capabilities()
print(" ".join(sorted(set({SDKS!r}) & set(sys.modules))))
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stdout.split() == []

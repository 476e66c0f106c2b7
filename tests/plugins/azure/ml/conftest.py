"""Fixtures: an emulated subscription with Azure ML and its storage account, and clients of it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgectl_azure_iot_edge.config import AzureConfig, TrainingConfig
from edgectl_azure_iot_edge.emulator.account import RunningAccount
from edgectl_azure_iot_edge.emulator.arm.room import ArmRoom
from edgectl_azure_iot_edge.emulator.blob.room import BlobRoom
from edgectl_azure_iot_edge.emulator.login import LoginRoom
from edgectl_azure_iot_edge.emulator.ml.room import MlRoom

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the SDK is not ready for the next marshmallow
    import azure.ai.ml  # noqa: F401 - so that no test is the first to import it

WORKSPACE = "edgectl-ml"


@pytest.fixture(scope="session")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAccount]:
    """A subscription that runs; every test takes names of its own in it."""
    rooms = (LoginRoom, BlobRoom, MlRoom, ArmRoom)
    with RunningAccount(tmp_path_factory.mktemp("account"), rooms=rooms) as running:
        yield running


@pytest.fixture
def surroundings(account: RunningAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point Azure's SDKs to the account, as its settings say, and nowhere else."""
    for name in [name for name in os.environ if name.startswith(("AZURE", "ARM_"))]:
        monkeypatch.delenv(name)
    for name, value in account.settings().items():
        monkeypatch.setenv(name, value)
    account.site.faults.clear()
    account.site.calls.reset()


@pytest.fixture
def credential(account: RunningAccount, surroundings: None) -> Any:
    """The administrator, by the log-in that azure-identity does."""
    return credential_of(account.settings())


def credential_of(settings: dict[str, str]) -> Any:
    from azure.identity import ClientSecretCredential  # noqa: PLC0415 - the SDK is slow to import

    return ClientSecretCredential(
        settings["AZURE_TENANT_ID"],
        settings["AZURE_CLIENT_ID"],
        settings["AZURE_CLIENT_SECRET"],
        authority=settings["AZURE_AUTHORITY_HOST"],
        disable_instance_discovery=True,
    )


@pytest.fixture
def as_role(account: RunningAccount, surroundings: None) -> Callable[..., Any]:
    """Return a function that makes a principal with these roles, and its credential."""

    def make(*roles: str) -> Any:
        made = account.site.directory.add(roles)
        settings = {
            **account.settings(),
            "AZURE_CLIENT_ID": made.client_id,
            "AZURE_CLIENT_SECRET": made.secret,
        }
        return credential_of(settings)

    return make


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name that no other test has."""
    return f"t{abs(hash(request.node.nodeid)):x}"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """An empty folder for a project."""
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


@pytest.fixture
def config(account: RunningAccount, surroundings: None) -> AzureConfig:
    """A project's settings for the account."""
    site = account.site
    return AzureConfig(
        subscription_id=site.subscription,
        resource_group=site.resource_group,
        iot_hub=site.hub,
        workspace=WORKSPACE,
        training=TrainingConfig(compute="cpu-cluster", image="example.test/python:3.11"),
    )

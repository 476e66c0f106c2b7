"""``register`` and ``approval`` on the emulated Azure ML: versions that never change, decisions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from edgectl.api import (
    ApprovalRequest,
    AuthError,
    ConflictError,
    LimitError,
    ModelError,
    ModelVersion,
    NotFoundError,
    ProjectError,
    RegisterRequest,
    TensorSpec,
    TrainedModel,
    Variant,
)
from edgectl_azure_iot_edge import models
from edgectl_azure_iot_edge._sdk.register import approval, register
from edgectl_azure_iot_edge.config import AzureConfig
from edgectl_azure_iot_edge.emulator.account import RunningAccount

pytestmark = pytest.mark.filterwarnings(
    "ignore::marshmallow.warnings.RemovedInMarshmallow4Warning"  # the SDK's own use of marshmallow
)
DIGEST = "sha256:" + "ab" * 32


@pytest.fixture
def version(name: str) -> ModelVersion:
    """A version that passed its gates."""
    tensor = TensorSpec(name="x", datatype="FP32", shape=(-1, 4))
    return ModelVersion(
        name=name,
        version="1.0.0",
        digest=DIGEST,
        inputs=(tensor,),
        outputs=(tensor,),
        opset={"": 17},
        ir_version=9,
        metrics={"accuracy": 0.975, "f1 score": 1 / 3},
        variants=(
            Variant(
                precision="int8",
                path="m",
                files=("m",),
                size_bytes=1,
                atol=1.0,
                rtol=1.0,
                accuracy=0.96,
            ),
        ),
        trained=TrainedModel(
            model=Path("model.onnx"),
            inputs={"data": "sha256:" + "cd" * 32},
            revision="0" * 40,
            job="edgectl-job-1",
        ),
    )


@pytest.fixture
def ask(version: ModelVersion, tmp_path: Path) -> Callable[..., RegisterRequest]:
    """Return a function that makes a request to register ``version``."""
    (tmp_path / "model.onnx").write_bytes(b"onnx")

    def make(**changes: Any) -> RegisterRequest:
        files = {"model/fp32/model.onnx": tmp_path / "model.onnx"}
        return RegisterRequest(**({"version": version, "files": files} | changes))

    return make


def client(config: AzureConfig) -> Any:
    from edgectl_azure_iot_edge._sdk.workspace import Workspace  # noqa: PLC0415 - slow to import

    return Workspace(config).client


def decided(config: AzureConfig, version: ModelVersion) -> str | None:
    return approval(config, ApprovalRequest(name=version.name, version=version.version)).approval


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the SDK's own use of the other SDK
def test_a_version_is_registered_with_digest_metrics_and_lineage(
    config: AzureConfig, version: ModelVersion, ask: Callable[..., RegisterRequest], tmp_path: Path
) -> None:
    made = register(config, ask())
    assert (made.approval, made.stage) == ("pending", "Development")
    ml = client(config)
    known = ml.models.get(version.name, "1.0.0")
    assert known.properties[models.DIGEST] == DIGEST
    assert known.properties["metric.accuracy"] == "0.975"
    assert known.properties["metric.f1_score"] == "0.333333"
    assert known.properties["accuracy.int8"] == "0.96"
    assert known.properties["edgectl.job"] == "edgectl-job-1"
    assert known.properties["edgectl.revision"] == "0" * 40
    assert known.properties["edgectl.input.data"] == "sha256:" + "cd" * 32
    ml.models.download(version.name, "1.0.0", download_path=str(tmp_path / "down"))
    (found,) = (path for path in (tmp_path / "down").rglob("model.onnx"))
    assert found.read_bytes() == b"onnx"


def test_registering_the_same_again_changes_and_sends_nothing(
    account: RunningAccount, config: AzureConfig, ask: Callable[..., RegisterRequest]
) -> None:
    first = register(config, ask(approval="approved"))
    account.site.calls.reset()
    assert register(config, ask()) == first
    calls = account.site.calls.counts().total
    assert "ml.PutVersion" not in calls
    assert "blob.PutBlob" not in calls


def test_the_same_version_with_another_digest_is_a_conflict(
    config: AzureConfig, version: ModelVersion, ask: Callable[..., RegisterRequest]
) -> None:
    register(config, ask())
    other = replace(version, digest="sha256:" + "ef" * 32)
    with pytest.raises(ConflictError, match="another digest: sha256:abab") as raised:
        register(config, ask(version=other))
    assert "raise `version`" in raised.value.hint


def test_whoever_was_slower_is_told_of_the_conflict(
    config: AzureConfig,
    version: ModelVersion,
    ask: Callable[..., RegisterRequest],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    from edgectl_azure_iot_edge._sdk import register as module  # noqa: PLC0415 - its own name

    register(config, ask())
    real, looked = module._find, []

    def late(*arguments: Any) -> Any:
        looked.append(arguments)
        return real(*arguments) if len(looked) > 1 else None

    monkeypatch.setattr(module, "_find", late)
    (tmp_path / "model.onnx").write_bytes(b"another")
    with pytest.raises(ConflictError, match="another digest"):
        register(config, ask(version=replace(version, digest="sha256:" + "ef" * 32)))


def test_somebody_elses_model_of_that_name_is_a_conflict(
    config: AzureConfig, version: ModelVersion, ask: Callable[..., RegisterRequest], tmp_path: Path
) -> None:
    from azure.ai.ml.entities import Model  # noqa: PLC0415 - slow to import

    path = str(tmp_path / "model.onnx")
    client(config).models.create_or_update(Model(name=version.name, version="1.0.0", path=path))
    with pytest.raises(ConflictError, match="no digest of edgectl's"):
        register(config, ask())


def test_a_decision_is_kept_as_tag_and_stage(
    config: AzureConfig, version: ModelVersion, ask: Callable[..., RegisterRequest]
) -> None:
    assert decided(config, version) is None
    register(config, ask())
    assert decided(config, version) == "pending"
    made = register(config, ask(approval="approved"))
    assert (made.approval, made.stage) == ("approved", "Production")
    known = client(config).models.get(version.name, "1.0.0")
    assert (known.tags[models.APPROVAL_TAG], known.stage) == ("approved", "Production")
    assert register(config, ask()).approval == "approved"
    assert register(config, ask(approval="rejected")).stage == "Archived"
    assert decided(config, version) == "rejected"


def test_a_first_version_may_begin_as_approved(
    config: AzureConfig, ask: Callable[..., RegisterRequest]
) -> None:
    assert register(config, ask(initial="approved")).approval == "approved"


def test_a_decision_in_the_studio_counts(
    config: AzureConfig, version: ModelVersion, ask: Callable[..., RegisterRequest]
) -> None:
    register(config, ask())
    ml = client(config)
    known = ml.models.get(version.name, "1.0.0")
    known.tags = {**known.tags, models.APPROVAL_TAG: "approved", "note": "looked at it"}
    ml.models.create_or_update(known)
    assert decided(config, version) == "approved"
    register(config, ask(approval="rejected"))
    assert ml.models.get(version.name, "1.0.0").tags["note"] == "looked at it"


@pytest.mark.parametrize(
    ("tags", "stage", "expected"),
    [
        ({}, "", "pending"),
        ({}, "Production", "approved"),
        ({}, "Archived", "rejected"),
        ({models.APPROVAL_TAG: "rejected"}, "Production", "rejected"),
        ({models.APPROVAL_TAG: "maybe"}, "Production", "approved"),
        ({}, "whatever", "pending"),
    ],
)
def test_the_tag_decides_before_the_stage(tags: dict[str, str], stage: str, expected: str) -> None:
    assert models.read_approval(tags, stage) == expected


@pytest.mark.parametrize("change", [{"name": "a b"}, {"version": "1.0.0+local"}])
def test_a_name_that_azure_ml_does_not_take_is_refused_here(
    account: RunningAccount,
    config: AzureConfig,
    version: ModelVersion,
    ask: Callable[..., RegisterRequest],
    change: dict[str, str],
) -> None:
    with pytest.raises(LimitError, match="Azure ML takes"):
        register(config, ask(version=replace(version, **change)))
    assert account.site.calls.counts().total == {}


def test_a_file_that_cannot_be_read_is_named(
    config: AzureConfig, ask: Callable[..., RegisterRequest], tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=r"gone\.onnx"):
        register(config, ask(files={"model/fp32/model.onnx": tmp_path / "gone.onnx"}))


def test_a_workspace_that_is_not_set_or_not_there_is_told(
    config: AzureConfig, ask: Callable[..., RegisterRequest]
) -> None:
    with pytest.raises(ProjectError, match="workspace is not set"):
        register(replace(config, workspace=None), ask())
    with pytest.raises(NotFoundError, match="workspaces/nowhere"):
        register(replace(config, workspace="nowhere"), ask())


def test_a_missing_right_is_named(
    account: RunningAccount,
    config: AzureConfig,
    ask: Callable[..., RegisterRequest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = account.site.directory.add(("AcrPull",))
    monkeypatch.setenv("AZURE_CLIENT_ID", made.client_id)
    monkeypatch.setenv("AZURE_CLIENT_SECRET", made.secret)
    with pytest.raises(AuthError, match="models/versions/read is missing"):
        register(config, ask())

"""``register`` and ``approval``: Azure ML's model registry.

A model asset an application, a version of it for each of ours. The approval stands there and
nowhere else, so it can be given in Azure ML studio too.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from azure.ai.ml.entities import Model
from msgspec.structs import replace

from edgectl.api import (
    Approval,
    ApprovalRequest,
    ApprovalResult,
    ConflictError,
    ModelError,
    ModelVersion,
    NotFoundError,
    RegisterRequest,
)
from edgectl_azure_iot_edge import models
from edgectl_azure_iot_edge._sdk.workspace import Workspace
from edgectl_azure_iot_edge.config import AzureConfig


def register(config: AzureConfig, request: RegisterRequest) -> ModelVersion:
    """Register a version, or set its approval; the same again changes nothing.

    Raises:
        ConflictError: The version is there with another digest.
        ModelError: A file of the version cannot be read.
        LimitError: Azure ML does not take its name.
    """
    version = request.version
    models.check_identity(version.name, version.version)
    workspace = Workspace(config)
    known = _find(workspace, version.name, version.version)
    if known is None:
        decided = request.approval or request.initial
        known = _make(workspace, request, decided)
    _check_digest(known, version)
    decided = request.approval or _approval(known)
    if decided != _approval(known):
        known = _decide(workspace, known, decided)
    return replace(version, approval=decided, stage=known.stage or "")


def approval(config: AzureConfig, request: ApprovalRequest) -> ApprovalResult:
    """Return what the registry holds of a version's approval."""
    known = _find(Workspace(config), request.name, request.version)
    return ApprovalResult(approval=None if known is None else _approval(known))


def _find(workspace: Workspace, name: str, version: str) -> Model | None:
    try:
        with workspace.calling(f"look for model '{name}' {version}"):
            found: Model = workspace.client.models.get(name, version)
            return found
    except NotFoundError as exc:
        if exc.hint:  # not the model: the workspace
            raise
        return None


def _make(workspace: Workspace, request: RegisterRequest, decided: Approval) -> Model:
    version = request.version
    with tempfile.TemporaryDirectory(prefix="edgectl-model-") as folder:
        _stage(Path(folder) / "model", request.files)
        model = Model(
            name=version.name,
            version=version.version,
            path=str(Path(folder) / "model"),
            type="custom_model",
            description=f"{version.name} {version.version}, brought to devices by edgectl",
            tags=models.tags(version, decided),
            properties=models.properties(version),
            stage=models.stage_of(decided),
        )
        try:
            with workspace.calling(f"register model '{version.name}' {version.version}"):
                made: Model = workspace.client.models.create_or_update(model)
                return made
        except ConflictError:
            # Somebody else was faster; with the same content that is as good.
            theirs = _find(workspace, version.name, version.version)
            if theirs is None:
                raise
            return theirs


def _stage(folder: Path, files: dict[str, Path]) -> None:
    """Copy the version's files to their paths.

    Raises:
        ModelError: A file cannot be read.
    """
    for name, path in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(path, target)
        except OSError as exc:
            raise ModelError(f"the model's file '{path}' cannot be read: {exc.strerror}") from exc


def _check_digest(known: Model, version: ModelVersion) -> None:
    digest = (known.properties or {}).get(models.DIGEST, "")
    if digest != version.digest:
        whose = f"another digest: {digest}" if digest else "no digest of edgectl's"
        raise ConflictError(
            f"model '{version.name}' {version.version} is registered with {whose}, not "
            f"{version.digest}",
            hint="raise `version` in the project file; a registered version never changes",
        )


def _decide(workspace: Workspace, known: Model, decided: Approval) -> Model:
    """Set a model's tag and stage; everything else stays as it is."""
    known.tags = {**(known.tags or {}), models.APPROVAL_TAG: decided}
    known.stage = models.stage_of(decided)
    with workspace.calling(f"set the approval of '{known.name}' {known.version}"):
        changed: Model = workspace.client.models.create_or_update(known)
        return changed


def _approval(known: Model) -> Approval:
    return models.read_approval(known.tags or {}, known.stage or "")

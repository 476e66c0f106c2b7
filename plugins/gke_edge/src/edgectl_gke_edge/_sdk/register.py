"""``register`` and ``approval``: model versions in the registry, approvals as signed statements."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec

from edgectl.api import (
    Approval,
    ApprovalRequest,
    ApprovalResult,
    ConflictError,
    ModelVersion,
    PackageError,
    Record,
    RegisterRequest,
    attest,
    fetch_artifact_file,
    push_artifact,
    read_artifact,
    read_attestation,
)
from edgectl_gke_edge._sdk.account import Account
from edgectl_gke_edge.models import (
    APPROVAL_KIND,
    ATTESTATION_FILE,
    KIND,
    PREDICATE,
    VERSION_FILE,
    approval_tag,
    decode_version,
    encode_version,
    models_repository,
    read_approval,
    stage_tag,
    version_tag,
)


class Known(Record, frozen=True, kw_only=True):
    """A version as the registry has it: its artifact's digest, and what it says."""

    digest: str
    version: ModelVersion


def register(account: Account, request: RegisterRequest) -> ModelVersion:
    """Keep a version, or set its approval.

    Raises:
        ConflictError: The version is there with another digest.
        SignatureError: What was decided about it was not signed by this publisher.
    """
    version = request.version
    known = _known(account, version.name, version.version)
    if known is not None and known.version.digest != version.digest:
        raise ConflictError(
            f"model '{version.name}' {version.version} is registered with another digest: "
            f"{known.version.digest}, not {version.digest}",
            hint="raise `version` in the project file; a registered version never changes",
        )
    place = models_repository(account.config, version.name)
    if known is None:
        files: dict[str, bytes | Path] = {**request.files, VERSION_FILE: encode_version(version)}
        tag = version_tag(version.version)
        made = push_artifact(f"{place}:{tag}", KIND, files, fixed=True)
        known = Known(digest=made.digest, version=version)
        decided: tuple[Approval, str] | None = None
    else:
        decided = _decided(account, known)
    wanted = request.approval or (decided[0] if decided is not None else request.initial)
    stage = version.stage or (decided[1] if decided is not None else "")
    if decided != (wanted, stage):
        _decide(account, known, wanted, stage)
    return msgspec.structs.replace(known.version, approval=wanted, stage=stage)


def approval(account: Account, request: ApprovalRequest) -> ApprovalResult:
    """Say what was decided about a version.

    Raises:
        SignatureError: The statement was not signed by this publisher.
    """
    known = _known(account, request.name, request.version)
    if known is None:
        return ApprovalResult()
    decided = _decided(account, known)
    return ApprovalResult(approval="pending" if decided is None else decided[0])


def _known(account: Account, name: str, version: str) -> Known | None:
    place = models_repository(account.config, name)
    artifact = read_artifact(f"{place}:{version_tag(version)}")
    if artifact is None:
        return None
    file = artifact.file(VERSION_FILE)
    if file is None:
        raise PackageError(f"'{place}:{version_tag(version)}' is not a model version of edgectl's")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / VERSION_FILE
        fetch_artifact_file(place, file, target)
        return Known(digest=artifact.digest, version=decode_version(target.read_bytes()))


def _decided(account: Account, known: Known) -> tuple[Approval, str] | None:
    place = models_repository(account.config, known.version.name)
    artifact = read_artifact(f"{place}:{approval_tag(known.version.version)}")
    file = artifact.file(ATTESTATION_FILE) if artifact is not None else None
    if file is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / ATTESTATION_FILE
        fetch_artifact_file(place, file, target)
        data = target.read_bytes()
    return read_approval(read_attestation(account.project_dir, data, PREDICATE, known.digest))


def _decide(account: Account, known: Known, wanted: Approval, stage: str) -> None:
    version = known.version
    place = models_repository(account.config, version.name)
    said = {"approval": wanted, "stage": stage, "version": version.version}
    name = f"{version.name}:{version.version}"
    data = attest(account.project_dir, PREDICATE, name, known.digest, said)
    push_artifact(
        f"{place}:{approval_tag(version.version)}",
        APPROVAL_KIND,
        {ATTESTATION_FILE: data},
        annotations={"edgectl.dev/approval": wanted, "edgectl.dev/version": version.version},
        subject=known.digest,
    )
    for tag in ([wanted] if wanted == "approved" else []) + ([stage_tag(stage)] if stage else []):
        push_artifact(
            f"{place}:{tag}",
            APPROVAL_KIND,
            {ATTESTATION_FILE: data},
            annotations={"edgectl.dev/approval": wanted, "edgectl.dev/version": version.version},
            subject=known.digest,
        )

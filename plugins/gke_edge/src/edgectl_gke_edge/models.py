"""A model version as an OCI artifact: its names, its document, and what an approval is; pure.

The version is one artifact, under a tag that never moves. What was decided about it is another one
that refers to it: a statement that the publisher signed. Moving tags (``approved``, a stage) are
for people who look; they are never believed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec

from edgectl.api import Approval, ModelVersion, PackageError, ProjectError
from edgectl_gke_edge.config import GkeConfig
from edgectl_gke_edge.repository import repository

KIND = "application/vnd.edgectl.model.v1+json"
APPROVAL_KIND = "application/vnd.edgectl.approval.v1+json"
PREDICATE = "https://edgectl.dev/approval/v1"
VERSION_FILE = "version.json"
ATTESTATION_FILE = "approval.json"
_NOT_TAG = re.compile(r"[^A-Za-z0-9_.-]")
_APPROVALS: dict[str, Approval] = {
    "approved": "approved",
    "rejected": "rejected",
    "pending": "pending",
}


def models_repository(config: GkeConfig, application: str) -> str:
    """Return where an application's model versions are."""
    return f"{repository(config, application)}/models"


def version_tag(version: str) -> str:
    """Return the tag of a version; ``+`` of a version's build part is none in a tag."""
    return f"v{_NOT_TAG.sub('_', version)}"[:100]


def approval_tag(version: str) -> str:
    """Return the tag of what was decided about a version."""
    return f"{version_tag(version)}-approval"


def stage_tag(stage: str) -> str:
    """Return the tag that a stage moves along."""
    return f"stage-{_NOT_TAG.sub('_', stage)}"[:100]


def encode_version(version: ModelVersion) -> bytes:
    """Return a version as it is kept; what was decided about it is kept elsewhere."""
    plain = msgspec.structs.replace(version, approval="pending", stage="")
    return msgspec.json.encode(plain, enc_hook=str, order="sorted")


def decode_version(data: bytes) -> ModelVersion:
    """Read what ``encode_version`` wrote.

    Raises:
        PackageError: It is something else.
    """
    try:
        return _VERSION.decode(data)
    except msgspec.DecodeError as exc:
        raise PackageError(
            f"what the registry has of the model version is not ours: {exc}"
        ) from exc


def read_approval(predicate: dict[str, str]) -> tuple[Approval, str]:
    """Return approval and stage of a statement that was verified.

    Raises:
        ProjectError: It holds something else.
    """
    approval = _APPROVALS.get(predicate.get("approval", ""))
    if approval is None:
        raise ProjectError(f"the approval is {predicate!r}, expected approved, rejected or pending")
    return approval, predicate.get("stage", "")


def _path_from(kind: type[Any], value: Any) -> Any:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise ValueError(f"a {kind.__name__} cannot be read from {value!r}")


_VERSION = msgspec.json.Decoder(ModelVersion, dec_hook=_path_from)

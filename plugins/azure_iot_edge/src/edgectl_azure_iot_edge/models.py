"""A model version as Azure ML's registry keeps it: properties, tags and stage; pure.

A model asset's properties can be added to, but never changed: digest, metrics and lineage stand
there. Azure ML knows no approval, so it is a tag, which the studio shows and can change; the stage
says the same in the words of a model's life. Where the two differ the tag decides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from edgectl.api import Approval, LimitError, ModelVersion

APPROVAL_TAG = "edgectl.approval"
DIGEST = "edgectl.onnx_digest"
_STAGES: dict[Approval, str] = {
    "approved": "Production",
    "rejected": "Archived",
    "pending": "Development",
}
_APPROVALS: dict[str, Approval] = {stage: approval for approval, stage in _STAGES.items()}
_WORDS: dict[str, Approval] = {approval: approval for approval in _STAGES}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,254}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,29}")
_NOT_KEY = re.compile(r"[^A-Za-z0-9_.-]")


def check_identity(name: str, version: str) -> None:
    """Check that a model can be called so.

    Raises:
        LimitError: Azure ML does not take it.
    """
    if not _NAME.fullmatch(name):
        raise LimitError(
            f"'{name}' cannot be a model's name: Azure ML takes letters, digits, '_' and '-', at "
            "most 255"
        )
    if not _VERSION.fullmatch(version):
        raise LimitError(
            f"'{version}' cannot be a model's version: Azure ML takes letters, digits, '.', '_' "
            "and '-', at most 30"
        )


def stage_of(approval: Approval) -> str:
    """Return the stage that goes with an approval."""
    return _STAGES[approval]


def read_approval(tags: Mapping[str, str], stage: str) -> Approval:
    """Return what was decided about a model, from its tag, else from its stage."""
    return _WORDS.get(tags.get(APPROVAL_TAG, "")) or _APPROVALS.get(stage, "pending")


def properties(version: ModelVersion) -> dict[str, str]:
    """Return what stands fast of a version: digest, metrics and where it comes from."""
    trained = version.trained
    known = {
        DIGEST: version.digest,
        "edgectl.golden_digest": version.golden_digest,
        "edgectl.precisions": " ".join(variant.precision for variant in version.variants),
        "edgectl.job": trained.job if trained else "",
        "edgectl.revision": trained.revision if trained else "",
    }
    if trained is not None:
        for name, digest in sorted(trained.inputs.items()):
            known[f"edgectl.input.{_NOT_KEY.sub('_', name)}"] = digest
    for name, value in sorted(version.metrics.items()):
        known[f"metric.{_NOT_KEY.sub('_', name)}"] = f"{value:.6g}"
    for variant in version.variants:
        if variant.accuracy is not None:
            known[f"accuracy.{variant.precision}"] = f"{variant.accuracy:.6g}"
    return {key: value for key, value in known.items() if value}


def tags(version: ModelVersion, approval: Approval) -> dict[str, str]:
    """Return a new version's tags."""
    return {APPROVAL_TAG: approval, "edgectl.managed": "true", "edgectl.application": version.name}

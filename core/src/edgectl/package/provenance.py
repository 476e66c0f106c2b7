"""Where the model came from, as an in-toto statement in the words of SLSA provenance.

Only what is the same on every machine stands in it: digests of the training inputs, the command,
the metrics, the git revision. No clock, host, user or path of this machine.
Sources: in-toto Statement v1; SLSA provenance v1 (predicate ``https://slsa.dev/provenance/v1``).
"""

from __future__ import annotations

from typing import Any

from edge_components.contract.digest import digest_hex
from edge_components.contract.jsonio import canonical_json
from edge_components.contract.signature import STATEMENT_TYPE
from edgectl.package.files import contract_errors
from edgectl.records import ModelVersion, TrainedModel

PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:edgectl:train:v1"
BUILDER_ID = "urn:edgectl:builder"


def provenance(model: ModelVersion) -> bytes:
    """Return the provenance of a model version as canonical JSON.

    Raises:
        PackageError: A digest in the version's record is malformed.
    """
    trained = model.trained
    with contract_errors("the model version"):
        subject = {"name": model.name, "digest": {"sha256": digest_hex(model.digest)}}
        materials = _materials(trained.inputs) if trained is not None else []
    if trained is not None and trained.revision:
        materials.append({"name": "source", "digest": {"gitCommit": trained.revision}})
    return canonical_json(
        {
            "_type": STATEMENT_TYPE,
            "subject": [subject],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "buildDefinition": {
                    "buildType": BUILD_TYPE,
                    "externalParameters": _parameters(model, trained),
                    "resolvedDependencies": materials,
                },
                "runDetails": {
                    "builder": {"id": BUILDER_ID},
                    "byproducts": [{"name": "metrics", "annotations": dict(model.metrics)}],
                },
            },
        }
    )


def _parameters(model: ModelVersion, trained: TrainedModel | None) -> dict[str, Any]:
    return {
        "name": model.name,
        "version": model.version,
        "command": list(trained.command) if trained is not None else [],
    }


def _materials(inputs: dict[str, str]) -> list[dict[str, Any]]:
    return [
        {"name": name, "digest": {"sha256": digest_hex(inputs[name])}} for name in sorted(inputs)
    ]

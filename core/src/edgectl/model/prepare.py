"""From a trained model to a version that may be registered: check, golden set, variants, gates.

Order: read → full check → sets → the original's answers → accuracy → gates → variants. A gate is
looked at before variants are made, because it is the cheaper refusal. Nothing here depends on
a clock, a host or where files lie, so the same inputs give the same records and bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_components.contract.digest import sha256_digest
from edge_components.contract.package import MAX_PATH_BYTES
from edgectl.errors import ModelError
from edgectl.model.gates import check_gates
from edgectl.model.golden import (
    GoldenSet,
    complete_golden,
    fits_devices,
    golden_units,
    limit_golden,
    load_golden,
    random_golden,
    write_golden,
)
from edgectl.model.parity import Parity, accuracy
from edgectl.model.signature import ModelSignature, check_model, read_signature
from edgectl.model.variants import BuiltVariant, VariantSpec, build_variants, round_error
from edgectl.records import ModelVersion, Record, TrainedModel

__all__ = ["PrepareSpec", "PreparedModel", "VariantSpec", "prepare_version"]

_FP32 = (VariantSpec(precision="fp32"),)


class PrepareSpec(Record, frozen=True, kw_only=True):
    """What to prepare.

    Attributes:
        golden: A golden set for devices, or None to make one.
        evaluation: An archive with inputs and labels to measure accuracy on, or None.
        gates: Metric to expression, for example ``{"accuracy": ">= 0.95"}``.
    """

    name: str
    version: str
    model: Path
    golden: Path | None = None
    evaluation: Path | None = None
    gates: dict[str, str] = {}
    variants: tuple[VariantSpec, ...] = _FP32
    trained: TrainedModel | None = None


class PreparedModel(Record, frozen=True, kw_only=True):
    """What came of it.

    Attributes:
        files: Weights: package path to the file on this machine.
        golden: The golden set as devices get it; None where none was given and the model's
            inputs have no common batch axis, so that a device could not run a made one.
        evaluation: The report for people and for the package; plain JSON data without paths.
    """

    version: ModelVersion
    files: dict[str, Path]
    golden: Path | None
    evaluation: dict[str, Any]


class _Sets(Record, frozen=True, kw_only=True):
    golden: GoldenSet
    evaluation: GoldenSet
    origin: str


def prepare_version(
    spec: PrepareSpec, work_dir: Path, progress: Callable[[str], None]
) -> PreparedModel:
    """Check a model, make its golden set and variants, and hold it against its gates.

    Args:
        spec: What to prepare.
        work_dir: Where new files go.
        progress: Takes lines for people.

    Raises:
        GateError: A metric or a variant's accuracy misses its gate; the number is in the message.
        ModelError: The model or one of the sets is unusable.
    """
    signature = read_signature(spec.model)
    _check_names(signature)
    progress(f"model: {signature.size_bytes} bytes, {_opsets(signature)}; checking it")
    check_model(spec.model)
    sets = _sets(spec, signature)
    metrics = _metrics(spec, sets.evaluation)
    check_gates(spec.gates, metrics)
    golden_path = _write_golden(spec, sets, signature, work_dir, progress)
    built = build_variants(
        signature, spec.variants, sets.golden, sets.evaluation, work_dir=work_dir, progress=progress
    )
    return PreparedModel(
        version=_version(spec, signature, metrics, built, golden_path),
        files={path: file for one in built for path, file in one.files.items()},
        golden=golden_path,
        evaluation=_report(spec, signature, metrics, built, sets),
    )


def _check_names(signature: ModelSignature) -> None:
    for name in signature.files:
        if len(f"model/fp32/{name}".encode()) > MAX_PATH_BYTES:
            raise ModelError(f"the external data file's name '{name[:80]}…' is too long")


def _sets(spec: PrepareSpec, signature: ModelSignature) -> _Sets:
    """Find the golden and the evaluation set, and give both the original's answers."""
    golden = load_golden(spec.golden, signature) if spec.golden else None
    evaluation = load_golden(spec.evaluation, signature) if spec.evaluation else None
    if evaluation is not None and evaluation.labels is None:
        raise ModelError(
            f"the evaluation set '{spec.evaluation}' has no 'labels', so it measures nothing",
            hint="add the right class of each sample as 'labels'",
        )
    origin = "supplied" if golden else "evaluation"
    if golden is None and evaluation is None:
        calibration = next((v.calibration for v in spec.variants if v.calibration), None)
        origin = "calibration" if calibration else "random"
        golden = load_golden(calibration, signature) if calibration else random_golden(signature)
    elif golden is None:
        golden = evaluation
    if golden is None:
        raise AssertionError("one of the branches above gives a golden set")
    whole = complete_golden(signature, golden)
    judged = whole
    if evaluation is not None and evaluation is not golden:
        judged = complete_golden(signature, evaluation)
    return _Sets(golden=limit_golden(whole, signature), evaluation=judged, origin=origin)


def _write_golden(
    spec: PrepareSpec,
    sets: _Sets,
    signature: ModelSignature,
    work_dir: Path,
    progress: Callable[[str], None],
) -> Path | None:
    """Write what devices get, if they can run it."""
    units = golden_units(sets.golden, signature, what="the golden set")
    if not fits_devices(sets.golden, units):
        why = "the model's inputs have no common batch axis that a device can divide"
        if spec.golden is not None:
            raise ModelError(
                f"devices cannot run the golden set '{spec.golden}': {why}",
                hint="export the model with a batch axis first in every input, or give no set",
            )
        progress(f"no golden set goes to the devices: {why}")
        return None
    path = work_dir / "golden.npz"
    write_golden(sets.golden, path)
    if sets.origin == "random":
        progress("the golden set is made of random inputs; real ones find more: model.golden")
    return path


def _metrics(spec: PrepareSpec, evaluation: GoldenSet) -> dict[str, float]:
    """Return training's metrics, and the accuracy measured here.

    ``evaluation_accuracy`` is always ours; ``accuracy`` is ours where training gave none.
    """
    metrics = dict(spec.trained.metrics) if spec.trained else {}
    measured = accuracy(evaluation.outputs, evaluation.labels)
    if measured is not None:
        metrics["evaluation_accuracy"] = measured
        metrics.setdefault("accuracy", measured)
    return metrics


def _version(
    spec: PrepareSpec,
    signature: ModelSignature,
    metrics: dict[str, float],
    built: tuple[BuiltVariant, ...],
    golden: Path | None,
) -> ModelVersion:
    return ModelVersion(
        name=spec.name,
        version=spec.version,
        digest=signature.digest,
        inputs=signature.inputs,
        outputs=signature.outputs,
        opset=signature.opset,
        ir_version=signature.ir_version,
        metrics=metrics,
        variants=tuple(one.variant for one in built),
        golden_digest=sha256_digest(golden.read_bytes()) if golden else "",
        trained=spec.trained,
    )


def _report(
    spec: PrepareSpec,
    signature: ModelSignature,
    metrics: dict[str, float],
    built: tuple[BuiltVariant, ...],
    sets: _Sets,
) -> dict[str, Any]:
    def samples(group: GoldenSet) -> int:
        return golden_units(group, signature, what="the set").samples

    return {
        "model_digest": signature.digest,
        "metrics": metrics,
        "gates": {
            name: {"gate": gate, "measured": metrics[name]} for name, gate in spec.gates.items()
        },
        "golden": {"samples": samples(sets.golden), "origin": sets.origin},
        "evaluation": {
            "samples": samples(sets.evaluation),
            "labels": sets.evaluation.labels is not None,
        },
        "variants": {one.variant.precision: _variant_report(one) for one in built},
    }


def _variant_report(built: BuiltVariant) -> dict[str, Any]:
    return {
        "made": built.kind,
        "size_bytes": built.variant.size_bytes,
        "accuracy": built.variant.accuracy,
        "golden": _parity_report(built.golden),
        "evaluation": _parity_report(built.evaluation),
    }


def _parity_report(parity: Parity) -> dict[str, Any]:
    return {
        "max_abs_error": round_error(parity.max_abs_error),
        "max_rel_error": round_error(parity.max_rel_error),
        "label_agreement": parity.label_agreement,
        "accuracy": parity.accuracy,
        "worst_output": parity.output,
    }


def _opsets(signature: ModelSignature) -> str:
    return ", ".join(f"{domain} opset {v}" for domain, v in sorted(signature.opset.items()))

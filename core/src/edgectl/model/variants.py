"""Variants: the model at other precisions, each measured against the original.

Tolerances are what a device's golden check allows. For fp32 they cover the order of additions on
another processor; for the others they are the measured error with a margin, because another
processor rounds differently; for fp16 with more than was measured, because a CPU keeps float32
between operators where a GPU rounds. A classifier also has to agree on the class of nearly all
samples, which catches a broken model whose scores stay within a wide tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from edge_components.contract.package import Precision, Variant
from edgectl.errors import GateError, ModelError
from edgectl.model.golden import GoldenSet, load_golden, write_golden
from edgectl.model.guard import run_guarded
from edgectl.model.parity import Parity, compare
from edgectl.model.run import run_model
from edgectl.model.runtime import Arrays
from edgectl.model.signature import MODEL_FILE, ModelSignature, read_signature
from edgectl.model.storing import EXTERNAL_ABOVE_BYTES
from edgectl.records import Record

FP32_ATOL = 1e-4
FP32_RTOL = 1e-3
_DIGITS = 2
_LEAST_AGREEMENT = 1e-4
_LAST_BITS = 2e-6
_MARGIN = 2.0
_SCALE_SHARE: dict[str, float] = {"fp32": 0.0, "fp16": 0.01, "int8": 0.02}
_RTOL: dict[str, float] = {"fp32": FP32_RTOL, "fp16": 0.01, "int8": 0.02}
_MAY_FLIP: dict[str, float] = {"fp32": 0.02, "fp16": 0.05, "int8": 0.05}


class VariantSpec(Record, frozen=True, kw_only=True):
    """A variant as it was asked for.

    Attributes:
        calibration: An archive of inputs for static int8, or None.
        max_accuracy_drop: Most accuracy that the variant may lose, as a share, or None.
        kind: How int8 is made; None is static with a calibration set and dynamic without.
    """

    precision: Precision
    calibration: Path | None = None
    max_accuracy_drop: float | None = None
    kind: Literal["static", "dynamic"] | None = None


class BuiltVariant(Record, frozen=True, kw_only=True):
    """A variant, its files by package path, and what was measured.

    Attributes:
        golden: Against the golden answers: what devices will repeat.
        evaluation: Against the original on the evaluation set.
    """

    variant: Variant
    files: dict[str, Path]
    golden: Parity
    evaluation: Parity
    kind: str


def build_variants(
    model: ModelSignature,
    specs: tuple[VariantSpec, ...],
    golden: GoldenSet,
    evaluation: GoldenSet,
    *,
    work_dir: Path,
    progress: Callable[[str], None],
) -> tuple[BuiltVariant, ...]:
    """Make every variant and measure it.

    Args:
        model: The original, checked.
        specs: What to make, in order.
        golden: With all answers of the original.
        evaluation: With all answers of the original; labels where they are known.
        work_dir: Where the new files go, below ``variants/``.
        progress: Takes a line for people.

    Raises:
        GateError: A variant loses more accuracy than it may.
        ModelError: A variant cannot be made or measured, or answers with NaN or infinity.
    """
    if len({spec.precision for spec in specs}) != len(specs) or not specs:
        raise ModelError("every variant needs a precision of its own, and there must be one")
    built = []
    for spec in specs:
        made = _make(model, spec, golden, work_dir / "variants")
        one = _measure(model, spec, made, golden, evaluation)
        _check_drop(
            spec, one.evaluation, compare(evaluation.outputs, evaluation.outputs, evaluation.labels)
        )
        progress(_line(one))
        built.append(one)
    return tuple(built)


def tolerances(precision: Precision, parity: Parity, samples: int) -> tuple[float, float, float]:
    """Return ``atol``, ``rtol`` and ``min_label_agreement`` for a device's golden check.

    Args:
        precision: The variant's.
        parity: What was measured on the golden set.
        samples: Samples in the golden set.
    """
    error = parity.max_abs_error
    atol = max(FP32_ATOL, _MARGIN * error, error + _SCALE_SHARE[precision] * parity.scale)
    if parity.agreement is None:
        return round_error(atol), _RTOL[precision], 0.0
    flips = max(1, math.ceil(_MAY_FLIP[precision] * samples)) / samples
    # 0 would ask a device for equal whole numbers, which the variant itself did not give here.
    least = _LEAST_AGREEMENT if parity.agreement < 1.0 else 0.0
    share = max(least, math.floor((parity.agreement - flips) * 1e4) / 1e4)
    return round_error(atol), _RTOL[precision], share


def _make(
    model: ModelSignature, spec: VariantSpec, golden: GoldenSet, folder: Path
) -> tuple[dict[str, Path], str]:
    """Return the variant's files by their names beside the model, and how it was made."""
    if spec.precision == "fp32":
        return model.files, "original"
    target = folder / spec.precision
    target.mkdir(parents=True, exist_ok=True)
    external = len(model.files) > 1 or model.size_bytes > EXTERNAL_ABOVE_BYTES
    arguments = {
        "model": str(model.path.resolve()),
        "output": str((target / MODEL_FILE).resolve()),
        "external": external,
    }
    kind = "fp16"
    if spec.precision == "int8":
        kind = "int8-" + (spec.kind or ("static" if spec.calibration else "dynamic"))
    if kind == "int8-static":
        arguments |= _samples_for(model, _calibration(model, spec), target)
    elif kind == "fp16":
        arguments |= _samples_for(model, golden, target)
    run_guarded(kind, arguments, what=f"the {spec.precision} variant")
    made = read_signature(target / MODEL_FILE)
    _check_same_interface(model, made, spec.precision)
    return made.files, kind


def _calibration(model: ModelSignature, spec: VariantSpec) -> GoldenSet:
    if spec.calibration is None:
        raise ModelError(
            "static int8 needs a calibration set",
            hint="give `calibration:` an archive of typical inputs, or use dynamic quantization",
        )
    return load_golden(spec.calibration, model)


def _samples_for(model: ModelSignature, samples: GoldenSet, target: Path) -> dict[str, object]:
    """Return the worker's arguments that bring inputs to measure ranges on."""
    path = target / "samples.npz"
    write_golden(GoldenSet(inputs=samples.inputs), path)
    return {
        "samples": {
            "archive": str(path.resolve()),
            "inputs": msgspec.to_builtins(model.inputs),
            "outputs": msgspec.to_builtins(model.outputs),
        }
    }


def _check_same_interface(model: ModelSignature, made: ModelSignature, precision: str) -> None:
    before, after = (
        [(spec.name, spec.datatype) for spec in (*one.inputs, *one.outputs)]
        for one in (model, made)
    )
    if before != after:
        raise ModelError(f"the {precision} variant would change the model's inputs or outputs")


def _measure(
    model: ModelSignature,
    spec: VariantSpec,
    made: tuple[dict[str, Path], str],
    golden: GoldenSet,
    evaluation: GoldenSet,
) -> BuiltVariant:
    files, kind = made
    on_golden = _compare(model, spec, files[MODEL_FILE], golden)
    same = evaluation is golden
    on_evaluation = on_golden if same else _compare(model, spec, files[MODEL_FILE], evaluation)
    samples = _samples(golden)
    atol, rtol, agreement = tolerances(spec.precision, on_golden, samples)
    folder = f"model/{spec.precision}"
    paths = {f"{folder}/{name}": file for name, file in sorted(files.items())}
    return BuiltVariant(
        variant=Variant(
            precision=spec.precision,
            path=f"{folder}/{MODEL_FILE}",
            files=tuple(paths),
            size_bytes=sum(file.stat().st_size for file in paths.values()),
            atol=atol,
            rtol=rtol,
            max_abs_error=round_error(on_golden.max_abs_error),
            max_rel_error=round_error(on_golden.max_rel_error),
            accuracy=on_evaluation.accuracy,
            min_label_agreement=agreement,
        ),
        files=paths,
        golden=on_golden,
        evaluation=on_evaluation,
        kind=kind,
    )


def _compare(model: ModelSignature, spec: VariantSpec, path: Path, against: GoldenSet) -> Parity:
    reference: Arrays = {one.name: against.outputs[one.name] for one in model.outputs}
    parity = compare(reference, run_model(path, model, against.inputs), against.labels)
    if not math.isfinite(parity.max_abs_error) or not math.isfinite(parity.max_rel_error):
        raise ModelError(
            f"the {spec.precision} variant answers with NaN or infinity, or with something where "
            f"the original has nothing, in '{parity.output}'",
            hint=f"the model's values do not fit {spec.precision}; leave that variant out",
        )
    return parity


def _samples(golden: GoldenSet) -> int:
    sizes = [len(array) for array in golden.outputs.values() if array.ndim]
    return max(sizes, default=1)


def _check_drop(spec: VariantSpec, parity: Parity, original: Parity) -> None:
    """Compare the accuracy lost with what may be lost.

    Without labels the share of changed classes stands in: the accuracy cannot drop by more.
    """
    if spec.max_accuracy_drop is None:
        return
    if parity.accuracy is not None and original.accuracy is not None:
        drop = original.accuracy - parity.accuracy
        found = f"{original.accuracy:.4f} → {parity.accuracy:.4f}"
    elif parity.label_agreement is not None:
        drop = 1.0 - parity.label_agreement
        found = "no labels: the share of classes that changed"
    else:
        raise ModelError(
            f"max_accuracy_drop of {spec.precision} cannot be measured: there are no labels and "
            "the model is no classifier",
            hint="give `model.evaluation` with labels, or leave max_accuracy_drop out",
        )
    if drop > spec.max_accuracy_drop:
        raise GateError(
            f"the {spec.precision} variant loses {drop:.4f} of accuracy ({found}), at most "
            f"{spec.max_accuracy_drop:g} is allowed",
            hint="calibrate with more inputs, allow a larger drop, or leave the variant out",
        )


def round_error(value: float) -> float:
    """Round up to two digits, and what is only a float's last bits to nothing.

    Another processor differs in last bits; they must not change the package.
    """
    if value < _LAST_BITS:
        return 0.0
    digits = _DIGITS - 1 - math.floor(math.log10(value))
    return math.ceil(round(value * 10.0**digits, 6)) / 10.0**digits


def _line(built: BuiltVariant) -> str:
    variant = built.variant
    accuracy = "" if variant.accuracy is None else f", accuracy {variant.accuracy:.4f}"
    return (
        f"variant {variant.precision}: {variant.size_bytes} bytes{accuracy}, "
        f"largest error {variant.max_abs_error:.2g}"
    )

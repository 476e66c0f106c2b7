"""From a version folder to a checked model: load a variant, run the golden set, decide.

Used in two places: by ``edge-runtime check`` in a process of its own, and by the serving process
when it starts or switches without being told a precision.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from edge_components.contract.digest import engine_key
from edge_components.contract.hardware import HardwareProfile
from edge_components.contract.package import Variant
from edge_components.contract.state import Reason
from edge_components.golden import (
    Array,
    Comparison,
    Golden,
    GoldenError,
    compare,
    read_golden,
)
from edge_components.runtime.measure import median_s
from edge_components.runtime.model import Identity, Model, ModelError, load_model
from edge_components.runtime.oip.datatypes import (
    NUMPY_TYPES,
    bf16_to_float32,
    float32_to_bf16,
)
from edge_components.runtime.providers import keeps_engines, options_for
from edge_components.runtime.reports import CheckReport
from edge_components.runtime.version import ActivationError, Version

_CHUNK = 32


def load_variant(
    version: Version,
    variant: Variant,
    profile: HardwareProfile,
    *,
    engines: Path | None = None,
    providers: Sequence[str] | None = None,
) -> Model:
    """Load one variant and warm it.

    Args:
        version: Whose variant.
        variant: Which one.
        profile: The device's hardware.
        engines: The folder for what execution providers compile, or None to keep nothing.
        providers: Other providers than the profile's.

    Raises:
        ActivationError: ``load-failed``.
    """
    providers = providers or profile.execution_providers
    cache = None
    if engines is not None and keeps_engines(providers):
        cache = engines / engine_key(
            {version.digests[path] for path in {variant.path, *variant.files}}
        )
    release = version.release
    identity = Identity(
        name=version.info.application,
        version=version.info.version,
        release=release.number,
        package=release.package,
        precision=variant.precision,
    )
    path = version.package / variant.path
    options = options_for(profile, precision=variant.precision, cache=cache)
    try:
        if cache is not None:
            cache.mkdir(parents=True, exist_ok=True)
        return load_model(path, identity, providers, options, profile=profile)
    except (ModelError, OSError) as exc:
        raise ActivationError(Reason.LOAD_FAILED, f"{variant.precision}: {exc}") from exc


def golden_of(version: Version) -> Path | None:
    """Return the package's golden set, or None where it has none."""
    return None if version.info.golden is None else version.package / version.info.golden


def check_variant(
    version: Version, variant: Variant, profile: HardwareProfile, *, engines: Path | None = None
) -> CheckReport:
    """Load one variant and run the golden set; never raises for what the package does."""
    start = time.perf_counter()
    try:
        model = load_variant(version, variant, profile, engines=engines)
    except ActivationError as exc:
        return CheckReport(
            ok=False, precision=variant.precision, reason=exc.reason, detail=exc.detail
        )
    report = check_model(version, variant, model)
    seconds = round(time.perf_counter() - start, 6)
    latency_ms = _finite(median_s(model, golden_of(version)) * 1000) if report.ok else None
    return msgspec.structs.replace(report, seconds=seconds, latency_ms=latency_ms)


def check_model(version: Version, variant: Variant, model: Model) -> CheckReport:
    """Run the golden set on a loaded model."""
    base = CheckReport(ok=True, precision=variant.precision, provider=model.provider)
    if version.info.golden is None:
        return msgspec.structs.replace(base, detail="the package has no golden set")
    try:
        golden = read_golden(version.package / version.info.golden)
        outputs = run_golden(model, golden)
        comparison = compare(
            outputs, _expected(model, golden), atol=variant.atol, rtol=variant.rtol
        )
    except (GoldenError, ModelError, OSError) as exc:
        return msgspec.structs.replace(
            base, ok=False, reason=Reason.GOLDEN_FAILED, detail=f"{variant.precision}: {exc}"
        )
    return _judge(base, variant, golden, comparison)


def _judge(
    base: CheckReport, variant: Variant, golden: Golden, comparison: Comparison
) -> CheckReport:
    measured = msgspec.structs.replace(
        base,
        samples=golden.samples,
        max_abs_error=_finite(comparison.max_abs_error),
        max_rel_error=_finite(comparison.max_rel_error),
        label_agreement=comparison.label_agreement,
    )
    if comparison.holds(variant.min_label_agreement):
        return measured
    detail = comparison.worst or (
        f"label agreement is {comparison.label_agreement}, "
        f"at least {variant.min_label_agreement or 1.0} is needed"
    )
    allowed = f"allowed are atol {variant.atol:g}, rtol {variant.rtol:g}"
    return msgspec.structs.replace(
        measured,
        ok=False,
        reason=Reason.GOLDEN_FAILED,
        detail=f"{variant.precision}: {detail}; {allowed}",
    )


def run_golden(model: Model, golden: Golden) -> dict[str, Array]:
    """Run the model on all samples, as many at a time as its batch axis takes.

    Raises:
        GoldenError: The samples do not fit the model's inputs.
        ModelError: The model fails on them.
    """
    feeds = {name: _feed(model, name, array) for name, array in golden.inputs.items()}
    missing = set(model.signature.inputs) - set(feeds)
    unknown = set(golden.outputs) - set(model.signature.outputs)
    if missing or unknown:
        raise GoldenError(f"the golden set does not fit the model: {sorted(missing | unknown)}")
    names = list(golden.outputs)
    parts = [model.run(chunk, names) for chunk in _chunks(model, feeds, golden.samples)]
    joined = [
        part[0] if len(part) == 1 else np.concatenate(part) for part in zip(*parts, strict=True)
    ]
    return {name: _plain(model, name, array) for name, array in zip(names, joined, strict=True)}


def _chunks(model: Model, feeds: dict[str, Array], samples: int) -> Iterator[dict[str, Array]]:
    first = model.inputs[0]
    if not first.shape:
        yield feeds
        return
    size = first.shape[0] if first.shape[0] > 0 else _CHUNK
    if first.shape[0] > 0 and samples % size:
        raise GoldenError(f"{samples} golden samples do not fill batches of {size}")
    for start in range(0, samples, size):
        yield {name: array[start : start + size] for name, array in feeds.items()}


def _feed(model: Model, name: str, array: Array) -> Array:
    spec = model.signature.inputs.get(name)
    if spec is None:
        raise GoldenError(f"the golden set has input '{name}', which the model has not")
    fits = array.ndim == len(spec.shape) and all(
        want in {-1, have} for have, want in zip(array.shape[1:], spec.shape[1:], strict=True)
    )
    if not fits:
        raise GoldenError(
            f"golden input '{name}' has shape {list(array.shape)}, "
            f"the model expects {list(spec.shape)}"
        )
    if spec.datatype == "BF16" and array.dtype == np.float32:
        return float32_to_bf16(array)
    wanted = NUMPY_TYPES[spec.datatype]
    if array.dtype == wanted:
        return array
    if spec.datatype == "FP16" and array.dtype.kind == "f":
        return array.astype(wanted)  # a variant with fp16 inputs, golden values of the original
    raise GoldenError(f"golden input '{name}' is {array.dtype}, the model expects {spec.datatype}")


def _expected(model: Model, golden: Golden) -> dict[str, Array]:
    return {name: _plain(model, name, array) for name, array in golden.outputs.items()}


def _plain(model: Model, name: str, array: Array) -> Array:
    spec = model.signature.outputs.get(name)
    if spec is not None and spec.datatype == "BF16" and array.dtype == np.uint16:
        return bf16_to_float32(array)
    return array


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def load_file(path: Path, name: str, profile: HardwareProfile) -> Model:
    """Load a plain model file, for a runtime without a release.

    Raises:
        ActivationError: ``load-failed``.
    """
    try:
        return load_model(path, Identity(name=name), profile.execution_providers, profile=profile)
    except ModelError as exc:
        raise ActivationError(Reason.LOAD_FAILED, str(exc)) from exc

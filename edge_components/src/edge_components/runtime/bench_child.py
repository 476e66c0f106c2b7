"""One variant on one execution provider: load, golden set, warm-up, measured runs."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import msgspec

from edge_components.contract.bench import BenchRow
from edge_components.contract.device import VERSION_RELEASE
from edge_components.contract.hardware import HardwareProfile
from edge_components.golden import GoldenError, compare, read_golden
from edge_components.runtime.bench import BenchSettings
from edge_components.runtime.load import check_model, golden_of, load_variant, run_golden
from edge_components.runtime.measure import quantile, sample_of, time_runs
from edge_components.runtime.model import Identity, Model, ModelError, load_model
from edge_components.runtime.providers import CPU, options_for
from edge_components.runtime.reports import CheckReport
from edge_components.runtime.version import ActivationError, candidates, find_profile, read_version

_ATOL, _RTOL = 1e-3, 1e-3


def measure_here(settings: BenchSettings, precision: str, provider: str) -> BenchRow:
    """Measure in this process; what cannot be measured is a row with its reason."""
    asked = (provider,) if provider == CPU else (provider, CPU)
    profile = find_profile(settings.hardware)
    start = time.perf_counter()
    try:
        model, report, golden = _load(settings, precision, profile, asked)
    except (ActivationError, ModelError) as exc:
        return BenchRow(precision=precision, provider=provider, detail=str(exc))
    load_s = time.perf_counter() - start
    row = BenchRow(
        precision=precision,
        provider=provider,
        used=model.provider,
        nodes=model.nodes,
        ok=report.ok,
        load_s=round(load_s, 4),
        max_abs_error=report.max_abs_error,
        label_agreement=report.label_agreement,
        detail=report.detail,
    )
    return _timed(row, model, golden, settings.seconds)


def _load(
    settings: BenchSettings, precision: str, profile: HardwareProfile, asked: tuple[str, ...]
) -> tuple[Model, CheckReport, Path | None]:
    if not (settings.path / VERSION_RELEASE).exists():
        options = options_for(profile, cache=settings.engines)
        identity = Identity(name=settings.path.stem)
        model = load_model(settings.path, identity, asked, options, profile=profile)
        return model, _compared(model, settings.golden), settings.golden
    version = read_version(settings.path)
    variant = candidates(version, profile, precision)[0]
    model = load_variant(version, variant, profile, engines=settings.engines, providers=asked)
    return model, check_model(version, variant, model), golden_of(version)


def _compared(model: Model, golden: Path | None) -> CheckReport:
    if golden is None:
        return CheckReport(ok=True, detail="no golden set")
    try:
        wanted = read_golden(golden)
        found = compare(run_golden(model, wanted), wanted.outputs, atol=_ATOL, rtol=_RTOL)
    except (GoldenError, ModelError, OSError) as exc:
        return CheckReport(ok=False, detail=str(exc))
    return CheckReport(
        ok=found.holds(1.0),
        max_abs_error=found.max_abs_error,
        label_agreement=found.label_agreement,
        detail=found.worst,
    )


def _timed(row: BenchRow, model: Model, golden: Path | None, seconds: float) -> BenchRow:
    feeds = sample_of(model, golden)
    try:
        times = time_runs(model, feeds, seconds)
    except ModelError as exc:
        return msgspec.structs.replace(row, ok=False, detail=str(exc))
    batch = model.samples(feeds)
    return msgspec.structs.replace(
        row,
        batch=batch,
        median_ms=round(quantile(times, 0.5) * 1000, 5),
        p95_ms=round(quantile(times, 0.95) * 1000, 5),
        throughput=round(batch * len(times) / sum(times), 2),
        peak_bytes=_peak_bytes(),
    )


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

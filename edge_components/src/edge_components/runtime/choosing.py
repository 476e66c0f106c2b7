"""Loads the variant that is to answer: the fastest one whose golden set holds on this machine."""

from __future__ import annotations

from pathlib import Path

import msgspec
from onnxruntime import __version__ as ort_version

from edge_components.contract.hardware import HardwareProfile
from edge_components.contract.package import Variant
from edge_components.contract.state import Reason
from edge_components.runtime.choice import (
    Choice,
    Contest,
    fits_beside,
    keep_choice,
    read_choice,
)
from edge_components.runtime.load import check_model, golden_of, load_variant
from edge_components.runtime.measure import median_s
from edge_components.runtime.model import Model
from edge_components.runtime.version import ActivationError, Version, candidates


def load_checked(
    version: Version,
    profile: HardwareProfile,
    wanted: str | None,
    *,
    engines: Path | None = None,
    state: Path | None = None,
) -> Model:
    """Load the fastest variant whose golden check holds; the first where they cannot be compared.

    Args:
        version: What was deployed.
        profile: The device's hardware.
        wanted: A precision; then no other will do.
        engines: The folder for what execution providers compile, or None.
        state: The folder where the choice is kept for the next start, or None.

    Raises:
        ActivationError: None holds; with the last reason.
    """
    variants = candidates(version, profile, wanted)
    ask = Choice(
        package=version.release.package,
        hardware=profile.name,
        engine=f"onnxruntime {ort_version}",
        precision="",
    )
    known = read_choice(state)
    if known is not None and msgspec.structs.replace(known, precision="") == ask:
        variants.sort(key=lambda variant: variant.precision != known.precision)
        return _best(version, variants, profile, engines, compare_all=False)
    sizes = [variant.size_bytes for variant in variants]
    compare_all = len(variants) > 1 and fits_beside(sizes, profile.model_memory_bytes)
    model = _best(version, variants, profile, engines, compare_all=compare_all)
    if compare_all:
        keep_choice(state, msgspec.structs.replace(ask, precision=model.identity.precision))
    return model


def _best(
    version: Version,
    variants: list[Variant],
    profile: HardwareProfile,
    engines: Path | None,
    *,
    compare_all: bool,
) -> Model:
    failure: ActivationError | None = None
    best: Model | None = None
    contest = Contest()
    for variant in variants:
        if contest.is_over:
            break
        try:
            model = load_variant(version, variant, profile, engines=engines)
        except ActivationError as exc:
            failure = exc
            continue
        report = check_model(version, variant, model)
        if not report.ok:
            failure = ActivationError(Reason(report.reason), report.detail)
            continue
        if not compare_all:
            return model
        if contest.wins(median_s(model, golden_of(version))):
            best = model
    if best is None:
        raise failure or ActivationError(Reason.HARDWARE_MISMATCH, "no variant fits")
    return best

"""Which of a package's files this hardware needs, and which variants it can use.

Weights are fetched for one variant at a time; all other files come with every variant.
"""

from __future__ import annotations

from collections.abc import Mapping

from edge_components.contract.bench import fastest_first
from edge_components.contract.hardware import HardwareProfile, unfit_reason
from edge_components.contract.package import (
    WEIGHT_TYPE,
    Descriptor,
    Manifest,
    PackageInfo,
    Variant,
    layer_paths,
)


def needed_layers(manifest: Manifest, info: PackageInfo, precision: str) -> dict[str, Descriptor]:
    """Return the files that the variant of ``precision`` needs: path to descriptor."""
    variant = info.variant(precision)
    weights = set() if variant is None else _weights(variant)
    return {
        path: layer
        for path, layer in layer_paths(manifest).items()
        if layer.media_type != WEIGHT_TYPE or path in weights
    }


def usable_precisions(
    profile: HardwareProfile,
    manifest: Manifest,
    info: PackageInfo,
    wanted: str | None,
    measured: Mapping[str, float] | None = None,
) -> tuple[tuple[str, ...], str]:
    """Return the variants that may run here, best first, and why there are none if so.

    Args:
        profile: This device's hardware.
        manifest: The package's manifest, whose sizes are what will be loaded.
        info: What the package says of its variants.
        wanted: The precision that the release asks for; then no other will do.
        measured: Milliseconds by precision that this device was measured with; they go before
            what the profile prefers.
    """
    paths = layer_paths(manifest)
    sizes: dict[str, int] = {
        v.precision: sum(paths[path].size for path in _weights(v)) for v in info.variants
    }
    preferred = fastest_first(profile.precisions, measured or {})
    offered = preferred if wanted is None else (wanted,)
    usable = tuple(
        precision
        for precision in offered
        if precision in sizes and unfit_reason(profile, sizes, precision) is None
    )
    return usable, "" if usable else unfit_reason(profile, sizes, wanted) or "no variant fits"


def _weights(variant: Variant) -> set[str]:
    return {variant.path, *variant.files}

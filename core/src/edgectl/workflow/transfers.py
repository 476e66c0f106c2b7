"""What devices will have to fetch for a release, told from the packages in the local store.

It follows what a device does: the variant that its profile prefers, no file that it has, a delta
where one is offered for a file that it has and saves bytes. What a device measured or kept beside
its active version is not known here, so the figures are an estimate that is seldom too low.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from edge_components.contract.hardware import PROFILES, HardwareProfile, unfit_reason
from edge_components.contract.package import WEIGHT_TYPE, Descriptor, layer_paths
from edgectl.errors import PackageError
from edgectl.package.read import OpenedPackage, open_package
from edgectl.records import Delta, DeltaFile, Package, Record


class Transfer(Record, frozen=True, kw_only=True):
    """What devices of one kind have to fetch that run the same release now.

    Attributes:
        devices: How many there are.
        hardware: Their profile, or "".
        variant: The precision that they are taken to use; "" where all are counted.
        from_release: The release that answers now; 0 for none, None where it is not known.
        from_package: Its package, or "".
        whole_bytes: Of files that are fetched whole.
        delta_bytes: Of deltas that are fetched in place of files.
        replaced_bytes: Of these files.
        unchanged_bytes: Of files that are there already.
    """

    devices: int
    hardware: str = ""
    variant: str = ""
    from_release: int | None = None
    from_package: str = ""
    whole_bytes: int = 0
    delta_bytes: int = 0
    replaced_bytes: int = 0
    unchanged_bytes: int = 0

    @property
    def fetched_bytes(self) -> int:
        """Bytes that travel to one device."""
        return self.whole_bytes + self.delta_bytes

    def text(self) -> str:
        """Return it as a line for people."""
        kind = ", ".join(part for part in (self.hardware or "no profile", self.variant) if part)
        since = f"release {self.from_release}" if self.from_release else "nothing"
        parts = [f"{self.whole_bytes} bytes whole"] if self.whole_bytes else []
        if self.replaced_bytes:
            parts.append(f"{self.delta_bytes} by delta in place of {self.replaced_bytes}")
        parts += [f"{self.unchanged_bytes} are there"] if self.unchanged_bytes else []
        fetched = "; ".join(parts) or "nothing"
        noun = "device" if self.devices == 1 else "devices"
        return f"{self.devices} {noun} ({kind}) with {since}: each fetches {fetched}"


class Now(NamedTuple):
    """What a device is and runs."""

    hardware: str
    release: int | None
    package: str


def plan_transfers(
    package: Package,
    devices: Iterable[Now],
    *,
    deltas: tuple[Delta, ...] | None,
    precision: str | None = None,
) -> tuple[Transfer, ...]:
    """Return what the devices have to fetch, most devices first.

    Args:
        package: What they get; of one that is not in the local store nothing is told.
        devices: Those that change.
        deltas: What the provider's devices can be offered; None where devices do not fetch by
            themselves, so that every file of every release travels.
        precision: The variant that the project asks for, or None.
    """
    groups = Counter(devices)
    try:
        new = open_package(package.layout, package.digest, publishers=None)
    except PackageError:
        return ()
    old = {one.package: _opened(package.layout, one.package) for one in groups}
    files = [file for delta in deltas or () for file in delta.files]
    found = [
        msgspec.structs.replace(
            _whole(now, new)
            if deltas is None
            else _transfer(now, new, old[now.package], files, precision),
            devices=count,
        )
        for now, count in groups.items()
    ]
    return tuple(sorted(found, key=lambda one: (-one.devices, one.hardware, one.from_package)))


def _opened(layout: Path, digest: str) -> OpenedPackage | None:
    try:
        return open_package(layout, digest, publishers=None) if digest else None
    except PackageError:
        return None


def _transfer(
    now: Now,
    new: OpenedPackage,
    old: OpenedPackage | None,
    files: list[DeltaFile],
    precision: str | None,
) -> Transfer:
    profile = PROFILES.get(now.hardware)
    variant = _variant(new, profile, precision)
    needed = _needed(new, variant)
    there = set() if old is None else set(_needed(old, _variant(old, profile, precision)))
    chosen = {
        file.new: file.size
        for file in sorted(files, key=lambda one: -one.size)
        if file.old in there and file.size < needed.get(file.new, 0)
    }
    return Transfer(
        devices=1,
        hardware=now.hardware,
        variant=variant,
        from_release=now.release,
        from_package=now.package,
        whole_bytes=sum(s for d, s in needed.items() if d not in there and d not in chosen),
        delta_bytes=sum(size for digest, size in chosen.items() if digest not in there),
        replaced_bytes=sum(needed[digest] for digest in chosen if digest not in there),
        unchanged_bytes=sum(size for digest, size in needed.items() if digest in there),
    )


def _whole(now: Now, new: OpenedPackage) -> Transfer:
    return Transfer(
        devices=1,
        hardware=now.hardware,
        from_release=now.release,
        from_package=now.package,
        whole_bytes=sum(_needed(new, "").values()),
    )


def _variant(package: OpenedPackage, profile: HardwareProfile | None, wanted: str | None) -> str:
    """Return the variant that a device takes first; "" where that is not known."""
    if profile is None:
        return wanted or ""
    paths = layer_paths(package.manifest)
    sizes: Mapping[str, int] = {
        one.precision: sum(paths[path].size for path in {one.path, *one.files})
        for one in package.info.variants
    }
    offered = profile.precisions if wanted is None else (wanted,)
    fit = (name for name in offered if name in sizes)
    return next((name for name in fit if unfit_reason(profile, dict(sizes), name) is None), "")


def _needed(package: OpenedPackage, variant: str) -> dict[str, int]:
    """Return digest and bytes of the files that a variant needs, of all variants for ""."""
    chosen = package.info.variant(variant)
    weights = None if chosen is None else {chosen.path, *chosen.files}

    def is_needed(path: str, layer: Descriptor) -> bool:
        return weights is None or layer.media_type != WEIGHT_TYPE or path in weights

    layers = layer_paths(package.manifest).items()
    return {layer.digest: layer.size for path, layer in layers if is_needed(path, layer)}

"""Making the deltas between a package and an earlier one, file by file.

A file has a delta to the file of the same path in the earlier package. One that would save little
is not kept: it would cost everybody storage, and devices time.
"""

from __future__ import annotations

import tempfile
from pathlib import Path, PurePosixPath

from edge_components.contract.delta import DELTA_NEW, DELTA_OLD, DELTA_TYPE
from edge_components.contract.package import FILEPATH, Descriptor, layer_paths
from edgectl.delta.make import make_delta
from edgectl.delta.regions import Region, find_regions
from edgectl.errors import PackageError
from edgectl.package.deltas import keep_deltas
from edgectl.package.read import OpenedPackage, open_package
from edgectl.package.store import Layout
from edgectl.records import Delta, Record

PAYS = 0.8
"""A delta is kept if it has at most so much of the file that would be fetched without it."""
SMALLEST = 64 << 10
"""Files of fewer bytes get none: asking for one would cost as much as it saves."""


class Weighed(Record, frozen=True, kw_only=True):
    """What came of one file that both packages have with different content.

    Attributes:
        path: In both packages.
        size: Bytes of the whole file.
        delta: Bytes of the delta, also of one that was not kept.
        kept: Whether it pays.
    """

    path: str
    size: int
    delta: int
    kept: bool


class DeltaReport(Record, frozen=True, kw_only=True):
    """What making deltas gave.

    Attributes:
        package: The earlier package.
        version: Its version.
        files: Every file that was looked at.
        made: What is kept in the layout, or None for nothing.
    """

    package: str
    version: str
    files: tuple[Weighed, ...]
    made: Delta | None = None


def make_deltas(layout: Path, digest: str, old_digest: str) -> DeltaReport:
    """Make the deltas that bring devices from one package of the layout to another.

    Args:
        layout: The local layout; it holds both.
        digest: The package that devices shall get.
        old_digest: The one that they have.

    Raises:
        PackageError: The packages are one, are of different applications, or a file of theirs is
            missing or was changed.
    """
    store = Layout.open(layout)
    new, old = (open_package(layout, one, publishers=None) for one in (digest, old_digest))
    if digest == old_digest:
        raise PackageError(f"package {digest} is the one that a delta is wanted to")
    if new.info.application != old.info.application:
        raise PackageError(
            f"package {old_digest} is of '{old.info.application}', not of '{new.info.application}'"
        )
    before, after = layer_paths(old.manifest), layer_paths(new.manifest)
    known = {layer.digest for layer in before.values()}
    found = [
        (path, layer, _make(store, path, old, new))
        for path, layer in after.items()
        if path in before
        and layer.digest not in known
        and min(layer.size, before[path].size) >= SMALLEST
    ]
    weighed = [
        Weighed(path=path, size=layer.size, delta=made.size, kept=_pays(layer, made))
        for path, layer, made in found
    ]
    kept = {made.annotations[DELTA_NEW]: made for _, layer, made in found if _pays(layer, made)}
    layers = tuple(kept[name] for name in sorted(kept))
    return DeltaReport(
        package=old_digest,
        version=old.info.version,
        files=tuple(weighed),
        made=keep_deltas(store, digest, old_digest, layers) if layers else None,
    )


def _pays(layer: Descriptor, made: Descriptor) -> bool:
    return made.size <= PAYS * layer.size


def _make(store: Layout, path: str, old: OpenedPackage, new: OpenedPackage) -> Descriptor:
    before, after = layer_paths(old.manifest)[path], layer_paths(new.manifest)[path]
    for layer in (before, after):
        if not store.intact(layer.digest, layer.size):
            raise PackageError(
                f"the content of '{layer.annotations[FILEPATH]}' in the store was changed",
                hint="Build or pull the package again.",
            )
    outside = _outside(store, old, path), _outside(store, new, path)
    with tempfile.TemporaryDirectory(prefix="edgectl-delta-") as folder:
        made = Path(folder) / "delta"
        with made.open("wb") as out:
            make_delta(
                store.blob_path(before.digest),
                store.blob_path(after.digest),
                out,
                tensors=outside if all(outside) else None,
            )
        content = store.add_file(made)
    return Descriptor(
        media_type=DELTA_TYPE,
        digest=content.digest,
        size=content.size,
        annotations={DELTA_OLD: before.digest, DELTA_NEW: after.digest},
    )


def _outside(store: Layout, package: OpenedPackage, path: str) -> list[Region]:
    """Return the tensors that models keep in the file at ``path`` (ONNX's external data)."""
    paths = layer_paths(package.manifest)
    return [
        region
        for variant in package.info.variants
        if path in variant.files and path != variant.path
        for region in find_regions(store.blob_path(paths[variant.path].digest))
        if region.file and str(PurePosixPath(variant.path).parent / region.file) == path
    ]

"""Deltas that bring devices from an earlier package to a package: kept and found in the store.

They are an artifact of their own that refers to the package (``subject``), so that the package and
its digest do not change. Each layer is the delta of one file. Deltas carry no signature: what a
device makes with them has to have the digest in the signed package.
Source: OCI image-spec 1.1 (subject, guidelines for artifacts).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edge_components.contract.delta import (
    DELTA_PACKAGE,
    DELTAS_TYPE,
    parse_deltas,
)
from edge_components.contract.package import (
    MAX_MANIFEST_BYTES,
    Descriptor,
)
from edgectl.errors import PackageError
from edgectl.package.files import contract_errors
from edgectl.package.index import entry_of
from edgectl.package.referrers import list_referrer, listed_referrers, referring
from edgectl.package.store import Layout
from edgectl.records import Delta, DeltaFile

MAX_ARTIFACTS = 64


def find_deltas(layout: Path, digest: str) -> tuple[Delta, ...]:
    """Return what the layout has of deltas for a package; what is not whole is left out.

    Raises:
        PackageError: The layout cannot be read.
    """
    store = Layout.open(layout)
    return tuple(_read(store, digest))


def delta_parts(data: bytes, *, digest: str, subject: str) -> tuple[Descriptor, ...]:
    """Return the blobs of a delta's manifest.

    Raises:
        PackageError: It is none, or is for another package than ``subject``.
    """
    with contract_errors("a delta's manifest"):
        _package, offers = parse_deltas(data, digest=digest, package=subject)
    return tuple(offer.delta for offer in offers)


def _read(store: Layout, digest: str) -> Iterator[Delta]:
    for entry in listed_referrers(store, digest, DELTAS_TYPE)[-MAX_ARTIFACTS:]:
        try:
            data = store.read(entry.digest, max_bytes=MAX_MANIFEST_BYTES)
            with contract_errors("a delta's manifest"):
                package, offers = parse_deltas(data, digest=entry.digest, package=digest)
        except PackageError:
            continue
        if all(store.has(offer.delta.digest, offer.delta.size) for offer in offers):
            files = tuple(
                DeltaFile(old=o.old, new=o.new, digest=o.delta.digest, size=o.delta.size)
                for o in offers
            )
            yield Delta(digest=entry.digest, package=package, files=files)


def keep_deltas(
    store: Layout, digest: str, old_digest: str, layers: tuple[Descriptor, ...]
) -> Delta:
    """Store and list the manifest of deltas whose blobs are in the store.

    Args:
        store: The layout.
        digest: The package that they bring devices to.
        old_digest: The package that devices have.
        layers: The deltas.

    Raises:
        PackageError: The package is not in the store, or the store cannot be written.
    """
    manifest = referring(store, digest, DELTAS_TYPE, layers, {DELTA_PACKAGE: old_digest})
    entry = entry_of(store.add_manifest(manifest), DELTAS_TYPE)
    list_referrer(store, digest, entry)
    return next(one for one in _read(store, digest) if one.digest == entry.digest)

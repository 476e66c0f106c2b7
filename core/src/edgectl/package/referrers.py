"""What refers to a package in the store: its signatures, and deltas (``deltas`` makes those).

A signature is a manifest of its own whose ``subject`` is the package. It is listed in the layout's
index, and in a list under the tag that the referrers tag schema gives to the package, so that it
travels to registries that have no referrers API. Both lists may come from an attacker: what does
not parse is no signature, and a real one beside it still counts.
Source: OCI image-spec 1.1 (subject, guidelines for artifacts); distribution-spec 1.1, referrers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from edge_components.contract.digest import check_digest
from edge_components.contract.jsonio import decode_json
from edge_components.contract.package import (
    MANIFEST_TYPE,
    MAX_MANIFEST_BYTES,
    Descriptor,
    Manifest,
)
from edge_components.contract.signature import BUNDLE_TYPE, MAX_SIGNATURE_BYTES
from edgectl.errors import PackageError, SignatureError
from edgectl.package.files import contract_errors
from edgectl.package.index import INDEX_TYPE, Entry, Index, entry_of, parse_index, referrers_tag
from edgectl.package.store import Layout

EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
MAX_REFERRERS = 64


def find_signatures(store: Layout, digest: str) -> Iterator[bytes]:
    """Yield the signatures that refer to a package, oldest first; what is malformed is left out."""
    for entry in find_referrers(store, digest):
        with contextlib.suppress(PackageError):
            yield read_signature(store, entry.digest, subject=digest)


def find_referrers(store: Layout, digest: str) -> list[Entry]:
    """Return the entries of signature manifests that say they refer to ``digest``."""
    subjects = [
        entry
        for entry in listed_referrers(store, digest, BUNDLE_TYPE)
        if signature_subject(store, entry.digest) == digest
    ]
    return subjects[:MAX_REFERRERS]


def listed_referrers(store: Layout, digest: str, kind: str) -> list[Entry]:
    """Return entries of manifests of that artifact type that may refer to ``digest``, each once."""
    index = store.index()
    with contract_errors("a package's digest"):
        fallback = index.find(referrers_tag(digest))
    listed: list[Entry] = []
    if fallback is not None:
        with contextlib.suppress(PackageError), contract_errors("the list of signatures"):
            data = store.read(fallback.digest, max_bytes=MAX_MANIFEST_BYTES)
            listed += parse_index(data, what="the list of signatures").manifests
    listed += index.manifests
    return list({entry.digest: entry for entry in listed if entry.artifact_type == kind}.values())


def signature_subject(store: Layout, digest: str) -> str:
    """Return the digest that a signature's manifest refers to, or "" if it is not one."""
    try:
        manifest = _parse(store.read(digest, max_bytes=MAX_MANIFEST_BYTES))
    except PackageError:
        return ""
    return manifest.subject.digest if manifest.subject is not None else ""


def read_signature(store: Layout, digest: str, *, subject: str) -> bytes:
    """Return the bundle in the signature manifest ``digest``.

    Raises:
        SignatureError: The manifest is not a signature of ``subject``.
    """
    data = store.read(digest, max_bytes=MAX_MANIFEST_BYTES)
    _config, layer = signature_parts(data, subject=subject)
    return store.read(layer.digest, max_bytes=MAX_SIGNATURE_BYTES)


def signature_parts(manifest: bytes, *, subject: str) -> tuple[Descriptor, ...]:
    """Return the blobs of a signature's manifest.

    Raises:
        SignatureError: The manifest is not a signature of ``subject``.
    """
    parsed = _parse(manifest)
    if parsed.subject is None or parsed.subject.digest != subject:
        raise SignatureError("the signature refers to another package")
    return (parsed.config, *parsed.layers)


def store_signature(store: Layout, digest: str, bundle: bytes) -> str:
    """Store a bundle as a referrer of a package, and return its manifest's digest."""
    layer = store.add_bytes(bundle)
    part = Descriptor(media_type=BUNDLE_TYPE, digest=layer.digest, size=layer.size)
    manifest = referring(store, digest, BUNDLE_TYPE, (part,))
    return store_signature_manifest(store, digest, manifest.to_bytes())


def store_signature_manifest(store: Layout, digest: str, data: bytes) -> str:
    """Store and list a signature's manifest whose blobs are in the store already."""
    entry = entry_of(store.add_bytes(data), BUNDLE_TYPE)
    store.update_index(lambda index: index.with_entry(entry))
    list_referrer(store, digest, entry)
    return entry.digest


def referring(
    store: Layout,
    digest: str,
    kind: str,
    layers: tuple[Descriptor, ...],
    annotations: dict[str, str] | None = None,
) -> Manifest:
    """Return the manifest of an artifact that refers to a package; its config is stored.

    Raises:
        PackageError: The package is not in the store, or the store cannot be written.
    """
    empty = store.add_bytes(b"{}")
    subject = store.read(digest, max_bytes=MAX_MANIFEST_BYTES)
    return Manifest(
        media_type=MANIFEST_TYPE,
        artifact_type=kind,
        config=Descriptor(media_type=EMPTY_TYPE, digest=empty.digest, size=empty.size),
        layers=layers,
        subject=Descriptor(media_type=MANIFEST_TYPE, digest=digest, size=len(subject)),
        annotations=annotations or {},
    )


def list_referrer(store: Layout, digest: str, entry: Entry) -> None:
    """Add an entry to the layout's list of what refers to ``digest`` (referrers tag schema)."""
    tag = referrers_tag(digest)

    def change(index: Index) -> Index:
        before = index.find(tag)
        listed = Index()
        if before is not None:
            with contextlib.suppress(PackageError), contract_errors("the list of signatures"):
                data = store.read(before.digest, max_bytes=MAX_MANIFEST_BYTES)
                listed = parse_index(data, what="the list of signatures")
        content = store.add_bytes(listed.with_entry(entry).to_bytes())
        pointer = Entry(media_type=INDEX_TYPE, digest=content.digest, size=content.size)
        after = index.with_entry(pointer.tagged(tag))
        return after.without_untagged(before.digest) if before is not None else after

    store.update_index(change)


def _parse(data: bytes) -> Manifest:
    what = "a signature's manifest"
    with contract_errors(what):
        manifest = decode_json(data, Manifest, what=what, max_bytes=MAX_MANIFEST_BYTES)
        if manifest.artifact_type != BUNDLE_TYPE or manifest.subject is None:
            raise SignatureError(f"{what} does not hold a signature")
        if len(manifest.layers) != 1 or manifest.layers[0].media_type != BUNDLE_TYPE:
            raise SignatureError(f"{what} has to hold one bundle")
        check_digest(manifest.subject.digest)
        for part in (manifest.config, *manifest.layers):
            check_digest(part.digest)
            if not 0 <= part.size <= MAX_SIGNATURE_BYTES:
                raise SignatureError(f"{what} says that a part has {part.size} bytes")
    return manifest

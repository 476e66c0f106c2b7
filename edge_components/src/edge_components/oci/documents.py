"""The documents of a release in a registry, read without belief; pure.

A release is a manifest with artifact type ``application/vnd.edgectl.release.v1+json`` whose one
layer is the signed envelope and whose ``subject`` is the package. A package's signatures are
manifests that refer to it. Digests are checked here, publishers' signatures by whoever uses what
was fetched.
Source: OCI image-spec 1.1 (artifacts, subject); distribution-spec 1.1 (referrers, tag schema).
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from edge_components.contract.delta import DELTA_PACKAGE, DELTAS_TYPE
from edge_components.contract.digest import check_digest, digest_hex, sha256_digest
from edge_components.contract.errors import ContractError
from edge_components.contract.jsonio import decode_json
from edge_components.contract.package import (
    MANIFEST_TYPE,
    MAX_MANIFEST_BYTES,
    Descriptor,
    Manifest,
)
from edge_components.contract.release import (
    MAX_RELEASE_BYTES,
    RELEASE_TYPE,
    ReleaseDocument,
    parse_release,
    parse_release_envelope,
)
from edge_components.contract.signature import BUNDLE_TYPE, MAX_SIGNATURE_BYTES, parse_bundle

MAX_ENVELOPE_BYTES = 2 * MAX_RELEASE_BYTES
MAX_REFERRERS = 64
MAX_DELTAS = 8


class _Index(msgspec.Struct, frozen=True, kw_only=True):
    manifests: tuple[Descriptor, ...] = ()


def referrers_tag(digest: str) -> str:
    """Return the tag under which a registry without the referrers API lists what refers to it."""
    return f"sha256-{digest_hex(digest)}"


def parse_release_manifest(data: bytes, *, digest: str) -> tuple[Descriptor, str]:
    """Return the envelope's descriptor and the digest of the package that a release names.

    Raises:
        ContractError: With a code that names the rule that was broken.
    """
    manifest = _parse(data, digest, "the release's manifest")
    if manifest.artifact_type != RELEASE_TYPE:
        raise ContractError("not-a-release", f"'{manifest.artifact_type[:80]}' is not a release")
    if len(manifest.layers) != 1 or manifest.layers[0].media_type != RELEASE_TYPE:
        raise ContractError("bad-release", "a release's manifest has one layer, its envelope")
    if manifest.subject is None or manifest.subject.media_type != MANIFEST_TYPE:
        raise ContractError("bad-release", "a release's manifest refers to its package")
    layer = manifest.layers[0]
    _check_part(layer, MAX_ENVELOPE_BYTES, "the release's envelope")
    return layer, check_digest(manifest.subject.digest)


def read_envelope(envelope: bytes) -> ReleaseDocument:
    """Return what an envelope says, not verified.

    Raises:
        ContractError: With a code that names the rule that was broken.
    """
    return parse_release(parse_release_envelope(envelope).payload_bytes())


def check_envelope(envelope: bytes, *, package: str) -> ReleaseDocument:
    """Return what an envelope says, not verified, if it is about that package.

    Raises:
        ContractError: With a code that names the rule that was broken.
    """
    release = read_envelope(envelope)
    if release.package != package:
        raise ContractError(
            "bad-release", f"release {release.number} is of {release.package}, not of {package}"
        )
    return release


def parse_referrers(data: bytes) -> tuple[str, ...]:
    """Return the digests of the signatures in a list of referrers, as they are listed.

    Raises:
        ContractError: ``bad-json``, ``too-large`` or ``too-deep``.
    """
    # The tag schema's list may hold entries without a type (distribution-spec, "Backwards").
    listed = [m for m in _listed(data) if m.artifact_type in {BUNDLE_TYPE, ""}]
    return tuple(check_digest(entry.digest) for entry in listed[:MAX_REFERRERS])


def parse_delta_referrers(data: bytes, packages: frozenset[str]) -> tuple[str, ...]:
    """Return the digests of the manifests of deltas in a list of referrers, the last ones first.

    Args:
        data: The list.
        packages: Packages from which they may start, or none for any; a list may leave it open.

    Raises:
        ContractError: ``bad-json``, ``too-large`` or ``too-deep``.
    """
    listed = [m for m in _listed(data) if m.artifact_type == DELTAS_TYPE]
    starts = {m.digest: m.annotations.get(DELTA_PACKAGE, "") for m in listed}
    useful = [d for d, start in starts.items() if not (packages and start) or start in packages]
    return tuple(check_digest(digest) for digest in useful[::-1][:MAX_DELTAS])


def _listed(data: bytes) -> tuple[Descriptor, ...]:
    what = "the list of what refers to the package"
    return decode_json(data, _Index, what=what, max_bytes=MAX_MANIFEST_BYTES).manifests


def parse_signature_manifest(data: bytes, *, digest: str, package: str) -> Descriptor:
    """Return the descriptor of the bundle in a signature's manifest.

    Raises:
        ContractError: With a code that names the rule that was broken.
    """
    manifest = _parse(data, digest, "a signature's manifest")
    if manifest.artifact_type != BUNDLE_TYPE or len(manifest.layers) != 1:
        raise ContractError("bad-signature", "what refers to the package is no signature")
    if manifest.subject is None or manifest.subject.digest != package:
        raise ContractError("bad-signature", "the signature refers to another package")
    _check_part(manifest.layers[0], MAX_SIGNATURE_BYTES, "a signature")
    return manifest.layers[0]


def choose_bundle(bundles: Iterable[bytes], hints: frozenset[str]) -> bytes | None:
    """Return the signature of a publisher with one of those hints, else the first; None for none.

    What cannot be read is no signature. The hint is only a name: who signed is verified later.
    """
    first: bytes | None = None
    for bundle in bundles:
        try:
            hint = parse_bundle(bundle).verification_material.public_key.hint
        except ContractError:
            continue
        if hint in hints:
            return bundle
        first = first or bundle
    return first


def _parse(data: bytes, digest: str, what: str) -> Manifest:
    if sha256_digest(data) != check_digest(digest):
        raise ContractError("digest-mismatch", f"{what} does not have digest {digest}")
    return decode_json(data, Manifest, what=what, max_bytes=MAX_MANIFEST_BYTES, unique_keys=True)


def _check_part(part: Descriptor, limit: int, what: str) -> None:
    check_digest(part.digest)
    if not 0 < part.size <= limit:
        raise ContractError("too-large", f"{what} says it has {part.size} bytes")

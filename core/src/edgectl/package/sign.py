"""Signing packages and releases, and checking both.

A package's signature covers its files as (path, sha256) pairs, in the OpenSSF model-signing
format. The digests come from the manifest, so signing reads no weights.
A release is signed as a DSSE envelope; it names the package's digest, so it covers the manifest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from edge_components.contract.jsonio import canonical_json
from edge_components.contract.package import Manifest, layer_paths
from edge_components.contract.release import (
    RELEASE_TYPE,
    ReleaseDocument,
    parse_release,
    parse_release_envelope,
)
from edge_components.contract.signature import (
    INTOTO_TYPE,
    bundle_json,
    model_statement,
    parse_bundle,
    statement_files,
)
from edgectl.errors import PackageError, SignatureError
from edgectl.package.dsse import seal, unseal
from edgectl.package.files import contract_errors
from edgectl.package.keys import SigningKey
from edgectl.package.naming import TITLE
from edgectl.package.referrers import find_signatures, store_signature
from edgectl.package.store import Layout
from edgectl.records import Release


def sign_package(layout: Path, digest: str, key: SigningKey) -> bytes:
    """Sign a package, and store the signature beside it.

    Signing again with the same key changes nothing and returns the signature that is there.

    Returns:
        The Sigstore bundle.

    Raises:
        PackageError: The package is not in the layout, or breaks a rule.
    """
    store = Layout.open(layout)
    manifest = store.read_manifest(digest)
    files = package_files(manifest)
    for bundle in find_signatures(store, digest):
        with contextlib.suppress(PackageError):
            verify_bundle(bundle, files, (key.public_pem,))
            return bundle
    statement = model_statement(manifest.annotations.get(TITLE, "model"), files)
    bundle = bundle_json(seal(INTOTO_TYPE, statement, key), hint=key.hint)
    store_signature(store, digest, bundle)
    return bundle


def find_signature(layout: Path, digest: str) -> bytes | None:
    """Return a package's signature that is in the layout, or None; it is not verified here."""
    return next(find_signatures(Layout.open(layout), digest), None)


def verify_bundle(bundle: bytes, files: dict[str, str], publishers: Iterable[str]) -> str:
    """Check that a trusted publisher signed exactly these files.

    Args:
        bundle: The Sigstore bundle.
        files: Path to digest of every file of the package.
        publishers: PEM public keys that are trusted.

    Returns:
        The hint of the key that signed.

    Raises:
        SignatureError: It does not verify, or covers other files.
    """
    with contract_errors("the package's signature"):
        envelope = parse_bundle(bundle).dsse_envelope
        payload, hint = unseal(envelope, publishers, what="the package")
        signed = statement_files(payload)
    if signed != files:
        wrong = sorted({path for path, _ in signed.items() ^ files.items()})
        raise SignatureError(f"the signature covers other content than '{wrong[0]}' has")
    return hint


def sign_release(document: ReleaseDocument, package_signature: bytes, key: SigningKey) -> Release:
    """Sign a release.

    Raises:
        SignatureError: The document breaks a rule that every device would refuse it for.
    """
    payload = document.to_bytes()
    with contract_errors("the release"):
        parse_release(payload)
    envelope = seal(RELEASE_TYPE, payload, key, keyid=key.hint)
    return Release(
        document=document, envelope=canonical_json(envelope), signature=package_signature
    )


def verify_release(envelope: bytes, publishers: Iterable[str]) -> ReleaseDocument:
    """Return the release in an envelope that a trusted publisher signed.

    Raises:
        SignatureError: No trusted key signed it.
        PackageError: It breaks another rule.
    """
    with contract_errors("the release"):
        parsed = parse_release_envelope(envelope)
        payload, _hint = unseal(parsed, publishers, what="the release")
        return parse_release(payload)


def package_files(manifest: Manifest) -> dict[str, str]:
    """Return what a package's signature has to cover: path to digest."""
    return {path: layer.digest for path, layer in layer_paths(manifest).items()}

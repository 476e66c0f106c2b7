"""Whose word the device takes: signatures of releases and packages against trusted publishers.

Needs ``cryptography`` and nothing else: no network, no clock. A release counts when one trusted
publisher signed its envelope; a package counts when a trusted publisher signed a statement whose
files are exactly the manifest's layers. Key identifiers in a document are hints that only choose
the words of a refusal (DSSE 1.0, "keyid"); every trusted key is tried.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edge_components.contract.device import PEM_MARK
from edge_components.contract.errors import ContractError
from edge_components.contract.package import Manifest, layer_paths
from edge_components.contract.release import (
    ReleaseDocument,
    parse_release,
    parse_release_envelope,
)
from edge_components.contract.signature import (
    Envelope,
    decode_base64,
    key_hint,
    pae,
    parse_bundle,
    statement_files,
)
from edge_components.contract.state import Reason

_HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "secp256r1": hashes.SHA256,
    "secp384r1": hashes.SHA384,
    "secp521r1": hashes.SHA512,
}


class VerifyError(Exception):
    """A signature, or what was signed, is not acceptable.

    Attributes:
        reason: What the device reports.
        detail: One sentence for people.
        claimed: What the release says of itself although nobody trusted vouches for it, so that
            a refusal can name it; None where it cannot be read. Never acted upon.
    """

    def __init__(self, reason: Reason, detail: str, claimed: ReleaseDocument | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.claimed = claimed


class Publisher:
    """One trusted public key.

    Attributes:
        hint: The key's name as model-signing writes it: sha256 of its PEM.
    """

    def __init__(self, key: ec.EllipticCurvePublicKey) -> None:
        pem = key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self._key = key
        self.hint = key_hint(pem)

    def signed(self, data: bytes, signature: bytes) -> bool:
        """Return whether ``signature`` (DER ECDSA) is this publisher's over ``data``."""
        algorithm = ec.ECDSA(_HASHES[self._key.curve.name]())
        try:
            self._key.verify(signature, data, algorithm)
        except InvalidSignature:
            return False
        return True


def load_publisher(pem: bytes) -> Publisher:
    """Read one PEM public key (ECDSA P-256, P-384 or P-521).

    Raises:
        ContractError: ``bad-key``.
    """
    try:
        key = serialization.load_pem_public_key(pem)
    except ValueError as exc:
        raise ContractError("bad-key", f"the public key cannot be read: {exc}") from exc
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _HASHES:
        raise ContractError("bad-key", "the public key is not ECDSA P-256, P-384 or P-521")
    return Publisher(key)


def is_pem(key: str) -> bool:
    """Whether a configured key is PEM text, and not the path of a file that holds it."""
    return key.lstrip().startswith(PEM_MARK)


def load_publishers(keys: Iterable[str]) -> tuple[Publisher, ...]:
    """Read public keys: each is PEM text, or the path of a PEM file.

    Raises:
        ContractError: ``bad-key``, with the path in the message.
    """
    publishers = []
    for path in keys:
        if is_pem(path):
            publishers.append(load_publisher(path.encode()))
            continue
        try:
            publishers.append(load_publisher(Path(path).read_bytes()))
        except OSError as exc:
            raise ContractError("bad-key", f"'{path}' cannot be read: {exc.strerror}") from exc
        except ContractError as exc:
            raise ContractError(exc.code, f"'{path}': {exc}") from exc
    return tuple(publishers)


def verify_release(data: bytes, publishers: Iterable[Publisher]) -> ReleaseDocument:
    """Return the release in a DSSE envelope that a trusted publisher signed.

    Raises:
        VerifyError: ``bad-package`` for a document that breaks the contract, ``bad-signature`` or
            ``untrusted-publisher`` for one that nobody trusted signed.
    """
    try:
        envelope = parse_release_envelope(data)
        payload = envelope.payload_bytes()
        release = parse_release(payload)
    except ContractError as exc:
        raise VerifyError(Reason.BAD_PACKAGE, str(exc)) from exc
    try:
        _require_signature(envelope, payload, tuple(publishers), hint="", what="the release")
    except VerifyError as exc:
        raise VerifyError(exc.reason, exc.detail, claimed=release) from exc
    return release


def verify_package(bundle: bytes, manifest: Manifest, publishers: Iterable[Publisher]) -> None:
    """Check that a trusted publisher signed exactly the manifest's files.

    Args:
        bundle: The Sigstore bundle of the package (``model.sig``).
        manifest: The manifest, whose digest has been checked already.
        publishers: Whom the device trusts.

    Raises:
        VerifyError: ``bad-signature`` or ``untrusted-publisher``.
    """
    try:
        parsed = parse_bundle(bundle)
        payload = parsed.dsse_envelope.payload_bytes()
        hint = parsed.verification_material.public_key.hint
        _require_signature(
            parsed.dsse_envelope, payload, tuple(publishers), hint=hint, what="the package"
        )
        signed = statement_files(payload)
    except ContractError as exc:
        raise VerifyError(Reason.BAD_SIGNATURE, str(exc)) from exc
    layers = {path: layer.digest for path, layer in layer_paths(manifest).items()}
    if signed != layers:
        odd = sorted(
            path for path in signed.keys() | layers.keys() if signed.get(path) != layers.get(path)
        )
        raise VerifyError(
            Reason.BAD_SIGNATURE,
            f"the package's signature is over other files: '{odd[0]}' is not what was signed",
        )


def _require_signature(
    envelope: Envelope,
    payload: bytes,
    publishers: tuple[Publisher, ...],
    *,
    hint: str,
    what: str,
) -> None:
    message = pae(envelope.payload_type, payload)
    try:
        signatures = [decode_base64(entry.sig) for entry in envelope.signatures]
    except ContractError as exc:
        raise VerifyError(Reason.BAD_SIGNATURE, f"{what}: {exc}") from exc
    if any(p.signed(message, signature) for p in publishers for signature in signatures):
        return
    claimed = {hint, *(entry.keyid for entry in envelope.signatures)} - {""}
    if claimed and not claimed & {p.hint for p in publishers}:
        name = min(claimed)[:16]
        raise VerifyError(
            Reason.UNTRUSTED_PUBLISHER,
            f"{what} is signed by key '{name}', which this device does not trust",
        )
    raise VerifyError(Reason.BAD_SIGNATURE, f"no trusted publisher's signature fits {what}")

"""What is signed and how it is written: DSSE envelopes, in-toto statements, Sigstore bundles.

Pure encoding and parsing; the elliptic-curve work is done with ``cryptography`` where keys are.
Sources: DSSE 1.0 (PAE, envelope); OpenSSF model-signing 1.1 (predicate ``signature/v1.0``);
Sigstore bundle 0.3 JSON.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

import msgspec

from edge_components.contract.digest import digest_hex
from edge_components.contract.errors import ContractError
from edge_components.contract.jsonio import canonical_json, decode_json

INTOTO_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
MAX_SIGNATURE_BYTES = 1 << 20


class EnvelopeSignature(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One signature of an envelope; ``sig`` is base64 of a DER ECDSA signature."""

    sig: str
    keyid: str = ""


class Envelope(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A DSSE envelope: base64 payload, its type, and who signed it."""

    payload: str
    payload_type: str
    signatures: tuple[EnvelopeSignature, ...]

    def payload_bytes(self) -> bytes:
        """Return the decoded payload.

        Raises:
            ContractError: ``bad-signature`` if it is not base64.
        """
        return decode_base64(self.payload)


class _PublicKeyHint(msgspec.Struct, frozen=True, kw_only=True):
    hint: str = ""


class _Material(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    public_key: _PublicKeyHint = _PublicKeyHint()


class Bundle(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A Sigstore bundle that holds a DSSE envelope, signed with a plain key."""

    media_type: str
    verification_material: _Material
    dsse_envelope: Envelope


class _Resource(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    algorithm: str
    digest: str


class _Predicate(msgspec.Struct, frozen=True, kw_only=True):
    resources: tuple[_Resource, ...]


class _Subject(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    digest: dict[str, str]


class _Statement(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    subject: tuple[_Subject, ...]
    predicate_type: str
    predicate: _Predicate


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the DSSE pre-authentication encoding: the bytes that are signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def key_hint(public_key_pem: bytes) -> str:
    """Return the name of a key: sha256 hex of its PEM, as model-signing writes it."""
    return hashlib.sha256(public_key_pem).hexdigest()


def model_statement(name: str, files: dict[str, str]) -> bytes:
    """Return the in-toto statement over a package's files.

    Args:
        name: The subject's name.
        files: Path to digest (``sha256:…``), in any order.
    """
    resources = [
        {"algorithm": "sha256", "digest": digest_hex(files[path]), "name": path}
        for path in sorted(files)
    ]
    root = hashlib.sha256(b"".join(bytes.fromhex(r["digest"]) for r in resources)).hexdigest()
    return canonical_json(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": name, "digest": {"sha256": root}}],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "resources": resources,
                "serialization": {
                    "method": "files",
                    "hash_type": "sha256",
                    "allow_symlinks": False,
                    "ignore_paths": [],
                },
            },
        }
    )


def statement_files(payload: bytes) -> dict[str, str]:
    """Return the files that a verified statement vouches for: path to digest.

    Raises:
        ContractError: ``bad-signature`` if the statement is not a consistent model signature.
    """
    statement = decode_json(
        payload,
        _Statement,
        what="the signed statement",
        max_bytes=MAX_SIGNATURE_BYTES,
        unique_keys=True,
    )
    if statement.predicate_type != PREDICATE_TYPE or len(statement.subject) != 1:
        raise ContractError("bad-signature", "the signed statement is not a model signature")
    resources = statement.predicate.resources
    if any(r.algorithm != "sha256" for r in resources):
        raise ContractError("bad-signature", "the signature uses a hash other than sha256")
    files = {r.name: "sha256:" + r.digest for r in resources}
    root = hashlib.sha256(b"".join(bytes.fromhex(digest_hex(f)) for f in files.values()))
    if len(files) != len(resources) or (
        statement.subject[0].digest.get("sha256") != root.hexdigest()
    ):
        raise ContractError("bad-signature", "the signed statement contradicts itself")
    return files


def bundle_json(envelope: Envelope, *, hint: str) -> bytes:
    """Return a Sigstore bundle around ``envelope``, signed by the key named ``hint``."""
    return canonical_json(
        {
            "mediaType": BUNDLE_TYPE,
            "verificationMaterial": {"publicKey": {"hint": hint}, "tlogEntries": []},
            "dsseEnvelope": envelope,
        }
    )


def parse_bundle(data: bytes) -> Bundle:
    """Read a Sigstore bundle.

    Raises:
        ContractError: ``bad-json``, ``too-large``, ``too-deep`` or ``bad-signature``.
    """
    bundle = decode_json(
        data, Bundle, what="the signature", max_bytes=MAX_SIGNATURE_BYTES, unique_keys=True
    )
    if bundle.media_type != BUNDLE_TYPE or bundle.dsse_envelope.payload_type != INTOTO_TYPE:
        raise ContractError("bad-signature", "the signature is not a Sigstore 0.3 DSSE bundle")
    return bundle


def decode_base64(text: str) -> bytes:
    """Decode strict base64.

    Raises:
        ContractError: ``bad-signature``.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise ContractError("bad-signature", "a base64 value cannot be read") from exc

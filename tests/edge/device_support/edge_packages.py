"""Small signed packages and releases, made with ``cryptography`` and the contract alone."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edge_components.contract import package as pk
from edge_components.contract.digest import sha256_digest
from edge_components.contract.jsonio import canonical_json
from edge_components.contract.release import (
    MANIFEST_FILE,
    RELEASE_FILE,
    RELEASE_TYPE,
    DeviceSettings,
    NetworkSettings,
    ReleaseDocument,
)
from edge_components.contract.signature import (
    INTOTO_TYPE,
    Envelope,
    EnvelopeSignature,
    bundle_json,
    key_hint,
    model_statement,
    pae,
)


class Publisher:
    """A key pair that signs; P-256 unless told."""

    def __init__(self, curve: ec.EllipticCurve | None = None) -> None:
        self._key = ec.generate_private_key(curve or ec.SECP256R1())
        self._hash = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}[
            self._key.curve.key_size
        ]
        self.pem = self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.hint = key_hint(self.pem)

    def save(self, path: Path) -> Path:
        path.write_bytes(self.pem)
        return path

    def envelope(self, payload_type: str, payload: bytes, *, keyid: str | None = None) -> Envelope:
        signature = self._key.sign(pae(payload_type, payload), ec.ECDSA(self._hash))
        return Envelope(
            payload=base64.b64encode(payload).decode(),
            payload_type=payload_type,
            signatures=(
                EnvelopeSignature(
                    sig=base64.b64encode(signature).decode(),
                    keyid=self.hint if keyid is None else keyid,
                ),
            ),
        )


@dataclass
class Package:
    """A package's bytes: manifest, signature and layers by digest."""

    manifest: pk.Manifest
    manifest_bytes: bytes
    signature: bytes
    blobs: dict[str, bytes]
    info: pk.PackageInfo

    @property
    def digest(self) -> str:
        return sha256_digest(self.manifest_bytes)


@dataclass
class Bundle:
    """A release with its package, as files of one order: file name to bytes."""

    number: int
    files: dict[str, bytes] = field(default_factory=dict)

    def digest_name(self, data: bytes) -> str:
        return hashlib.sha256(data).hexdigest()


def make_package(
    publisher: Publisher,
    weights: dict[str, bytes],
    *,
    application: str = "plates",
    extra: dict[str, bytes] | None = None,
    signed_files: dict[str, str] | None = None,
) -> Package:
    """Build a signed package with one weight file per precision."""
    variants = tuple(
        pk.Variant(
            precision=precision,
            path=f"{precision}/model.onnx",
            files=(),
            size_bytes=len(data),
            atol=1e-4,
            rtol=1e-3,
        )
        for precision, data in weights.items()
    )
    info = pk.PackageInfo(
        application=application,
        version="1.0.0",
        model_digest="sha256:" + "0" * 64,
        inputs=(pk.TensorSpec(name="x", datatype="FP32", shape=(-1, 4)),),
        outputs=(pk.TensorSpec(name="y", datatype="FP32", shape=(-1, 2)),),
        opset={"": 17},
        ir_version=8,
        variants=variants,
    )
    layers: list[tuple[str, str, bytes]] = [
        (pk.WEIGHT_CONFIG_TYPE, pk.PACKAGE_FILE, canonical_json(info)),
        (pk.DOC_TYPE, pk.SBOM_FILE, b'{"bomFormat":"CycloneDX"}'),
    ]
    layers += [(pk.WEIGHT_CONFIG_TYPE, path, data) for path, data in (extra or {}).items()]
    layers += [(pk.WEIGHT_TYPE, f"{p}/model.onnx", data) for p, data in weights.items()]
    return assemble(publisher, layers, info, signed_files=signed_files)


def assemble(
    publisher: Publisher,
    layers: list[tuple[str, str, bytes]],
    info: pk.PackageInfo,
    *,
    signed_files: dict[str, str] | None = None,
) -> Package:
    """Build manifest and signature around layers: (media type, path, bytes)."""
    config = b"{}"
    manifest = pk.Manifest(
        media_type=pk.MANIFEST_TYPE,
        artifact_type=pk.ARTIFACT_TYPE,
        config=pk.Descriptor(
            media_type=pk.CONFIG_TYPE, digest=sha256_digest(config), size=len(config)
        ),
        layers=tuple(
            pk.Descriptor(
                media_type=kind,
                digest=sha256_digest(data),
                size=len(data),
                annotations={pk.FILEPATH: path},
            )
            for kind, path, data in layers
        ),
    )
    files = signed_files or {path: sha256_digest(data) for _, path, data in layers}
    statement = model_statement(info.application, files)
    bundle = bundle_json(publisher.envelope(INTOTO_TYPE, statement, keyid=""), hint=publisher.hint)
    return Package(
        manifest=manifest,
        manifest_bytes=manifest.to_bytes(),
        signature=bundle,
        blobs={sha256_digest(data): data for _, _, data in layers},
        info=info,
    )


def make_release(
    publisher: Publisher,
    package: Package,
    number: int,
    *,
    application: str = "plates",
    soak_s: float = 0.0,
    precision: str | None = None,
    keyid: str | None = None,
    network: NetworkSettings | None = None,
) -> bytes:
    """Return the signed envelope of a release of ``package``."""
    document = ReleaseDocument(
        application=application,
        number=number,
        version=f"1.0.{number}",
        package=package.digest,
        settings=DeviceSettings(soak_s=soak_s, precision=precision, network=network),
    )
    return canonical_json(publisher.envelope(RELEASE_TYPE, document.to_bytes(), keyid=keyid))


def make_files(envelope: bytes, package: Package) -> dict[str, bytes]:
    """Return an order's artifacts: file name to bytes."""
    blobs = {digest.removeprefix("sha256:")[:12] + ".bin": d for digest, d in package.blobs.items()}
    return {
        RELEASE_FILE: envelope,
        MANIFEST_FILE: package.manifest_bytes,
        pk.SIGNATURE_FILE: package.signature,
        **blobs,
    }

"""Bundles made with ``tarfile`` and the contract's names alone, whole or spoiled."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import dataclass, field

from edge_packages import Package

from edge_components.contract import package as pk
from edge_components.contract.bundle import RELEASE_MARK, SIGNATURE_MARK
from edge_components.contract.digest import sha256_digest
from edge_components.contract.jsonio import canonical_json
from edge_components.contract.release import RELEASE_TYPE
from edge_components.contract.signature import BUNDLE_TYPE


@dataclass
class Bundle:
    """A bundle's files by path in the layout, in the order of the tar."""

    files: dict[str, bytes] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)

    def add(self, data: bytes) -> str:
        digest = sha256_digest(data)
        self.files["blobs/" + digest.replace(":", "/")] = data
        return digest

    def tar(self) -> bytes:
        """Return the tar; ``places`` has where each file begins afterwards."""
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
            for name, data in self.files.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                self.places[name] = archive.offset + tarfile.BLOCKSIZE
                archive.addfile(member, io.BytesIO(data))
        return out.getvalue()

    def spoiled(self, name: str) -> bytes:
        """Return the tar with one byte in the middle of a file changed."""
        data = bytearray(self.tar())
        data[self.places[name] + len(self.files[name]) // 2] ^= 1
        return bytes(data)


def make_bundle(envelope: bytes, package: Package, *, signed: bool = True) -> Bundle:
    """Return a bundle of a release and its package."""
    bundle = Bundle({"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": b""})
    size = len(package.manifest_bytes)
    subject = {"mediaType": pk.MANIFEST_TYPE, "digest": package.digest, "size": size}
    marks = {RELEASE_MARK: bundle.add(_beside(bundle, RELEASE_TYPE, envelope, subject))}
    if signed:
        manifest = _beside(bundle, BUNDLE_TYPE, package.signature, subject)
        marks[SIGNATURE_MARK] = bundle.add(manifest)
    bundle.add(package.manifest_bytes)
    bundle.add(b"{}")
    for data in package.blobs.values():
        bundle.add(data)
    entry = {**subject, "artifactType": pk.ARTIFACT_TYPE}
    index = {"schemaVersion": 2, "manifests": [entry], "annotations": marks}
    bundle.files["index.json"] = json.dumps(index).encode()
    return bundle


def _beside(bundle: Bundle, kind: str, data: bytes, subject: dict[str, object]) -> bytes:
    layer = {"mediaType": kind, "digest": bundle.add(data), "size": len(data)}
    empty = b"{}"
    config = {
        "mediaType": "application/vnd.oci.empty.v1+json",
        "digest": sha256_digest(empty),
        "size": len(empty),
    }
    return canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": pk.MANIFEST_TYPE,
            "artifactType": kind,
            "config": config,
            "layers": [layer],
            "subject": subject,
        }
    )

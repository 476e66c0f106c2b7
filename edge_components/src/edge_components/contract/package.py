"""The package: an OCI artifact in CNCF ModelPack form, and what stands in it.

A package is an image manifest whose layers are single raw files, each with its path in
``org.cncf.model.filepath``. One of the files, ``edgectl/package.json``, says what the others are.
Sources: OCI image-spec 1.1 (manifest, descriptor); CNCF model-spec (media types, annotations).
"""

from __future__ import annotations

import unicodedata
from pathlib import PurePosixPath
from typing import Any, Literal

import msgspec

from edge_components.contract.digest import check_digest, sha256_digest
from edge_components.contract.errors import ContractError
from edge_components.contract.jsonio import canonical_json, decode_json
from edge_components.contract.pipeline import Pipeline

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
ARTIFACT_TYPE = "application/vnd.cncf.model.manifest.v1+json"
CONFIG_TYPE = "application/vnd.cncf.model.config.v1+json"
WEIGHT_TYPE = "application/vnd.cncf.model.weight.v1.raw"
WEIGHT_CONFIG_TYPE = "application/vnd.cncf.model.weight.config.v1.raw"
DOC_TYPE = "application/vnd.cncf.model.doc.v1.raw"
LAYER_TYPES = frozenset({WEIGHT_TYPE, WEIGHT_CONFIG_TYPE, DOC_TYPE})
FILEPATH = "org.cncf.model.filepath"

PACKAGE_FILE = "edgectl/package.json"
PIPELINE_FILE = "edgectl/pipeline.json"
GOLDEN_FILE = "edgectl/golden.npz"
SBOM_FILE = "docs/sbom.cdx.json"
EVALUATION_FILE = "docs/evaluation.json"
PROVENANCE_FILE = "docs/provenance.json"
SIGNATURE_FILE = "model.sig"

MAX_MANIFEST_BYTES = 1 << 20
MAX_DOCUMENT_BYTES = 4 << 20
MAX_LAYERS = 256
MAX_PATH_BYTES = 255
MAX_PACKAGE_BYTES = 64 << 30

Precision = Literal["fp32", "fp16", "int8"]


class Descriptor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A pointer to content: its type, digest and size in bytes (OCI image-spec, descriptor)."""

    media_type: str
    digest: str
    size: int
    annotations: dict[str, str] = {}
    artifact_type: str = ""


class Manifest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """An OCI image manifest, for packages and for what refers to them (``subject``)."""

    schema_version: Literal[2] = msgspec.field(default=2)
    media_type: str
    artifact_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    annotations: dict[str, str] = {}

    def to_bytes(self) -> bytes:
        """Return the manifest's canonical bytes, ``schemaVersion`` included."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return canonical_json({"schemaVersion": 2, **plain})


class TensorSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model input or output.

    ``datatype`` is the Open Inference Protocol's name (``FP32``, ``INT64``, ``BYTES``, …); in
    ``shape`` a dimension that may vary is -1.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]


class Variant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The model at one precision, with the error measured against the original.

    ``atol`` and ``rtol`` are what the golden check on a device allows; ``max_abs_error`` and
    ``max_rel_error`` are what was measured when the variant was made; ``accuracy`` is the share
    of right answers, where labels were given. ``min_label_agreement`` is the share of golden
    samples whose arg-max has to agree with the golden output on a device; 0 asks for none.
    """

    precision: Precision
    path: str
    files: tuple[str, ...]
    size_bytes: int
    atol: float
    rtol: float
    max_abs_error: float = 0.0
    max_rel_error: float = 0.0
    accuracy: float | None = None
    min_label_agreement: float = 0.0


class PackageInfo(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``edgectl/package.json``: what the package is, and which file is what."""

    format: Literal["edgectl.package/v1"] = msgspec.field(default="edgectl.package/v1")
    application: str
    version: str
    model_digest: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    opset: dict[str, int]
    ir_version: int
    variants: tuple[Variant, ...]
    golden: str | None = None
    golden_samples: int = 0
    pipeline: str | None = None
    metrics: dict[str, float] = {}

    def variant(self, precision: str) -> Variant | None:
        """Return the variant of that precision, or None."""
        return next((v for v in self.variants if v.precision == precision), None)


def check_path(path: str) -> str:
    """Return ``path`` if it may stand in a package: relative, plain, inside the folder.

    Raises:
        ContractError: ``bad-path``.
    """
    pure = PurePosixPath(path)
    bad = (
        not path
        or len(path.encode("utf-8", "surrogatepass")) > MAX_PATH_BYTES
        or pure.is_absolute()
        or "\\" in path
        or str(pure) != path
        or any(part in {".", ".."} for part in path.split("/"))
        or any(unicodedata.category(character) in {"Cc", "Cf", "Cs"} for character in path)
        or (len(path) > 1 and path[1] == ":")
    )
    if bad:
        raise ContractError("bad-path", f"{path!r} is not a path inside a package")
    return path


def parse_manifest(data: bytes, *, digest: str) -> Manifest:
    """Read a package manifest that may come from an attacker.

    Checks the digest, the size, the nesting, every media type, path and digest, and that no path
    is given twice or is a folder of another.

    Raises:
        ContractError: With a code that names the rule that was broken.
    """
    if sha256_digest(data) != check_digest(digest):
        raise ContractError("digest-mismatch", f"the manifest's bytes do not have digest {digest}")
    manifest = decode_json(
        data, Manifest, what="the manifest", max_bytes=MAX_MANIFEST_BYTES, unique_keys=True
    )
    if manifest.artifact_type != ARTIFACT_TYPE or manifest.media_type != MANIFEST_TYPE:
        raise ContractError(
            "not-a-package", f"'{manifest.artifact_type[:80]}' is not a model package"
        )
    if manifest.config.media_type != CONFIG_TYPE:
        raise ContractError("bad-media-type", "the configuration is not a ModelPack configuration")
    if not 0 < len(manifest.layers) <= MAX_LAYERS:
        raise ContractError(
            "too-large", f"{len(manifest.layers)} layers; 1 to {MAX_LAYERS} are allowed"
        )
    _check_descriptor(manifest.config, limit=MAX_DOCUMENT_BYTES)
    for layer in manifest.layers:
        _check_layer(layer)
    if sum(layer.size for layer in manifest.layers) > MAX_PACKAGE_BYTES:
        raise ContractError("too-large", f"the package is larger than {MAX_PACKAGE_BYTES} bytes")
    _check_paths_apart([layer.annotations[FILEPATH] for layer in manifest.layers])
    return manifest


def layer_paths(manifest: Manifest) -> dict[str, Descriptor]:
    """Return the package's files: path to descriptor."""
    return {layer.annotations[FILEPATH]: layer for layer in manifest.layers}


def parse_package_info(data: bytes, manifest: Manifest) -> PackageInfo:
    """Read ``edgectl/package.json`` and check that the files it names are in the package.

    Raises:
        ContractError: ``bad-json`` or ``missing-file``.
    """
    info = decode_json(
        data, PackageInfo, what=PACKAGE_FILE, max_bytes=MAX_DOCUMENT_BYTES, unique_keys=True
    )
    paths = layer_paths(manifest)
    named = [path for variant in info.variants for path in (variant.path, *variant.files)]
    named += [path for path in (info.golden, info.pipeline) if path is not None]
    for path in named:
        if path not in paths:
            raise ContractError(
                "missing-file", f"{PACKAGE_FILE} names '{path}', which is not there"
            )
    if not info.variants:
        raise ContractError("missing-file", f"{PACKAGE_FILE} names no variant")
    return info


def parse_pipeline(data: bytes, *, what: str = PIPELINE_FILE) -> Pipeline:
    """Read ``edgectl/pipeline.json``, or a file of that form that messages call ``what``.

    Raises:
        ContractError: ``bad-json``, ``too-large`` or ``too-deep``.
    """
    return decode_json(data, Pipeline, what=what, max_bytes=MAX_DOCUMENT_BYTES)


def _check_descriptor(descriptor: Descriptor, *, limit: int) -> None:
    check_digest(descriptor.digest)
    if not 0 <= descriptor.size <= limit:
        raise ContractError("too-large", f"{descriptor.digest} says it has {descriptor.size} bytes")


def _check_layer(layer: Descriptor) -> None:
    if layer.media_type not in LAYER_TYPES:
        raise ContractError("bad-media-type", f"unknown media type '{layer.media_type[:80]}'")
    path = check_path(layer.annotations.get(FILEPATH, ""))
    if path == SIGNATURE_FILE:
        raise ContractError("bad-path", f"'{SIGNATURE_FILE}' is the signature's place")
    limit = MAX_PACKAGE_BYTES if layer.media_type == WEIGHT_TYPE else MAX_PACKAGE_BYTES >> 6
    _check_descriptor(layer, limit=limit)


def _check_paths_apart(paths: list[str]) -> None:
    folded = [path.casefold() for path in paths]
    if len(set(folded)) != len(folded):
        raise ContractError("bad-path", "two layers have the same path")
    files = set(folded)
    for path in folded:
        parents = (str(parent) for parent in PurePosixPath(path).parents)
        if any(parent in files for parent in parents):
            raise ContractError("bad-path", f"'{path}' lies below a file")

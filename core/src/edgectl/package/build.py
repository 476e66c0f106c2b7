"""Building a package: what goes into it, in which order, under which media type.

Deterministic: the same content gives the same bytes and so the same digest, on any machine. No
clock, host, user or local path gets in; files are ordered by their path in the package.
Sources: CNCF model-spec (media types, annotations, configuration); OCI image-spec 1.1.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from edge_components.contract.jsonio import canonical_json
from edge_components.contract.package import (
    ARTIFACT_TYPE,
    CONFIG_TYPE,
    DOC_TYPE,
    EVALUATION_FILE,
    FILEPATH,
    GOLDEN_FILE,
    MANIFEST_TYPE,
    PACKAGE_FILE,
    PIPELINE_FILE,
    PROVENANCE_FILE,
    SBOM_FILE,
    SIGNATURE_FILE,
    WEIGHT_CONFIG_TYPE,
    WEIGHT_TYPE,
    Descriptor,
    Manifest,
    PackageInfo,
    check_path,
    parse_manifest,
    parse_package_info,
)
from edge_components.contract.pipeline import Pipeline
from edgectl.errors import PackageError
from edgectl.package.files import Content, contract_errors
from edgectl.package.golden import golden_samples
from edgectl.package.naming import check_names, name_annotations, package_tag
from edgectl.package.provenance import provenance
from edgectl.package.sbom import sbom
from edgectl.package.store import Layout
from edgectl.records import ModelVersion, Package, Record

ASSETS_FOLDER = "edgectl/assets/"
_RESERVED = ("edgectl", "docs", SIGNATURE_FILE)


class PackageContent(Record, frozen=True, kw_only=True):
    """What goes into a package.

    Attributes:
        files: Weights and external data: path in the package (``model/fp32/model.onnx``) to the
            file on this machine. Every file that the model's variants name has to be there.
        golden: The golden set (``.npz``), or None.
        pipeline: What runs on the device around the model, or None.
        assets: Files that the pipeline needs, stored under ``edgectl/assets/``; keys are their
            paths below that folder.
        evaluation: The evaluation report; must be the same on every machine.
    """

    application: str
    version: str
    model: ModelVersion
    files: dict[str, Path]
    golden: Path | None = None
    pipeline: Pipeline | None = None
    assets: dict[str, Path] = {}
    evaluation: dict[str, Any] = {}


class _Stored(msgspec.Struct, frozen=True):
    media_type: str
    content: Content


def build_package(content: PackageContent, layout: Path) -> Package:
    """Build a package in a local OCI layout and tag it ``<application>:<version>``.

    Args:
        content: What goes into it.
        layout: The layout's folder; made if it is not there.

    Raises:
        PackageError: A file is missing, a path or name is not allowed, or the store cannot be
            written. Nothing is tagged then.
    """
    sources = _sources(content)
    store = Layout.create(layout)
    stored = {path: _Stored(kind, store.add_file(file)) for path, (kind, file) in sources.items()}
    info = _package_info(content)
    documents = {PACKAGE_FILE: (WEIGHT_CONFIG_TYPE, canonical_json(info))}
    if content.pipeline is not None:
        documents[PIPELINE_FILE] = (WEIGHT_CONFIG_TYPE, canonical_json(content.pipeline))
    _store_documents(store, stored, documents)
    _store_documents(store, stored, _reports(content, info, stored))
    manifest = _manifest(store, content, stored)
    _check(store, manifest)
    digest = store.add_manifest(manifest, tag=package_tag(manifest)).digest
    return Package(
        application=content.application,
        version=content.version,
        layout=layout,
        digest=digest,
        size_bytes=sum(one.content.size for one in stored.values()),
        sizes=_sizes(content.model, stored),
    )


def describe_package(layout: Path, digest: str, info: PackageInfo, *, signed_by: str) -> Package:
    """Return the record of a package that is in a layout already.

    Args:
        layout: The layout's folder.
        digest: The package's digest.
        info: Its ``edgectl/package.json``.
        signed_by: The hint of the key that signed it, or "".
    """
    manifest = Layout.open(layout).read_manifest(digest)
    sizes = {layer.annotations[FILEPATH]: layer.size for layer in manifest.layers}
    return Package(
        application=info.application,
        version=info.version,
        layout=layout,
        digest=digest,
        size_bytes=sum(sizes.values()),
        sizes={
            one.precision: sum(sizes[path] for path in {one.path, *one.files})
            for one in info.variants
        },
        signed_by=signed_by,
    )


def _sources(content: PackageContent) -> dict[str, tuple[str, Path]]:
    """Return path → (media type, local file), in package order, after checking every name."""
    check_names(content.application, content.version)
    if not content.model.variants:
        raise PackageError(f"the model version '{content.model.version}' has no variant")
    sources = {path: (WEIGHT_TYPE, file) for path, file in content.files.items()}
    if content.golden is not None:
        sources[GOLDEN_FILE] = (WEIGHT_CONFIG_TYPE, content.golden)
    for path, file in content.assets.items():
        sources[ASSETS_FOLDER + path] = (WEIGHT_CONFIG_TYPE, file)
    with contract_errors("the package's content"):
        for path in sources:
            check_path(path)
    for path in content.files:
        if path.split("/")[0] in _RESERVED:
            raise PackageError(f"'{path}' is a reserved path; weights go elsewhere")
    for variant in content.model.variants:
        missing = {variant.path, *variant.files} - content.files.keys()
        if missing:
            raise PackageError(
                f"the variant '{variant.precision}' needs '{min(missing)}', which was not given"
            )
    return dict(sorted(sources.items()))


def _package_info(content: PackageContent) -> PackageInfo:
    model = content.model
    return PackageInfo(
        application=content.application,
        version=content.version,
        model_digest=model.digest,
        inputs=model.inputs,
        outputs=model.outputs,
        opset=model.opset,
        ir_version=model.ir_version,
        variants=model.variants,
        golden=GOLDEN_FILE if content.golden is not None else None,
        golden_samples=golden_samples(content.golden) if content.golden is not None else 0,
        pipeline=PIPELINE_FILE if content.pipeline is not None else None,
        metrics=model.metrics,
    )


def _reports(
    content: PackageContent, info: PackageInfo, stored: dict[str, _Stored]
) -> dict[str, tuple[str, bytes]]:
    files = {path: one.content for path, one in stored.items()}
    revision = content.model.trained.revision if content.model.trained is not None else ""
    try:
        evaluation = canonical_json(content.evaluation)
    except (TypeError, ValueError, OverflowError) as exc:
        raise PackageError(f"the evaluation report cannot be written as JSON: {exc}") from exc
    return {
        SBOM_FILE: (DOC_TYPE, sbom(info, files, revision=revision)),
        EVALUATION_FILE: (DOC_TYPE, evaluation),
        PROVENANCE_FILE: (DOC_TYPE, provenance(content.model)),
    }


def _store_documents(
    store: Layout, stored: dict[str, _Stored], documents: dict[str, tuple[str, bytes]]
) -> None:
    for path, (media_type, data) in documents.items():
        stored[path] = _Stored(media_type, store.add_bytes(data))


def _manifest(store: Layout, content: PackageContent, stored: dict[str, _Stored]) -> Manifest:
    layers = tuple(
        Descriptor(
            media_type=stored[path].media_type,
            digest=stored[path].content.digest,
            size=stored[path].content.size,
            annotations={FILEPATH: path},
        )
        for path in sorted(stored)
    )
    config = store.add_bytes(model_config(content, (layer.digest for layer in layers)))
    return Manifest(
        media_type=MANIFEST_TYPE,
        artifact_type=ARTIFACT_TYPE,
        config=Descriptor(media_type=CONFIG_TYPE, digest=config.digest, size=config.size),
        layers=layers,
        annotations=name_annotations(content.application, content.version),
    )


def model_config(content: PackageContent, layers: Iterable[str]) -> bytes:
    """Return the ModelPack configuration; raw layers are their own diff ids."""
    model = content.model
    precisions = [variant.precision for variant in model.variants]
    descriptor = {"name": content.application, "version": content.version}
    if model.trained is not None and model.trained.revision:
        descriptor["revision"] = model.trained.revision
    config = {"format": "onnx", "precision": precisions[0]}
    if "int8" in precisions:
        config["quantization"] = "int8"
    return canonical_json(
        {
            "descriptor": descriptor,
            "config": config,
            "modelfs": {"type": "layers", "diffIds": list(layers)},
        }
    )


def _check(store: Layout, manifest: Manifest) -> None:
    """Refuse to publish what every reader would refuse."""
    with contract_errors("the package"):
        data = manifest.to_bytes()
        parsed = parse_manifest(data, digest=store.add_bytes(data).digest)
        info = next(one for one in parsed.layers if one.annotations[FILEPATH] == PACKAGE_FILE)
        parse_package_info(store.read(info.digest, max_bytes=info.size), parsed)


def _sizes(model: ModelVersion, stored: dict[str, _Stored]) -> dict[str, int]:
    return {
        variant.precision: sum(stored[path].content.size for path in {variant.path, *variant.files})
        for variant in model.variants
    }

"""The bill of materials: CycloneDX 1.6 JSON with the model as a machine-learning component.

Deterministic: no timestamp, references and the serial number follow from the content, and the
JSON is canonical. It is written when a package is built, so the library is imported only here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6

from edge_components.contract.digest import digest_hex, sha256_digest
from edge_components.contract.jsonio import canonical_json
from edge_components.contract.package import PackageInfo
from edgectl.package.files import Content

SERIAL_NAMESPACE = uuid5(NAMESPACE_URL, "urn:edgectl:sbom")


def sbom(info: PackageInfo, files: Mapping[str, Content], *, revision: str = "") -> bytes:
    """Return the bill of materials of a package as canonical JSON.

    Args:
        info: What the package is.
        files: The package's files but for the documents: path to digest and size.
        revision: The project's git revision, or "".
    """
    bom = Bom()
    bom.metadata.component = _application(info)
    model = _model(info, revision)
    parts = [_file(path, files[path]) for path in sorted(files)]
    bom.components.add(model)
    for part in parts:
        bom.components.add(part)
    bom.register_dependency(bom.metadata.component, [model, *parts])
    bom.register_dependency(model)
    plain: dict[str, Any] = json.loads(JsonV1Dot6(bom).output_as_string())
    plain.pop("serialNumber", None)
    plain["metadata"].pop("timestamp", None)
    name = sha256_digest(canonical_json(plain))
    plain["serialNumber"] = f"urn:uuid:{uuid5(SERIAL_NAMESPACE, name)}"
    return canonical_json(plain)


def _application(info: PackageInfo) -> Component:
    return Component(
        type=ComponentType.APPLICATION,
        name=info.application,
        version=info.version,
        bom_ref=f"application:{info.application}",
    )


def _model(info: PackageInfo, revision: str) -> Component:
    values = {"edgectl:onnx:ir-version": str(info.ir_version)}
    values |= {f"edgectl:onnx:opset:{name or 'ai.onnx'}": str(v) for name, v in info.opset.items()}
    values |= {f"edgectl:metric:{name}": repr(value) for name, value in info.metrics.items()}
    values |= {
        f"edgectl:{kind}:{tensor.name}": f"{tensor.datatype}{list(tensor.shape)}"
        for kind, tensors in (("input", info.inputs), ("output", info.outputs))
        for tensor in tensors
    }
    if revision:
        values["edgectl:revision"] = revision
    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=info.application,
        version=info.version,
        bom_ref=f"model:{info.application}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest_hex(info.model_digest))],
        properties=[Property(name=name, value=value) for name, value in values.items()],
    )


def _file(path: str, content: Content) -> Component:
    return Component(
        type=ComponentType.FILE,
        name=path,
        bom_ref=f"file:{path}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest_hex(content.digest))],
        properties=[Property(name="edgectl:size", value=str(content.size))],
    )

"""What a model is, seen from outside: inputs, outputs, versions, files and digest.

The digest of a model in one file is that file's sha256. With external data it is the sha256 of
the canonical JSON list of (name, sha256) pairs, sorted by name. Neither depends on where the
files lie.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from onnx import ModelProto, TensorProto, ValueInfoProto

from edge_components.contract.digest import sha256_digest
from edge_components.contract.jsonio import canonical_json
from edge_components.contract.package import TensorSpec
from edgectl.errors import ModelError
from edgectl.model.guard import run_guarded
from edgectl.model.onnxfile import external_files, parse_model, walk_nodes
from edgectl.model.runtime import KNOWN_DOMAINS, newest_ir_version, newest_opset, supports
from edgectl.records import Record

MODEL_FILE = "model.onnx"
_DATATYPES: dict[int, str] = {
    TensorProto.BOOL: "BOOL",
    TensorProto.UINT8: "UINT8",
    TensorProto.UINT16: "UINT16",
    TensorProto.UINT32: "UINT32",
    TensorProto.UINT64: "UINT64",
    TensorProto.INT8: "INT8",
    TensorProto.INT16: "INT16",
    TensorProto.INT32: "INT32",
    TensorProto.INT64: "INT64",
    TensorProto.FLOAT16: "FP16",
    TensorProto.FLOAT: "FP32",
    TensorProto.DOUBLE: "FP64",
    TensorProto.STRING: "BYTES",
}


class ModelSignature(Record, frozen=True, kw_only=True):
    """What a model takes and gives, and which files it is made of.

    Attributes:
        opset: Version by operator domain; the default domain is ``ai.onnx``.
        files: Name to file: ``model.onnx``, and external data under the names the model uses.
        size_bytes: All files together.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    opset: dict[str, int]
    ir_version: int
    digest: str
    files: dict[str, Path]
    size_bytes: int

    @property
    def path(self) -> Path:
        """The ONNX file."""
        return self.files[MODEL_FILE]


def read_signature(path: Path) -> ModelSignature:
    """Read what a model takes and gives, without running it.

    Raises:
        ModelError: The file is no ONNX model, its external data is missing or lies outside its
            folder, or the installed ONNX Runtime cannot run its opset or operator domains.
    """
    model = parse_model(path)
    try:
        opset = _check_versions(path, model)
        inputs, outputs = _interface(path, model)
        external = external_files(path, model)
    except UnicodeDecodeError as exc:
        raise ModelError(f"'{path}' is not an ONNX model: a name in it is not text") from exc
    if MODEL_FILE in external:
        raise ModelError(f"'{path}' keeps weights in '{MODEL_FILE}', the name of the model itself")
    files = {MODEL_FILE: path, **external}
    return ModelSignature(
        inputs=inputs,
        outputs=outputs,
        opset=opset,
        ir_version=model.ir_version,
        digest=_digest(files),
        files=files,
        size_bytes=sum(file.stat().st_size for file in files.values()),
    )


def check_model(path: Path) -> None:
    """Check a model in full: the ONNX checker, shape inference, and a load into the runtime.

    It happens in a child process, so that a model that crashes the runtime ends there.

    Raises:
        ModelError: A check failed, took too long, or crashed the child.
    """
    run_guarded("check", {"model": str(path.resolve())}, what=f"'{path}'")


def _check_versions(path: Path, model: ModelProto) -> dict[str, int]:
    opset: dict[str, int] = {}
    for entry in model.opset_import:
        opset[entry.domain or "ai.onnx"] = entry.version
    if not supports("", 13, model.ir_version):
        raise ModelError(
            f"'{path}' has IR version {model.ir_version}, the installed ONNX Runtime reads up to "
            f"{newest_ir_version()}",
            hint="export with an older IR version, or update onnxruntime here and on the devices",
        )
    functions = {(function.domain, function.name) for function in model.functions}
    own = {domain for domain, _ in functions}
    for node in walk_nodes(model):
        known = node.domain in KNOWN_DOMAINS or (node.domain, node.op_type) in functions
        if not known:
            raise ModelError(
                f"'{path}' uses the operator '{node.domain}.{node.op_type}', which ONNX Runtime "
                "does not have",
                hint="export with standard operators; custom operator libraries are not deployed",
            )
    for domain, version in opset.items():
        if domain in KNOWN_DOMAINS and domain not in own:
            _check_opset(path, domain, version)
    return opset


def _check_opset(path: Path, domain: str, version: int) -> None:
    plain = "" if domain == "ai.onnx" else domain
    if not supports(plain, version, 8):
        newest = newest_opset(plain)
        raise ModelError(
            f"'{path}' uses opset {version} of '{domain}', the installed ONNX Runtime runs "
            f"1 to {newest}",
            hint=f"export with opset {min(newest, 21) if not plain else newest} or older",
        )


def _interface(
    path: Path, model: ModelProto
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [info for info in model.graph.input if info.name not in constants]
    outputs = list(model.graph.output)
    if any(not _has_shape(info) for info in outputs):
        outputs = _inferred_outputs(path)
    names = [info.name for info in (*inputs, *outputs)]
    if not all(names) or len(set(names)) != len(names):
        raise ModelError(f"'{path}' has inputs or outputs without a name of their own")
    return (
        tuple(_tensor_spec(path, "input", info) for info in inputs),
        tuple(_tensor_spec(path, "output", info) for info in outputs),
    )


def _inferred_outputs(path: Path) -> list[ValueInfoProto]:
    """Return the outputs with the shapes that ONNX can infer; weights are not needed for it."""
    answer = run_guarded("infer", {"model": str(path.resolve())}, what=f"'{path}'")
    return [ValueInfoProto.FromString(base64.b64decode(text)) for text in answer["outputs"]]


def _has_shape(info: ValueInfoProto) -> bool:
    tensor = info.type.tensor_type
    return bool(info.type.HasField("tensor_type") and tensor.HasField("shape"))


def _tensor_spec(path: Path, kind: str, info: ValueInfoProto) -> TensorSpec:
    if not info.type.HasField("tensor_type"):
        raise ModelError(
            f"the {kind} '{info.name}' of '{path}' is not a tensor",
            hint="export with tensors only; for skl2onnx that is the option zipmap=False",
        )
    datatype = _DATATYPES.get(info.type.tensor_type.elem_type)
    if datatype is None:
        number = info.type.tensor_type.elem_type
        known = number in TensorProto.DataType.values()
        name = TensorProto.DataType.Name(number) if known else str(number)
        raise ModelError(
            f"the {kind} '{info.name}' of '{path}' has the type {name}, which cannot be "
            "sent in a request",
            hint="add a Cast to float32 or int64 at the model's edge",
        )
    if not _has_shape(info):
        raise ModelError(
            f"the {kind} '{info.name}' of '{path}' has no shape",
            hint="name its dimensions in the export; those that vary may have any name",
        )
    dims = info.type.tensor_type.shape.dim
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in dims)
    if any(size < -1 for size in shape):
        raise ModelError(f"the {kind} '{info.name}' of '{path}' has the shape {list(shape)}")
    return TensorSpec(name=info.name, datatype=datatype, shape=shape)


def _digest(files: dict[str, Path]) -> str:
    digests = [(name, _file_digest(files[name])) for name in sorted(files)]
    if len(digests) == 1:
        return digests[0][1]
    return sha256_digest(canonical_json(digests))


def _file_digest(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as exc:
        raise ModelError(f"'{path}' cannot be read: {exc.strerror}") from exc

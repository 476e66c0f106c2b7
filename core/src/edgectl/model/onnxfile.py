"""An ONNX file from outside: parsed with bounds, and its external data found and measured.

Rules: the file is at most 2 GiB (protobuf's limit); what it names as external data is a plain
relative path to a regular file inside the model's folder, also after symbolic links, and holds
the bytes that the tensor's shape asks for. Sources: ONNX IR specification; ONNX external data.
"""

from __future__ import annotations

import math
import stat
from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto

from edge_components.contract.errors import ContractError
from edge_components.contract.package import check_path
from edgectl.errors import ModelError
from edgectl.model.runtime import ProtobufError
from edgectl.records import Record

MAX_PROTO_BYTES = (1 << 31) - 1
MAX_EXTERNAL_BYTES = 64 << 30
_HINT = "export the model to ONNX again; an interrupted copy also looks like this"


class ExternalPart(Record, frozen=True, kw_only=True):
    """A range of a data file that a tensor names; ``size`` is what its shape needs."""

    tensor: str
    location: str
    offset: int
    length: int
    size: int


def parse_model(path: Path) -> ModelProto:
    """Read an ONNX file without its external data.

    Raises:
        ModelError: It is missing, empty, too large, truncated or no ONNX model.
    """
    model = ModelProto()
    try:
        model.ParseFromString(_read(path))
    except ProtobufError as exc:
        raise ModelError(f"'{path}' is not an ONNX file, or is cut off", hint=_HINT) from exc
    if not model.ir_version or not model.opset_import or not model.graph.output:
        raise ModelError(
            f"'{path}' is not an ONNX model: it has no IR version, opset or output", hint=_HINT
        )
    return model


def _read(path: Path) -> bytes:
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):
            raise ModelError(f"the model '{path}' is not a file")
        if info.st_size > MAX_PROTO_BYTES:
            raise ModelError(
                f"the model '{path}' has {info.st_size} bytes, an ONNX file at most "
                f"{MAX_PROTO_BYTES}",
                hint="save the weights as external data",
            )
        data = path.read_bytes()
    except OSError as exc:
        raise ModelError(
            f"the model '{path}' cannot be read: {exc.strerror}",
            hint="model.path in the project file says where it is",
        ) from exc
    if not data:
        raise ModelError(f"the model '{path}' is empty", hint=_HINT)
    return data


def walk_nodes(model: ModelProto) -> Iterator[NodeProto]:
    """Yield every node: of the graph, of its subgraphs and of the model's functions."""
    for owner in _owners(model):
        yield from owner.node


def walk_tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Yield every tensor that may have data: initialisers and attributes, at any depth."""
    for owner in _owners(model):
        if isinstance(owner, GraphProto):
            yield from owner.initializer
            for sparse in owner.sparse_initializer:
                yield sparse.values
                yield sparse.indices
        for attribute in _attributes(owner):
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield sparse.values
                yield sparse.indices


def _owners(model: ModelProto) -> Iterator[GraphProto | FunctionProto]:
    """Yield the graph, all subgraphs and the functions, without recursion."""
    waiting: list[GraphProto | FunctionProto] = [model.graph, *model.functions]
    while waiting:
        owner = waiting.pop()
        yield owner
        for attribute in _attributes(owner):
            waiting.extend(attribute.graphs)
            if attribute.HasField("g"):
                waiting.append(attribute.g)


def _attributes(owner: GraphProto | FunctionProto) -> Iterator[AttributeProto]:
    for node in owner.node:
        yield from node.attribute


def external_parts(model: ModelProto) -> Iterator[ExternalPart]:
    """Yield what the model keeps in other files.

    Raises:
        ModelError: A location is not a plain relative path, or the numbers make no sense.
    """
    for tensor in walk_tensors(model):
        if tensor.data_location == TensorProto.EXTERNAL:
            yield _part(tensor)


def _part(tensor: TensorProto) -> ExternalPart:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    try:
        check_path(location)
    except ContractError as exc:
        raise ModelError(
            f"the tensor '{tensor.name}' names external data at '{location[:120]}', which is no "
            "path inside the model's folder"
        ) from exc
    size = _tensor_bytes(tensor)
    offset, length = (_number(tensor, entries, key) for key in ("offset", "length"))
    if length and length < size:
        raise ModelError(
            f"the tensor '{tensor.name}' needs {size} bytes, its external data has {length}"
        )
    return ExternalPart(
        tensor=tensor.name, location=location, offset=offset, length=length, size=size
    )


def _number(tensor: TensorProto, entries: dict[str, str], key: str) -> int:
    text = entries.get(key) or "0"
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise ModelError(
            f"the tensor '{tensor.name}' has external data with {key} '{text[:40]}', "
            "which is not a size"
        )
    return int(text)


def _tensor_bytes(tensor: TensorProto) -> int:
    """Return the bytes that a tensor's type and shape ask for."""
    if any(dim < 0 for dim in tensor.dims) or tensor.data_type == TensorProto.STRING:
        raise ModelError(f"the tensor '{tensor.name}' has a type or shape without external form")
    count: int = math.prod(tensor.dims)
    try:
        bits: int = _BITS.get(int(tensor.data_type)) or (
            onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize * 8
        )
    except (KeyError, TypeError, ValueError) as exc:
        raise ModelError(
            f"the tensor '{tensor.name}' has the unknown data type {tensor.data_type}"
        ) from exc
    return (count * bits + 7) // 8


_BITS: dict[int, int] = {TensorProto.INT4: 4, TensorProto.UINT4: 4, TensorProto.FLOAT4E2M1: 4}


def external_files(path: Path, model: ModelProto) -> dict[str, Path]:
    """Find the model's external data files: location to path, every one long enough.

    Raises:
        ModelError: One is missing, too short, or lies outside the model's folder.
    """
    folder = path.parent.resolve()
    needed: dict[str, int] = {}
    for part in external_parts(model):
        end = part.offset + max(part.length, part.size)
        needed[part.location] = max(end, needed.get(part.location, 0))
    return {
        location: _data_file(path, folder, location, needed[location])
        for location in sorted(needed)
    }


def _data_file(path: Path, folder: Path, location: str, needed: int) -> Path:
    file = folder / location
    try:
        real = file.resolve(strict=True)
        info = real.stat()
    except (OSError, RuntimeError) as exc:
        raise ModelError(
            f"'{path}' keeps weights in '{location}', which is not there",
            hint="copy the data file along with the model, under the same name",
        ) from exc
    if not real.is_relative_to(folder) or real == path.resolve():
        raise ModelError(
            f"'{path}' keeps weights in '{location}', which leads outside the model's folder",
            hint="copy the data file itself into the model's folder instead of linking to it",
        )
    if not stat.S_ISREG(info.st_mode) or info.st_size > MAX_EXTERNAL_BYTES:
        raise ModelError(f"'{path}' keeps weights in '{location}', which is no usable file")
    if info.st_size < needed:
        raise ModelError(
            f"the external data '{location}' of '{path}' has {info.st_size} bytes, "
            f"the model needs {needed}",
            hint="the copy was probably cut off; bring the file again",
        )
    return file

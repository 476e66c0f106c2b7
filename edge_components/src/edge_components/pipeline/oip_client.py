"""A client of the Open Inference Protocol (v2, REST) for one model with one input.

It asks once what the model takes and whether the server reads raw tensors, and keeps that until
something fails. Source: the protocol's REST form, and its binary tensor data extension.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec
import numpy as np

from edge_components.contract.package import TensorSpec
from edge_components.golden import Array
from edge_components.pipeline.endpoints import Endpoint
from edge_components.pipeline.errors import PipelineError
from edge_components.pipeline.preprocess import fit_to_input
from edge_components.pipeline.reading import Value
from edge_components.pipeline.web import Reply, Web
from edge_components.runtime.oip.binary import array_from_bytes, array_to_bytes
from edge_components.runtime.oip.datatypes import MAX_RANK, NUMPY_TYPES
from edge_components.runtime.oip.messages import ProtocolError

_JSON_LENGTH = "Inference-Header-Content-Length"
# The reading's own fault: another time it would be the same.
_REFUSALS = frozenset({400, 413, 415, 422})


class RemoteError(Exception):
    """The remote did not answer, or not as a server of the protocol does."""


class Described(NamedTuple):
    """What the remote says of its model."""

    name: str
    version: str
    spec: TensorSpec
    binary: bool


class Answered(NamedTuple):
    """The remote's outputs, and which version gave them."""

    specs: tuple[TensorSpec, ...]
    arrays: list[Array]
    version: str


class _Tensor(msgspec.Struct):
    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Any] = {}
    data: list[Any] | None = None


class _Metadata(msgspec.Struct):
    name: str
    inputs: list[_Tensor]
    versions: list[str] = []


class _Server(msgspec.Struct):
    extensions: list[str] = []


class _Outputs(msgspec.Struct):
    outputs: list[_Tensor]
    model_version: str = ""


class OipClient:
    """Asks one model of one server."""

    def __init__(self, endpoint: Endpoint, model: str, version: str) -> None:
        self._base = endpoint.url.rstrip("/").removesuffix("/v2")
        self._path = f"/v2/models/{quote(model, safe='')}"
        if version:
            self._path += f"/versions/{quote(version, safe='')}"
        self._web = Web(endpoint)
        self._described: Described | None = None

    def infer(self, value: Value, timeout_s: float) -> Answered:
        """Ask for an answer.

        Raises:
            RemoteError: There is none; another time there may be.
            PipelineError: The reading does not fit the model.
        """
        try:
            described = self._described or self._describe(timeout_s)
            self._described = described
            array = fit_to_input(value, described.spec)
            body, json_length = encode(array, described)
            headers = {"Content-Type": "application/json"}
            if json_length is not None:
                headers = {
                    "Content-Type": "application/octet-stream",
                    _JSON_LENGTH: str(json_length),
                }
            reply = self._web.request(
                "POST", f"{self._base}{self._path}/infer", body, headers, timeout_s
            )
            _check(reply)
            return decode(reply.body, reply.headers.get(_JSON_LENGTH))
        except (OSError, msgspec.DecodeError, ProtocolError, ValueError) as exc:
            self._described = None
            if isinstance(exc, PipelineError):
                raise
            raise RemoteError(str(exc)) from exc
        except RemoteError:
            self._described = None
            raise

    def close(self) -> None:
        """Close the connections."""
        self._web.close()

    def _describe(self, timeout_s: float) -> Described:
        metadata = self._get(self._path, _Metadata, timeout_s)
        server = self._get("/v2", _Server, timeout_s)
        if len(metadata.inputs) != 1:
            raise RemoteError(f"the remote model has {len(metadata.inputs)} inputs, not one")
        tensor = metadata.inputs[0]
        if tensor.datatype not in NUMPY_TYPES:
            raise RemoteError(f"the remote model takes '{tensor.datatype[:40]}'")
        return Described(
            metadata.name,
            metadata.versions[-1] if metadata.versions else "",
            TensorSpec(name=tensor.name, datatype=tensor.datatype, shape=tuple(tensor.shape)),
            "binary_tensor_data" in server.extensions,
        )

    def _get(self, path: str, kind: type[Any], timeout_s: float) -> Any:
        reply = self._web.request("GET", self._base + path, None, {}, timeout_s)
        if reply.status != 200:
            text = reply.body[:300].decode("utf-8", "replace")
            raise RemoteError(f"the remote answered {reply.status} at '{path}': {text}")
        return msgspec.json.decode(reply.body, type=kind)


def encode(array: Array, described: Described) -> tuple[bytes, int | None]:
    """Return a request's body, and the length of its JSON where raw bytes follow."""
    spec = described.spec
    tensor: dict[str, Any] = {
        "name": spec.name,
        "datatype": spec.datatype,
        "shape": list(array.shape),
    }
    if not described.binary:
        tensor["data"] = array.reshape(-1).tolist()
        return msgspec.json.encode({"inputs": [tensor]}), None
    raw = array_to_bytes(spec.datatype, array)
    tensor["parameters"] = {"binary_data_size": len(raw)}
    head = msgspec.json.encode({"inputs": [tensor], "parameters": {"binary_data_output": True}})
    return b"".join([head, raw]), len(head)


def decode(body: bytes, json_length: str | None) -> Answered:
    """Read an answer; what it declares is compared with what is there.

    Raises:
        ProtocolError, msgspec.DecodeError, ValueError: It breaks the protocol.
    """
    at = len(body) if json_length is None else int(json_length)
    found = msgspec.json.decode(body[:at], type=_Outputs)
    specs, arrays = [], []
    rest = memoryview(body)[at:]
    for tensor in found.outputs:
        if tensor.datatype not in NUMPY_TYPES or len(tensor.shape) > MAX_RANK:
            raise ProtocolError(f"output '{tensor.name[:80]}' is of no known type")
        shape = tuple(tensor.shape)
        if any(size < 0 for size in shape):
            raise ProtocolError(f"output '{tensor.name[:80]}' has an impossible shape")
        size = tensor.parameters.get("binary_data_size")
        if size is None:
            array = _from_json(tensor, shape)
        else:
            raw, rest = rest[: int(size)], rest[int(size) :]
            array = array_from_bytes(tensor.name, tensor.datatype, shape, raw)
        specs.append(TensorSpec(name=tensor.name, datatype=tensor.datatype, shape=shape))
        arrays.append(array)
    return Answered(tuple(specs), arrays, found.model_version)


def _from_json(tensor: _Tensor, shape: tuple[int, ...]) -> Array:
    data = [math.nan if one is None else one for one in tensor.data or []]
    array = np.array(data, dtype=NUMPY_TYPES[tensor.datatype])
    if array.size != math.prod(shape):
        raise ProtocolError(f"output '{tensor.name[:80]}' has {array.size} values")
    return array.reshape(shape)


def _check(reply: Reply) -> None:
    if reply.status == 200:
        return
    text = reply.body[:300].decode("utf-8", "replace")
    if reply.status in _REFUSALS:
        raise PipelineError(f"the remote refuses the reading: {reply.status} {text}")
    raise RemoteError(f"the remote answered {reply.status}: {text}")

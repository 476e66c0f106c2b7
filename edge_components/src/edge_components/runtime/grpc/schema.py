"""The messages of ``inference.GRPCInferenceService``, built from a table of names and numbers.

No generated code and no compiler: the table below is read once at import. Names, types and field
numbers are those of the Open Inference Protocol (``open_inference_grpc.proto``); the repository
and statistics messages are those of Triton's extensions. The descriptors live in a pool of their
own, so another copy of the protocol in the same process does not get in the way.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

__all__ = ["MESSAGES", "METHODS", "SERVICE", "DecodeError"]

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"

# One field is "name number type"; "*type" is repeated, "%type" a map from string.
_TENSOR_METADATA = "name 1 string, datatype 2 string, shape 3 *int64"
_TENSOR = (
    "name 1 string, datatype 2 string, shape 3 *int64, "
    "parameters 4 %InferParameter, contents 5 InferTensorContents"
)
_NAME_VERSION = "name 1 string, version 2 string"
_REPOSITORY_MODEL = (
    "repository_name 1 string, model_name 2 string, parameters 3 %ModelRepositoryParameter"
)
_COMPUTE = (
    "compute_input {0} StatisticDuration, compute_infer {1} StatisticDuration, "
    "compute_output {2} StatisticDuration"
)
_TABLE = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "live 1 bool",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "ready 1 bool",
    "ModelReadyRequest": _NAME_VERSION,
    "ModelReadyResponse": "ready 1 bool",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": "name 1 string, version 2 string, extensions 3 *string",
    "ModelMetadataRequest": _NAME_VERSION,
    "ModelMetadataResponse.TensorMetadata": _TENSOR_METADATA,
    "ModelMetadataResponse": (
        "name 1 string, versions 2 *string, platform 3 string, "
        "inputs 4 *ModelMetadataResponse.TensorMetadata, "
        "outputs 5 *ModelMetadataResponse.TensorMetadata, properties 6 %string"
    ),
    "InferParameter": (
        "bool_param 1 bool, int64_param 2 int64, string_param 3 string, "
        "double_param 4 double, uint64_param 5 uint64"
    ),
    "InferTensorContents": (
        "bool_contents 1 *bool, int_contents 2 *int32, int64_contents 3 *int64, "
        "uint_contents 4 *uint32, uint64_contents 5 *uint64, fp32_contents 6 *float, "
        "fp64_contents 7 *double, bytes_contents 8 *bytes"
    ),
    "ModelInferRequest.InferInputTensor": _TENSOR,
    "ModelInferRequest.InferRequestedOutputTensor": "name 1 string, parameters 2 %InferParameter",
    "ModelInferRequest": (
        "model_name 1 string, model_version 2 string, id 3 string, parameters 4 %InferParameter, "
        "inputs 5 *ModelInferRequest.InferInputTensor, "
        "outputs 6 *ModelInferRequest.InferRequestedOutputTensor, raw_input_contents 7 *bytes"
    ),
    "ModelInferResponse.InferOutputTensor": _TENSOR,
    "ModelInferResponse": (
        "model_name 1 string, model_version 2 string, id 3 string, parameters 4 %InferParameter, "
        "outputs 5 *ModelInferResponse.InferOutputTensor, raw_output_contents 6 *bytes"
    ),
    "ModelRepositoryParameter": (
        "bool_param 1 bool, int64_param 2 int64, string_param 3 string, bytes_param 4 bytes"
    ),
    "RepositoryIndexRequest": "repository_name 1 string, ready 2 bool",
    "RepositoryIndexResponse.ModelIndex": (
        "name 1 string, version 2 string, state 3 string, reason 4 string"
    ),
    "RepositoryIndexResponse": "models 1 *RepositoryIndexResponse.ModelIndex",
    "RepositoryModelLoadRequest": _REPOSITORY_MODEL,
    "RepositoryModelLoadResponse": "",
    "RepositoryModelUnloadRequest": _REPOSITORY_MODEL,
    "RepositoryModelUnloadResponse": "",
    "StatisticDuration": "count 1 uint64, ns 2 uint64",
    "InferStatistics": (
        "success 1 StatisticDuration, fail 2 StatisticDuration, queue 3 StatisticDuration, "
        f"{_COMPUTE.format(4, 5, 6)}, cache_hit 7 StatisticDuration, cache_miss 8 StatisticDuration"
    ),
    "InferBatchStatistics": f"batch_size 1 uint64, {_COMPUTE.format(2, 3, 4)}",
    "ModelStatistics": (
        "name 1 string, version 2 string, last_inference 3 uint64, inference_count 4 uint64, "
        "execution_count 5 uint64, inference_stats 6 InferStatistics, "
        "batch_stats 7 *InferBatchStatistics"
    ),
    "ModelStatisticsRequest": _NAME_VERSION,
    "ModelStatisticsResponse": "model_stats 1 *ModelStatistics",
}
# Messages whose fields are one choice.
_ONEOFS = ("InferParameter", "ModelRepositoryParameter")
METHODS = (
    *("ServerLive", "ServerReady", "ServerMetadata"),
    *("ModelReady", "ModelMetadata", "ModelInfer", "ModelStatistics"),
    *("RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload"),
)
_Field = descriptor_pb2.FieldDescriptorProto


def _messages() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="edge_components/inference.proto", package=PACKAGE, syntax="proto3"
    )
    found: dict[str, Any] = {}
    for name in sorted(_TABLE, key=lambda name: name.count(".")):
        outer, _, inner = name.rpartition(".")
        holder = found[outer].nested_type if outer else file.message_type
        found[name] = holder.add(name=inner)
    for name, message in found.items():
        if name in _ONEOFS:
            message.oneof_decl.add(name="parameter_choice")
        for text in filter(None, _TABLE[name].split(", ")):
            _add_field(message, name, *text.split(" "))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
        for name in found
    }


def _add_field(message: Any, owner: str, name: str, number: str, kind: str) -> None:
    field = message.field.add(name=name, number=int(number), label=_Field.LABEL_OPTIONAL)
    if owner in _ONEOFS:
        field.oneof_index = 0
    if kind[0] in "*%":
        field.label = _Field.LABEL_REPEATED
    if kind[0] != "%":
        _set_type(field, kind.lstrip("*"))
        return
    entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
    entry.options.map_entry = True
    _set_type(entry.field.add(name="key", number=1, label=_Field.LABEL_OPTIONAL), "string")
    _set_type(entry.field.add(name="value", number=2, label=_Field.LABEL_OPTIONAL), kind[1:])
    _set_type(field, f"{owner}.{entry.name}")


def _set_type(field: Any, kind: str) -> None:
    if kind[0].isupper():
        field.type = _Field.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{kind}"
    else:
        field.type = _Field.Type.Value(f"TYPE_{kind.upper()}")


MESSAGES = _messages()

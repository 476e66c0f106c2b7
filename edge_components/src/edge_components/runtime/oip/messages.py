"""What an inference request and its answer are, once the transport is taken away.

HTTP and gRPC decode into ``InferRequest`` and encode from ``InferResponse``; nothing between them
knows which of the two it serves.
"""

from __future__ import annotations

import msgspec

from edge_components.contract.package import TensorSpec
from edge_components.runtime.oip.datatypes import Array

Parameter = str | int | float | bool


class ProtocolError(ValueError):
    """A request breaks the protocol or does not fit the model; the message is for the client."""


class DecodeLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much one request may ask for."""

    max_tensors: int = 256
    max_name_chars: int = 1024
    max_id_chars: int = 4096
    max_elements: int = 1 << 28


class RequestedOutput(msgspec.Struct, frozen=True):
    """An output the client asks for; ``binary`` where it wants raw bytes."""

    name: str
    binary: bool = False


class InferRequest(msgspec.Struct):
    """A decoded request.

    Attributes:
        inputs: Arrays by input name, complete and of the model's types and shapes.
        outputs: What is asked for, in order; None for all outputs.
        binary_outputs: Whether outputs are raw bytes where nothing else is said.
        id: The client's identifier, or None.
    """

    inputs: dict[str, Array]
    outputs: list[RequestedOutput] | None = None
    binary_outputs: bool = False
    id: str | None = None


class InferResponse(msgspec.Struct):
    """The model's answer: arrays in the order of ``specs``."""

    model_name: str
    model_version: str
    specs: tuple[TensorSpec, ...]
    arrays: list[Array]
    binary: list[bool] | None = None
    id: str | None = None

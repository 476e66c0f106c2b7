"""Whether what a client sends fits the model, and the sentence that says why not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from edge_components.contract.package import TensorSpec
from edge_components.runtime.oip.datatypes import MAX_RANK, NUMPY_TYPES
from edge_components.runtime.oip.messages import DecodeLimits, ProtocolError


def check_input(
    specs: Mapping[str, TensorSpec],
    name: str,
    datatype: str,
    shape: Sequence[int],
    limits: DecodeLimits,
) -> tuple[int, ...]:
    """Return the input's shape if the model takes an input of this name, type and shape.

    Raises:
        ProtocolError: With the input, what was expected and what was found.
    """
    spec = specs.get(name)
    if spec is None:
        raise ProtocolError(f"unknown input '{name[:200]}', the model has {_names(specs)}")
    if datatype != spec.datatype:
        if datatype not in NUMPY_TYPES:
            raise ProtocolError(f"input '{name}' has the unknown datatype '{datatype[:40]}'")
        raise ProtocolError(
            f"input '{name}' has datatype {datatype}, the model expects {spec.datatype}"
        )
    found = tuple(shape)
    wanted = spec.shape
    if len(found) != len(wanted) or len(found) > MAX_RANK:
        raise _shape_error(name, found, wanted)
    for have, want in zip(found, wanted, strict=True):
        if (have != want and want >= 0) or have < 0:
            raise _shape_error(name, found, wanted)
    # Without its zeros, because numpy refuses an empty array of 2**62 columns.
    if math.prod(dim for dim in found if dim) > limits.max_elements:
        raise ProtocolError(
            f"input '{name}' asks for more than {limits.max_elements} elements: {list(found)}"
        )
    return found


def check_complete(given: dict[str, object], wanted: Iterable[str]) -> None:
    """Check that every input of the model was given.

    Raises:
        ProtocolError: With the inputs that are missing.
    """
    missing = [name for name in wanted if name not in given]
    if missing:
        raise ProtocolError(f"the request has no input {_names(missing)}")


def unknown_output(name: str, known: Iterable[str]) -> ProtocolError:
    """Return the error for an output that the model does not have."""
    return ProtocolError(f"unknown output '{name[:200]}', the model has {_names(known)}")


def _shape_error(name: str, found: tuple[int, ...], wanted: tuple[int, ...]) -> ProtocolError:
    return ProtocolError(
        f"input '{name}' has shape {list(found)[: MAX_RANK + 1]}, the model expects {list(wanted)}"
    )


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"

"""Large gRPC messages, whose raw tensors are not copied, are what protobuf's parser finds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_components.runtime.grpc.large import LARGE, LargeRequest, parse_request
from edge_components.runtime.grpc.schema import MESSAGES, DecodeError

Request = MESSAGES["ModelInferRequest"]


def message(raws: list[bytes]) -> Any:
    found = Request(model_name="m", model_version="3", id="one")
    for index, raw in enumerate(raws):
        found.inputs.add(name=f"in{index}", datatype="UINT8", shape=[1, len(raw)])
        found.raw_input_contents.append(raw)
    found.parameters["p"].int64_param = -1
    found.outputs.add(name="out")
    return found


def outcome(data: bytes) -> Any:
    """What protobuf finds in the bytes: raw contents and all else, or None for no message."""
    try:
        found = Request.FromString(data)
    except DecodeError:
        return None
    raws = list(found.raw_input_contents)
    del found.raw_input_contents[:]
    return raws, found.SerializeToString(deterministic=True)


def ours(data: bytes) -> Any:
    try:
        found = parse_request(data)
    except DecodeError:
        return None
    if not isinstance(found, LargeRequest):
        return outcome(data)
    assert found.ByteSize() == len(data)
    rest = found._message
    raws = [bytes(raw) for raw in found.raw_input_contents]
    return raws, rest.SerializeToString(deterministic=True)


@pytest.mark.parametrize("sizes", [[LARGE], [1, LARGE, 0], [LARGE + 5, LARGE]])
def test_raw_contents_are_views_of_what_came(sizes: list[int]) -> None:
    data = message([bytes([n + 1]) * size for n, size in enumerate(sizes)]).SerializeToString()
    found = parse_request(data)
    assert isinstance(found, LargeRequest)
    assert all(raw.obj is data for raw in found.raw_input_contents)
    assert [bytes(raw) for raw in found.raw_input_contents] == [
        bytes([n + 1]) * size for n, size in enumerate(sizes)
    ]
    assert (found.model_name, found.id, found.outputs[0].name) == ("m", "one", "out")
    assert ours(data) == outcome(data)


@settings(max_examples=300, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 200), max_size=3),
    changes=st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), max_size=4),
    kept=st.integers(0, 700),
    padding=st.booleans(),
)
def test_broken_messages_are_what_protobuf_finds_them_to_be(
    sizes: list[int], changes: list[tuple[int, int]], kept: int, padding: bool
) -> None:
    data = bytearray(message([b"r" * size for size in sizes]).SerializeToString())
    for at, value in changes:
        if at < len(data):
            data[at] = value
    broken = bytes(data[:kept])
    raw = b"\x3a\x80\x80\x04"
    large = raw + bytes(LARGE)  # field 7 with LARGE bytes: long enough for the way that cuts
    whole = large + broken if padding else broken + large
    assert ours(whole) == outcome(whole)

"""Deltas between models: what is made of the old file is the new one, or it is refused."""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edge_components.contract.delta import parse_delta
from edge_components.contract.errors import ContractError
from edge_components.delta.apply import DeltaError, apply_delta
from edgectl.delta.make import make_delta
from edgectl.delta.regions import find_regions

Arrays = dict[str, Any]
TYPES = ["float32", "float16", "float64", "int8", "uint8", "int32", "int64"]


def model(path: Path, arrays: Arrays, *, producer: str = "") -> Path:
    """Write a model that holds the arrays as its initializers, in their order."""
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    answer = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [value],
        [answer],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    path.write_bytes(helper.make_model(graph, producer_name=producer).SerializeToString())
    return path


def made(old: Path, delta: bytes) -> bytes:
    found = io.BytesIO()
    apply_delta(old, io.BytesIO(delta), found.write)
    return found.getvalue()


def delta_of(old: Path, new: Path) -> bytes:
    out = io.BytesIO()
    assert make_delta(old, new, out) == len(out.getvalue())
    return out.getvalue()


def weights(dtype: str, count: int = 60_000, seed: int = 1) -> Any:
    rng = np.random.default_rng(seed)
    if dtype.startswith("float"):
        return (rng.standard_normal(count) * 0.05).astype(dtype)
    return rng.integers(0, 100, count).astype(dtype)


def all_a_little(array: Any) -> Any:
    rng = np.random.default_rng(2)
    if array.dtype.kind == "f":
        return (array + rng.standard_normal(array.shape) * 1e-4).astype(array.dtype)
    return (array + rng.integers(0, 2, array.shape)).astype(array.dtype)


def few(array: Any) -> Any:
    found = array.copy()
    found[np.random.default_rng(3).random(array.shape) < 0.01] += 1
    return found


def none(array: Any) -> Any:
    return array


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("change", [all_a_little, few, none])
def test_what_a_delta_makes_is_the_new_file(
    tmp_path: Path, dtype: str, change: Callable[[Any], Any]
) -> None:
    before = {"a": weights(dtype), "b": weights(dtype, seed=7)}
    old = model(tmp_path / "old", before)
    new = model(tmp_path / "new", {"a": change(before["a"]), "b": before["b"]}, producer="later")
    delta = delta_of(old, new)
    assert made(old, delta) == new.read_bytes()
    assert len(delta) < new.stat().st_size / 2
    if change is none:
        assert len(delta) < 1000


@pytest.mark.parametrize("special", [0.0, -0.0, np.nan, -np.nan, np.inf, -np.inf, 1e-45])
def test_floats_that_are_no_ordinary_numbers_keep_their_bits(
    tmp_path: Path, special: float
) -> None:
    before, after = weights("float32"), weights("float32")
    before[::3] = special
    after[1::3] = special
    old, new = model(tmp_path / "old", {"a": before}), model(tmp_path / "new", {"a": after})
    assert made(old, delta_of(old, new)) == new.read_bytes()


def test_tensors_are_found_wherever_they_lie(tmp_path: Path) -> None:
    a, b = weights("float32"), weights("float32", seed=9)
    old = model(tmp_path / "old", {"a": a, "b": b})
    new = model(tmp_path / "new", {"b": b, "more": weights("int8", 100), "a": a}, producer="x" * 99)
    delta = delta_of(old, new)
    assert made(old, delta) == new.read_bytes()
    assert len(delta) < 1500


def test_a_tensor_of_another_shape_is_packed_as_it_is(tmp_path: Path) -> None:
    old = model(tmp_path / "old", {"a": weights("float32", 1000)})
    new = model(tmp_path / "new", {"a": weights("float32", 999)})
    assert made(old, delta_of(old, new)) == new.read_bytes()


@pytest.mark.parametrize("content", [b"", b"x", b"no model at all" * 1000, b"\x3a\xff\xff\xff"])
def test_a_file_that_is_no_model_is_made_too(tmp_path: Path, content: bytes) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(content)
    new.write_bytes(content + b"!")
    assert made(old, delta_of(old, new)) == new.read_bytes()
    assert find_regions(old) == []


def test_a_float_model_that_moved_everywhere_takes_less_than_its_compressed_whole(
    tmp_path: Path,
) -> None:
    before = weights("float32", 500_000)
    old = model(tmp_path / "old", {"a": before})
    new = model(tmp_path / "new", {"a": all_a_little(before)})
    assert len(delta_of(old, new)) < 0.65 * new.stat().st_size


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    old=st.lists(st.binary(max_size=40), max_size=4),
    new=st.lists(st.binary(max_size=40), max_size=4),
    dtype=st.sampled_from(TYPES),
)
def test_any_two_models_have_a_delta(
    tmp_path: Path, old: list[bytes], new: list[bytes], dtype: str
) -> None:
    def arrays(given_: list[bytes]) -> Arrays:
        width = np.dtype(dtype).itemsize
        return {
            f"t{n}": np.frombuffer(data[: len(data) // width * width], dtype)
            for n, data in enumerate(given_)
        }

    before = model(tmp_path / "old", arrays(old))
    after = model(tmp_path / "new", arrays(new))
    assert made(before, delta_of(before, after)) == after.read_bytes()


# -- what is refused


@pytest.fixture
def case(tmp_path: Path) -> tuple[Path, Path, bytes]:
    before = {"a": weights("float32"), "b": weights("int8")}
    old = model(tmp_path / "old", before)
    after = {"a": all_a_little(before["a"]), "b": few(before["b"])}
    new = model(tmp_path / "new", after, producer="new")
    return old, new, delta_of(old, new)


def test_another_old_file_is_refused(case: tuple[Path, Path, bytes], tmp_path: Path) -> None:
    _, new, delta = case
    with pytest.raises(DeltaError, match="another old file"):
        made(new, delta)


def test_a_delta_that_was_cut_is_refused(case: tuple[Path, Path, bytes]) -> None:
    old, _, delta = case
    for end in (0, 5, delta.index(b"\n"), delta.index(b"\n") + 1, len(delta) // 2, len(delta) - 1):
        with pytest.raises(DeltaError):
            made(old, delta[:end])


def test_a_delta_with_a_changed_byte_never_makes_another_file(
    case: tuple[Path, Path, bytes],
) -> None:
    old, new, delta = case
    chance = random.Random(5)
    refused = 0
    for _ in range(150):
        broken = bytearray(delta)
        # Half of the changes in the document, which is the smaller part.
        end = chance.choice([delta.index(b"\n") + 1, len(delta)])
        broken[chance.randrange(end)] = chance.randrange(256)
        try:
            assert made(old, bytes(broken)) == new.read_bytes()
        except DeltaError:
            refused += 1
    assert refused > 100


def change(delta: bytes, **changes: Any) -> bytes:
    head, _, rest = delta.partition(b"\n")
    document = json.loads(head)
    piece = next(one for one in document["pieces"] if one["type"] == "diff")
    for key, value in changes.items():
        target = document if key in document else piece
        target[key] = value
    return json.dumps(document).encode() + b"\n" + rest


@pytest.mark.parametrize(
    "changes",
    [
        {"at": -1},
        {"at": 10**15},
        {"size": 0},
        {"width": 3},
        {"width": 8},
        {"kind": "complex"},
        {"streams": []},
        {"format": "edgectl.delta/v2"},
        {"more": 1},
        {"new": "sha256:" + "0" * 64},
        {"new": "sha256:" + "x" * 64},
        {"old": ""},
    ],
)
def test_a_document_that_breaks_a_rule_is_refused(
    case: tuple[Path, Path, bytes], changes: dict[str, Any]
) -> None:
    old, _, delta = case
    with pytest.raises(DeltaError):
        made(old, change(delta, **changes))


def test_a_stream_that_unpacks_to_more_than_its_piece_is_refused(tmp_path: Path) -> None:
    bomb = lzma.compress(bytes(64 << 20))
    (tmp_path / "old").write_bytes(b"old")
    digest = hashlib.sha256(b"old").hexdigest()
    document = {
        "format": "edgectl.delta/v1",
        "old": f"sha256:{digest}",
        "new": f"sha256:{digest}",
        "size": 10,
        "pieces": [{"type": "data", "size": 10, "stream": ["lzma", len(bomb)]}],
    }
    with pytest.raises(DeltaError, match="does not hold what its piece needs"):
        made(tmp_path / "old", json.dumps(document).encode() + b"\n" + bomb)


@pytest.mark.parametrize("line", [b"", b"{}", b"[]", b"null", b"[" * 100_000, b"\xff"])
def test_what_is_no_document_is_refused(line: bytes) -> None:
    with pytest.raises(ContractError):
        parse_delta(line)


def test_the_program_makes_the_file_or_leaves_none(
    case: tuple[Path, Path, bytes], tmp_path: Path
) -> None:
    old, new, delta = case
    (tmp_path / "delta").write_bytes(delta)
    command = [sys.executable, "-m", "edge_components.delta.apply"]
    arguments = [old, tmp_path / "delta", tmp_path / "made"]
    subprocess.run([*command, *arguments], check=True, timeout=60)
    assert (tmp_path / "made").read_bytes() == new.read_bytes()
    (tmp_path / "delta").write_bytes(delta[:-1])
    done = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (1, "a file ends too early\n")
    assert not (tmp_path / "made").exists()

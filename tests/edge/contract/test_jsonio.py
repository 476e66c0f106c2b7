"""Reading JSON that may come from an attacker: depth, memory, and keys that stand twice."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_components.contract.digest import sha256_digest
from edge_components.contract.errors import ContractError
from edge_components.contract.jsonio import decode_json, json_depth
from edge_components.contract.package import (
    ARTIFACT_TYPE,
    CONFIG_TYPE,
    FILEPATH,
    MANIFEST_TYPE,
    WEIGHT_TYPE,
    parse_manifest,
)
from edge_components.contract.release import ReleaseDocument, parse_release

MEASURE = """
import resource
from edge_components.contract.jsonio import json_depth
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
json_depth(b'"' + {unit} * (4 << 20) + b'"')
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
FIRST_MEETINGS = """
import sys, threading
import msgspec
from edge_components.contract.jsonio import decode_json
sys.setswitchinterval(1e-6)
met = []
for _ in range(200):
    inner = msgspec.defstruct("Inner", [(f"f{i}", int | None, None) for i in range(30)])
    kind = msgspec.defstruct("Kind", [(f"g{i}", list[inner] | None, None) for i in range(30)])
    together = threading.Barrier(4)
    def meet():
        together.wait()
        met.append(decode_json(b'{"g1":[{"f1":3}]}', kind, what="it", max_bytes=99).g1[0].f1)
    threads = [threading.Thread(target=meet) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
print(len(met), set(met))
"""
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=20,
)


def depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


@given(VALUES, st.booleans())
def test_the_depth_is_that_of_the_parsed_document(value: object, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert json_depth(text.encode("utf-8", "surrogatepass")) == depth(value)


@pytest.mark.parametrize("unit", ["b'a'", r"b'\\n'"])
def test_a_long_string_takes_no_memory_beside_the_document(unit: str) -> None:
    measure = MEASURE.format(unit=unit)
    command = [sys.executable, "-c", measure]
    grown = int(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    scale = 1024 if sys.platform == "darwin" else 1
    assert grown / scale < 32 << 10, "KiB for a document of 4 or 8 MiB"


@pytest.mark.parametrize("text", ['"', '"\\', '"\\"', '{"a": "b'])
def test_a_string_that_does_not_end_is_refused(text: str) -> None:
    with pytest.raises(ContractError, match="does not end"):
        json_depth(text.encode())


@pytest.mark.parametrize(
    "text", ['{"a": 1, "a": 2}', '{"a": 1, "\\u0061": 2}', '{"x": [{"b": {}, "b": []}]}']
)
def test_a_repeated_key_is_refused_where_keys_must_be_unique(text: str) -> None:
    with pytest.raises(ContractError, match=r"repeats a key: '[ab]'") as refused:
        decode_json(text.encode(), dict, what="it", max_bytes=100, unique_keys=True)
    assert refused.value.code == "bad-json"


def test_equal_keys_of_different_objects_are_fine() -> None:
    data = b'{"a": {"a": 1}, "b": [{"a": 1}, {"a": 1.5e9}]}'
    assert decode_json(data, dict, what="it", max_bytes=100, unique_keys=True)


def test_a_release_that_names_two_packages_is_refused() -> None:
    package = "sha256:" + "a" * 64
    release = ReleaseDocument(application="a", number=1, version="1", package=package)
    double = b'{"package":"sha256:%b",%b' % (b"b" * 64, release.to_bytes()[1:])
    with pytest.raises(ContractError, match="repeats a key"):
        parse_release(double)
    assert parse_release(release.to_bytes()) == release


def test_a_manifest_with_two_lists_of_layers_is_refused() -> None:
    digest = "sha256:" + "a" * 64
    layer = {"mediaType": WEIGHT_TYPE, "digest": digest, "size": 1, "annotations": {FILEPATH: "m"}}
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": ARTIFACT_TYPE,
        "config": {"mediaType": CONFIG_TYPE, "digest": digest, "size": 1},
        "layers": [layer],
    }
    plain = json.dumps(manifest).encode()
    assert parse_manifest(plain, digest=sha256_digest(plain)).layers
    double = b'{"layers": [], ' + plain[1:]
    with pytest.raises(ContractError, match="repeats a key"):
        parse_manifest(double, digest=sha256_digest(double))


def test_threads_that_meet_a_type_at_the_same_moment_all_read_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FIRST_MEETINGS], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "800 {3}"), done.stderr

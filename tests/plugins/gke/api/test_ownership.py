"""Ownership of fields as a calculation: sets, merging, giving up; with arbitrary objects."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgectl_gke_edge.emulator.kube import ownership, patches, quantities
from edgectl_gke_edge.emulator.kube.errors import StatusError
from edgectl_gke_edge.emulator.kube.fieldsets import (
    Item,
    Member,
    Name,
    from_fields_v1,
    to_fields_v1,
    told,
)
from edgectl_gke_edge.emulator.kube.kinds import kind_of
from edgectl_gke_edge.emulator.kube.ownership import Manager
from edgectl_gke_edge.emulator.kube.schema import schema_of
from edgectl_gke_edge.emulator.kube.structured import (
    ABSENT,
    StructureError,
    compare,
    field_set,
    merge,
)

DEPLOYMENT = schema_of(kind_of("apps", "deployments"))
A, B = Manager("a", "Apply", "apps/v1"), Manager("b", "Apply", "apps/v1")

words = st.sampled_from(["a", "b", "c"])
elements = st.one_of(
    st.builds(Name, st.sampled_from(["x", "y.z/w", "."])),
    st.builds(lambda v: Item((("name", v),)), words),
    st.builds(Member, words),
)
paths = st.lists(elements, min_size=1, max_size=4).map(tuple)
containers = st.lists(
    st.fixed_dictionaries(
        {"name": words},
        optional={
            "image": words,
            "env": st.lists(
                st.fixed_dictionaries({"name": words}, optional={"value": words}),
                unique_by=lambda e: e["name"],
            ),
            "args": st.lists(words),
        },
    ),
    unique_by=lambda c: c["name"],
)
deployments = st.fixed_dictionaries(
    {"metadata": st.fixed_dictionaries({}, optional={"labels": st.dictionaries(words, words)})},
    optional={
        "spec": st.fixed_dictionaries(
            {},
            optional={
                "replicas": st.integers(0, 3),
                "template": st.fixed_dictionaries(
                    {"spec": st.fixed_dictionaries({"containers": containers})}
                ),
            },
        )
    },
)


def apply(
    live: dict[str, Any], wanted: dict[str, Any], manager: Manager, *, force: bool = True
) -> Any:
    merged, owned = ownership.after_apply(
        live, wanted, DEPLOYMENT, manager, reset="status", force=force
    )
    entries = ownership.write_owned(owned, [], "now")
    return {**merged, "metadata": {**merged.get("metadata", {}), "managedFields": entries}}


def content(obj: Any) -> Any:
    """Return an object without ownership and without what is empty."""
    if isinstance(obj, dict):
        found = {k: content(v) for k, v in obj.items() if k != "managedFields"}
        return {k: v for k, v in found.items() if v not in ({}, [])}
    if isinstance(obj, list):
        return [content(v) for v in obj]
    return obj


@given(st.frozensets(paths))
def test_stored_fields_are_read_back_as_they_were(fields: frozenset[Any]) -> None:
    assert from_fields_v1(to_fields_v1(fields)) == fields


def test_paths_are_told_as_conflicts_tell_them() -> None:
    path = (Name("spec"), Name("ports"), Item((("port", 80), ("protocol", "TCP"))), Member("x"))
    assert told(path) == '.spec.ports[port=80,protocol="TCP"][="x"]'


@settings(max_examples=40)  # each is a whole document
@given(deployments, deployments)
def test_applying_again_changes_nothing(first: dict[str, Any], second: dict[str, Any]) -> None:
    once = apply(apply({}, first, A), second, B)
    assert apply(once, second, B) == once


@settings(max_examples=40)  # each is a whole document
@given(deployments)
def test_who_applies_nothing_gives_everything_up(wanted: dict[str, Any]) -> None:
    live = apply({}, wanted, A)
    assert content(apply(live, {"metadata": {}}, A)) == {}


@settings(max_examples=40)  # each is a whole document
@given(deployments, deployments)
def test_one_manager_alone_has_what_he_applied_last(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    found = content(apply(apply({}, first, A), second, A))
    assert found == content(apply({}, second, A))


@settings(max_examples=40)  # each is a whole document
@given(deployments, deployments)
def test_what_is_taken_by_force_belongs_to_the_taker_alone(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    live = apply(apply({}, first, A), second, B)
    owned = ownership.read_owned(live["metadata"]["managedFields"])
    change = compare(apply({}, first, A), live, DEPLOYMENT)
    taken = owned.get(B, frozenset()) & (change.modified | change.added)
    assert not taken & owned.get(A, frozenset())


@settings(max_examples=40)  # each is a whole document
@given(deployments, deployments)
def test_there_is_a_conflict_exactly_where_another_would_lose_something(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    live = apply({}, first, A)
    forced = apply(live, second, B)
    before = ownership.read_owned(live["metadata"]["managedFields"]).get(A, frozenset())
    after = ownership.read_owned(forced["metadata"]["managedFields"]).get(A, frozenset())
    if before == after:
        apply(live, second, B, force=False)
    else:
        with pytest.raises(StatusError, match="Apply failed with"):
            apply(live, second, B, force=False)


@settings(max_examples=40)  # each is a whole document
@given(deployments, deployments)
def test_merging_twice_is_merging_once(first: dict[str, Any], second: dict[str, Any]) -> None:
    merged = merge(first, second, DEPLOYMENT)
    assert merge(merged, second, DEPLOYMENT) == merged


def test_a_list_without_its_keys_cannot_be_applied() -> None:
    spec = {"template": {"spec": {"containers": [{"image": "a"}]}}}
    with pytest.raises(StructureError, match="name"):
        field_set({"metadata": {}, "spec": spec}, DEPLOYMENT)


def test_something_compared_with_nothing_is_added() -> None:
    assert compare(ABSENT, {"spec": {"replicas": 1}}, DEPLOYMENT).added == {
        (),
        (Name("spec"),),
        (Name("spec"), Name("replicas")),
    }


# Patches and quantities


@pytest.mark.parametrize(
    ("before", "patch", "after"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patches_do_what_the_rfcs_examples_do(before: Any, patch: Any, after: Any) -> None:
    assert patches.merge_patch(before, patch) == after


@pytest.mark.parametrize(
    ("operation", "after"),
    [
        ({"op": "add", "path": "/b", "value": 2}, {"a": [1], "b": 2}),
        ({"op": "add", "path": "/a/0", "value": 0}, {"a": [0, 1]}),
        ({"op": "add", "path": "/a/-", "value": 2}, {"a": [1, 2]}),
        ({"op": "replace", "path": "/a", "value": 5}, {"a": 5}),
        ({"op": "remove", "path": "/a/0"}, {"a": []}),
        ({"op": "move", "from": "/a", "path": "/b"}, {"b": [1]}),
        ({"op": "copy", "from": "/a", "path": "/b~1c"}, {"a": [1], "b/c": [1]}),
        ({"op": "test", "path": "/a", "value": [1]}, {"a": [1]}),
    ],
)
def test_json_patches_do_what_each_operation_says(
    operation: dict[str, Any], after: dict[str, Any]
) -> None:
    assert patches.json_patch({"a": [1]}, [operation]) == after


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/none"},
        {"op": "replace", "path": "/a/7", "value": 1},
        {"op": "test", "path": "/a", "value": []},
        {"op": "add", "path": "no-pointer", "value": 1},
        {"op": "add", "path": "/a"},
        {"op": "leap", "path": "/a"},
        "add",
    ],
)
def test_json_patches_that_cannot_be_done_are_refused(operation: Any) -> None:
    with pytest.raises(StatusError):
        patches.json_patch({"a": [1]}, [operation])


@given(st.integers(0, 10**15), st.booleans())
def test_a_written_quantity_is_read_as_the_same(number: int, binary: bool) -> None:
    written = quantities.write(Decimal(number), binary=binary)
    assert quantities.read(written) == number


@pytest.mark.parametrize(
    ("text", "value"),
    [("250m", "0.25"), ("1Gi", "1073741824"), ("2e3", "2000"), (".5", "0.5"), ("1k", "1000")],
)
def test_quantities_are_read(text: str, value: str) -> None:
    assert quantities.read(text) == Decimal(value)


@pytest.mark.parametrize("text", ["", "abc", "1Gb", "1 Gi", "--1", "1e"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no quantity"):
        quantities.read(text)

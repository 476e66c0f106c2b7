"""Shadows: merged, versioned, with deltas and the messages that devices hear."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from edgectl_aws_greengrass.emulator.iot.shadows import ShadowStore, delta, merge
from edgectl_aws_greengrass.emulator.ports import CloudError

Clients = Callable[..., Any]


class Store:
    def __init__(self) -> None:
        self.store = ShadowStore(lambda thing: thing == "t", clock=lambda: 100.0)
        self.heard: list[tuple[str, Any]] = []
        self.store.listen(lambda topic, payload: self.heard.append((topic, json.loads(payload))))

    def update(self, document: Any, thing: str = "t") -> Any:
        return json.loads(self.store.update(thing, "s", json.dumps(document).encode()))

    def get(self) -> Any:
        return json.loads(self.store.get("t", "s"))


def test_an_update_merges_what_it_names_and_null_removes() -> None:
    store = Store()
    store.update({"state": {"reported": {"a": {"b": 1, "c": 2}, "d": [1]}}})
    store.update({"state": {"reported": {"a": {"b": None, "e": 3}, "d": [2]}}})
    assert store.get()["state"]["reported"] == {"a": {"c": 2, "e": 3}, "d": [2]}
    assert store.get()["version"] == 2
    assert store.get()["metadata"]["reported"]["a"]["c"] == {"timestamp": 100}


def test_what_is_desired_and_not_reported_is_the_delta() -> None:
    store = Store()
    store.update({"state": {"desired": {"a": 1, "b": {"c": 1, "d": 2}}}})
    store.update({"state": {"reported": {"a": 1, "b": {"c": 1, "d": 9}}}})
    assert store.get()["state"]["delta"] == {"b": {"d": 2}}
    store.update({"state": {"reported": {"b": {"d": 2}}}})
    assert "delta" not in store.get()["state"]


def test_devices_hear_accepted_delta_and_documents() -> None:
    store = Store()
    store.update({"state": {"desired": {"a": 1}}, "clientToken": "x"})
    base = "$aws/things/t/shadow/name/s/update"
    assert [topic for topic, _ in store.heard] == [
        f"{base}/accepted",
        f"{base}/delta",
        f"{base}/documents",
    ]
    accepted = store.heard[0][1]
    assert (accepted["clientToken"], accepted["version"]) == ("x", 1)
    assert store.heard[2][1]["current"]["state"]["desired"] == {"a": 1}


def test_a_report_brings_no_delta_message() -> None:
    store = Store()
    store.update({"state": {"desired": {"a": 1}}})
    store.heard.clear()
    store.update({"state": {"reported": {"a": 0}}})
    assert [topic.rpartition("/")[2] for topic, _ in store.heard] == ["accepted", "documents"]


def _deep(levels: int) -> Any:
    return {"a": _deep(levels - 1)} if levels else 1


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"nothing": 1}, 400),
        ({"state": 1}, 400),
        ({"state": {"other": {}}}, 400),
        ({"state": {"desired": []}}, 400),
        ({"state": {"desired": {}}, "version": 5}, 409),
        ({"state": {"desired": {"a": "x" * 9000}}}, 413),
        (
            {
                "state": {
                    "desired": {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": 1}}}}}}}}}
                }
            },
            400,
        ),
    ],
)
def test_a_wrong_update_is_refused_and_changes_nothing(request_: Any, status: int) -> None:
    store = Store()
    store.update({"state": {"reported": {"a": 1}}})
    with pytest.raises(CloudError) as caught:
        store.update(request_)
    assert caught.value.status == status
    assert store.get()["state"] == {"reported": {"a": 1}}
    assert store.get()["version"] == 1


def test_a_shadow_of_no_thing_is_refused() -> None:
    with pytest.raises(CloudError, match="no thing 'unknown'"):
        Store().update({"state": {"reported": {}}}, thing="unknown")


def test_the_version_goes_on_after_a_delete() -> None:
    store = Store()
    store.update({"state": {"reported": {"a": 1}}})
    store.store.delete("t", "s")
    with pytest.raises(CloudError) as caught:
        store.get()
    assert caught.value.status == 404
    assert store.update({"state": {"reported": {"a": 1}}})["version"] == 3


def test_a_state_of_null_empties_it() -> None:
    store = Store()
    store.update({"state": {"reported": {"a": 1}, "desired": {"a": 2}}})
    store.update({"state": None})
    assert store.get()["state"] == {}


def test_the_api_and_devices_share_the_shadow(clients: Clients) -> None:
    clients("iot").create_thing(thingName="shared")
    data = clients("iot-data")
    with pytest.raises(ClientError, match="ResourceNotFound"):
        data.get_thing_shadow(thingName="shared", shadowName="edgectl")
    shadows = clients.cloud.shadows  # type: ignore[attr-defined]
    shadows.update("shared", "edgectl", b'{"state": {"reported": {"a": 1}}}')
    found = json.load(data.get_thing_shadow(thingName="shared", shadowName="edgectl")["payload"])
    assert found["state"]["reported"] == {"a": 1}
    data.update_thing_shadow(
        thingName="shared", shadowName="edgectl", payload=b'{"state": {"desired": {"a": 2}}}'
    )
    assert json.loads(shadows.get("shared", "edgectl"))["state"]["delta"] == {"a": 2}
    assert data.list_named_shadows_for_thing(thingName="shared")["results"] == ["edgectl"]
    data.delete_thing_shadow(thingName="shared", shadowName="edgectl")
    assert data.list_named_shadows_for_thing(thingName="shared")["results"] == []


trees = st.recursive(
    st.integers(0, 2), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
)
states = st.dictionaries(st.sampled_from("abc"), trees, max_size=3)


@given(states, states)
def test_reporting_all_that_is_desired_leaves_no_delta(
    before: dict[str, Any], desired: dict[str, Any]
) -> None:
    values: dict[str, Any] = {}
    times: dict[str, Any] = {}
    merge(values, times, before, 1)
    merge(values, times, desired, 2)
    assert delta(desired, values) == {}


@given(states, states)
def test_metadata_has_a_time_for_each_leaf(first: dict[str, Any], second: dict[str, Any]) -> None:
    values: dict[str, Any] = {}
    times: dict[str, Any] = {}
    merge(values, times, first, 1)
    merge(values, times, second, 2)
    assert _leaves(values) == _leaves(times, stamp=True)


def _leaves(value: Any, path: str = "", *, stamp: bool = False) -> set[str]:
    if isinstance(value, dict) and not (stamp and set(value) == {"timestamp"}):
        return {leaf for k, v in value.items() for leaf in _leaves(v, f"{path}/{k}", stamp=stamp)}
    return {path}

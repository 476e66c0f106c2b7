"""What the module makes of its twin, its topics and its environment; no connection needed."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_components.agent.reporting import Identity
from edge_components.contract.errors import ContractError
from edge_components.contract.state import DeviceReport, Reason, State
from edge_components.contract.twin import DesiredRelease, module_report, parse_desired, parse_report
from edge_components.iotedge.environment import ModuleIdentity, parse_environment
from edge_components.iotedge.report import Trouble, report_of
from edge_components.iotedge.topics import (
    DesiredChanged,
    MethodCalled,
    TwinAnswer,
    events,
    parse_topic,
)
from edge_components.iotedge.twin import TwinCopy, merged
from edge_components.update.record import Installed, Outcome, Phase, Record, Update

DIGEST = "sha256:" + "ab" * 32
KEYS = st.sampled_from("abc")
DOCUMENTS = st.recursive(
    st.integers(0, 9) | st.text(max_size=2),
    lambda inner: st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
SECTIONS = st.dictionaries(KEYS, DOCUMENTS, max_size=3)
CHANGES = st.dictionaries(KEYS, DOCUMENTS | st.none(), max_size=3)
IDENTITY = Identity(application="plates", hardware="x86-64-cpu", agent="test")
WANTED = DesiredRelease(release=2, package=DIGEST, repository="r.example/p", artifact=DIGEST)


def whole(section: dict[str, Any], version: int) -> bytes:
    return json.dumps({"desired": {**section, "$version": version}, "reported": {}}).encode()


@given(SECTIONS, st.lists(CHANGES, max_size=6))
def test_patches_in_turn_make_what_the_hub_has(
    first: dict[str, Any], changes: list[dict[str, Any]]
) -> None:
    copy, expected = TwinCopy(), first
    copy.replace(whole(first, 1))
    for version, change in enumerate(changes, start=2):
        assert copy.patch(json.dumps({**change, "$version": version}).encode())
        expected = merged(expected, change)
    assert {k: v for k, v in copy._desired.items() if k != "$version"} == expected


def test_a_patch_that_does_not_follow_is_not_taken_and_is_remembered() -> None:
    copy = TwinCopy()
    assert not copy.patch(b'{"a": 1, "$version": 1}')
    copy.replace(whole({}, 3))
    assert copy.patch(b'{"a": 1, "$version": 3}'), "it came twice"
    assert not copy.is_behind
    assert not copy.patch(b'{"a": 1, "$version": 5}')
    assert copy.is_behind
    copy.replace(whole({"a": 1}, 5))
    assert not copy.is_behind


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"$version": "x"}', b"\xff"])
def test_a_patch_that_cannot_be_read_is_not_taken(data: bytes) -> None:
    copy = TwinCopy()
    copy.replace(whole({}, 1))
    assert not copy.patch(data)


def test_a_twin_that_was_made_anew_counts_from_one_again() -> None:
    copy = TwinCopy()
    copy.replace(whole({}, 90))
    copy.replace(whole({}, 1))
    assert copy.version == 1
    assert not copy.is_behind


@pytest.mark.parametrize(
    "section",
    [
        {},
        {"release": 0, "package": DIGEST, "repository": "r", "artifact": DIGEST},
        {"release": 1, "package": "latest", "repository": "r", "artifact": DIGEST},
        {"release": "1", "package": DIGEST, "repository": "r", "artifact": DIGEST},
        [],
        "v1",
    ],
)
def test_a_wish_that_breaks_a_rule_is_an_error(section: object) -> None:
    with pytest.raises(ContractError):
        parse_desired(section)


def test_a_wish_may_have_keys_that_are_not_known_here() -> None:
    assert parse_desired({**WANTED.to_twin(), "wave": 3}) == WANTED
    assert parse_desired(None) is None


@given(st.text(max_size=200))
def test_no_topic_is_more_than_not_known(topic: str) -> None:
    parse_topic(topic)


def test_topics_are_told_apart() -> None:
    assert parse_topic("$iothub/twin/res/204/?$rid=7&$version=3") == TwinAnswer(status=204, rid="7")
    assert parse_topic("$iothub/methods/POST/ping/?$rid=1f") == MethodCalled(name="ping", rid="1f")
    changed = parse_topic("$iothub/twin/PATCH/properties/desired/?$version=2")
    assert changed == DesiredChanged()
    assert parse_topic("$iothub/twin/res/many/?$rid=7") is None
    assert parse_topic("devices/d/messages") is None


VARIABLES = {
    "IOTEDGE_IOTHUBHOSTNAME": "hub.example",
    "IOTEDGE_GATEWAYHOSTNAME": "gate",
    "IOTEDGE_DEVICEID": "lot 7",
    "IOTEDGE_MODULEID": "edgectl-plates",
    "IOTEDGE_MODULEGENERATIONID": "1",
    "IOTEDGE_WORKLOADURI": "unix:///var/run/iotedge/workload.sock",
}


def identity(**changes: str) -> ModuleIdentity:
    return parse_environment({**VARIABLES, **changes})


def test_who_it_is_comes_from_edgeagents_variables() -> None:
    me = identity()
    assert me.client_id == "lot 7/edgectl-plates"
    assert me.username.startswith("hub.example/lot 7/edgectl-plates/?api-version=2018-06-30")
    assert me.resource == "hub.example/devices/lot%207/modules/edgectl-plates"
    assert me.address == ("gate", 8883)
    topic = events(me, "telemetry", properties={"a b": "c&d"})
    bag = topic.partition("messages/events/")[2]
    assert unquote(bag.partition("&")[0]) == "$.on=telemetry"
    assert "a%20b=c%26d" in bag


@pytest.mark.parametrize("name", sorted(VARIABLES))
def test_a_variable_that_is_missing_is_named(name: str) -> None:
    with pytest.raises(ContractError, match=name):
        identity(**{name: ""})


def test_another_way_to_sign_is_refused() -> None:
    with pytest.raises(ContractError, match="IOTEDGE_AUTHSCHEME"):
        identity(IOTEDGE_AUTHSCHEME="x509")
    with pytest.raises(ContractError, match="unix"):
        identity(IOTEDGE_WORKLOADURI="http://127.0.0.1:15581")


def version(number: int) -> Installed:
    return Installed(number=number, version="1", package=DIGEST, precision="int8")


OUTCOME = Outcome(action="release-2", state=State.FAILED, reason=Reason.DISK_FULL, release=0)


@pytest.mark.parametrize(
    ("record", "answering", "phase"),
    [
        (Record(), 0, State.PENDING),
        (Record(active=version(1)), 1, State.PENDING),
        (Record(active=version(2)), 2, State.HEALTHY),
        (Record(active=version(2)), 0, State.FAILED),
        (Record(update=Update(action="release-2")), 0, State.PENDING),
        (Record(update=Update(action="x", phase=Phase.FALL_BACK)), 0, State.PENDING),
        (Record(outcome=OUTCOME), 0, State.FAILED),
    ],
)
def test_the_report_is_about_what_is_wanted(record: Record, answering: int, phase: State) -> None:
    report = report_of(record, IDENTITY, WANTED, None, answering=answering)
    assert (report.release, report.package, report.state) == (2, DIGEST, phase)


def test_what_stands_in_the_way_is_told_for_the_release_that_it_is_about() -> None:
    trouble = Trouble(release=2, reason=Reason.DOWNLOAD_FAILED, detail="no route")
    report = report_of(Record(active=version(1)), IDENTITY, WANTED, trouble, answering=1)
    assert (report.state, report.reason, report.active_release) == (
        State.FAILED,
        Reason.DOWNLOAD_FAILED,
        1,
    )


@settings(max_examples=25)
@given(st.builds(DeviceReport, detail=st.text(), agent=st.text(), variant=st.text(max_size=9)))
def test_a_report_goes_through_a_twin(report: DeviceReport) -> None:
    told = module_report(report, previous=1, at=5)
    section = json.loads(json.dumps(told.to_twin()))
    assert parse_report(section) == told
    assert len(json.dumps(section)) < 16_000
    assert told.device_report().state == report.state
    assert all(character.isprintable() for character in told.detail)

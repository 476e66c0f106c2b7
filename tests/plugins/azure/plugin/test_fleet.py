"""Devices that come, go, stick, and are looked at: in how many calls, and with what in the end."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl import api
from edgectl.api import AuthError, PlanError, Provider, State
from edgectl_azure_iot_edge._sdk.pace import Pace
from edgectl_azure_iot_edge._sdk.sas import parse_connection_string, sign
from edgectl_azure_iot_edge.limits import QUERIES, Rate, documented_rates

WEDGE = "Step previously failed in deployment 12 on prior attempt"


def enroll(fleet: Any, name: str, **fields: Any) -> api.EnrollRequest:
    usual = {
        "target": fleet.target,
        "application": "plates",
        "name": name,
        "hardware": "x86-64-cpu",
        "publisher_key": "-----BEGIN PUBLIC KEY-----\n",
    }
    return api.EnrollRequest(**{**usual, **fields})


# --- observing


def test_looking_costs_one_query_a_look_while_devices_are_on_their_way(
    site: Any, fleet: Any, shop: Any
) -> None:
    edges = fleet.add("one", "two", "three", start=False)
    shop.give(1, "one", "two", "three")
    shop.states(1)
    looks = 5

    def look() -> None:
        for _ in range(looks):
            shop.states(1)

    made = site.made(look)
    assert made["hub.QueryTwins"] <= looks + 1  # and now and then one for the devices
    assert {name for name in made if name.startswith("hub.")} == {"hub.QueryTwins"}
    assert len(edges) == 3


def test_a_wedged_agent_is_started_anew_once(
    site: Any, fleet: Any, shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    edge, *_ = fleet.add("one")
    edge.status = "failed"
    called: list[tuple[str, str, object]] = []
    methods = site.hub.methods

    def send(device: str, module: str, name: str, request_id: str, payload: bytes) -> bool:
        called.append((module, name, json.loads(payload)))
        return bool(methods.answered(f"{device}/{module}", request_id, 200, b""))

    monkeypatch.setattr(methods, "send", send)
    edge.code = 500
    shop.give(1, "one")
    shop.until(lambda states: states["one"].raw == "Applied:500", 1)
    assert called == []
    edge.description = WEDGE
    for _ in range(3):
        shop.until(lambda states: WEDGE in states["one"].detail, 1)
    restart = ("$edgeAgent", "RestartModule", {"schemaVersion": "1.0", "id": "edgeAgent"})
    assert called == [restart]
    shop.states()  # who only asks for what is there starts nothing anew
    assert called == [restart]


def test_what_this_process_wrote_counts_before_what_a_slow_index_says(
    site: Any, fleet: Any, shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.add("one", start=False)
    shop.states()
    before = site.hub.index.documents
    stale = {name: before(name) for name in ("devices", "devices.modules")}
    stale = json.loads(json.dumps(stale))
    monkeypatch.setattr(site.hub.index, "documents", lambda name: stale[name])
    monkeypatch.setattr("edgectl_azure_iot_edge._sdk.members.DEVICES_S", 0.0)
    shop.give(1, "one")
    assert shop.states(1)["one"].state is State.PENDING


# --- devices


def test_a_device_that_is_added_has_tags_and_files(
    site: Any, fleet: Any, provider: Provider
) -> None:
    name = fleet.device("new")
    result = provider.enroll(enroll(fleet, name, labels={"rack": "7"}))
    assert set(result.files) == {"config.toml", "device.toml", "publisher.pem", "registry.json"}
    config = api.parse_device_config(result.files["device.toml"])
    assert (config.device.id, config.device.application) == (name, "plates")
    assert config.trust.publishers == ("/etc/edgectl/publisher.pem",)
    tags = site.hub.registry.device(name).twin.tags
    assert tags == {"site": fleet.unique, "rack": "7", "edgectl_hardware": "x86-64-cpu"}
    assert f"DeviceId={name}" in result.files["config.toml"]
    owner = site.env["IOTHUB_CONNECTION_STRING"].partition("SharedAccessKey=")[2]
    assert owner not in str(result)
    assert any("iotedge config apply" in note for note in result.notes)


def test_adding_again_hands_out_the_same_key_and_writes_nothing(
    site: Any, fleet: Any, provider: Provider
) -> None:
    request = enroll(fleet, fleet.device("new"))
    first = provider.enroll(request)
    again: list[api.EnrollResult] = []
    assert site.writes(lambda: again.append(provider.enroll(request))) == {}
    assert again[0].files["config.toml"] == first.files["config.toml"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "a b"}, "cannot be the name of a device"),
        ({"name": "edgectl.lots.app"}, "cannot be the name of a device"),
        ({"hardware": "abacus"}, "unknown hardware"),
        ({"labels": {"a.b": "c"}}, "cannot be a tag"),
        ({"labels": {"edgectl": "c"}}, "cannot be a tag"),
    ],
)
def test_a_device_that_cannot_be_is_refused(
    fleet: Any, provider: Provider, fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(PlanError, match=said):
        provider.enroll(enroll(fleet, **{"name": "new", **fields}))


def test_a_device_that_is_no_edge_device_is_not_taken_over(
    site: Any, fleet: Any, provider: Provider
) -> None:
    name = fleet.device("lamp")
    site.hub.registry.put_device(name, {"deviceId": name}, None)
    with pytest.raises(PlanError, match="no IoT Edge device"):
        provider.enroll(enroll(fleet, name))


def test_a_device_that_others_made_is_not_removed(fleet: Any, provider: Provider) -> None:
    fleet.add("one", start=False)
    request = api.RetireRequest(target=fleet.target, device=fleet.device("one"))
    with pytest.raises(PlanError, match="was not added by edgectl"):
        provider.retire(request)


def test_what_operators_share_is_no_device_of_any_target(
    site: Any, fleet: Any, provider: Provider
) -> None:
    fleet.add("one", start=False)
    everybody = api.Target(name="all", provider="azure", selector={"condition": "*"})
    request = api.CoordinateRequest(target=everybody, application="app", key="lease", value="x")
    assert provider.coordinate(request).swapped
    listed = {device.id for device in provider.inventory(api.InventoryRequest(target=everybody))}
    assert fleet.device("one") in listed
    assert "edgectl.all.app" not in listed
    identity = site.hub.registry.device("edgectl.all.app").identity
    assert (identity.status, identity.iot_edge) == ("disabled", False)


# --- doctor


def test_doctor_names_the_right_that_is_missing(
    site: Any, fleet: Any, open_plugin: Callable[..., Provider], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.add("one", start=False)
    monkeypatch.setenv("IOTHUB_CONNECTION_STRING", site.room.connection_string("registryRead"))
    findings = open_plugin().check(api.CheckRequest(targets=(fleet.target,)))
    found = {finding.name: finding for finding in findings}
    assert found["hub"].ok
    assert not found["rights"].ok
    assert "does not have ServiceConnect" in found["rights"].detail


def test_doctor_changes_nothing(site: Any, fleet: Any, provider: Provider) -> None:
    fleet.add("one", start=False)
    before = site.hub.registry.revision, set(site.hub.configurations.all)
    findings = provider.check(api.CheckRequest(targets=(fleet.target,)))
    assert all(finding.ok for finding in findings)
    assert before == (site.hub.registry.revision, set(site.hub.configurations.all))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"workspace": "other-ml"}, "other-ml' under resource group"),
        ({"resource_group": "elsewhere"}, "Resource group 'elsewhere' could not be found"),
        (
            {"training": {"compute": "no-such", "image": "example.test/python:3.11"}},
            "cannot read the compute target 'no-such'",
        ),
    ],
)
def test_doctor_names_what_training_would_not_find(
    open_plugin: Callable[..., Provider], setting: dict[str, Any], said: str
) -> None:
    findings = open_plugin(**setting).check(api.CheckRequest())
    (found,) = (finding for finding in findings if finding.name == "workspace")
    assert not found.ok
    assert said in found.detail


def test_doctor_asks_for_no_workspace_where_none_is_set(
    open_plugin: Callable[..., Provider],
) -> None:
    names = [finding.name for finding in open_plugin(workspace=None).check(api.CheckRequest())]
    assert names == ["hub", "rights", "registry"]


def test_a_certificate_that_is_not_trusted_is_told_from_no_network(
    open_plugin: Callable[..., Provider], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(api.EdgectlError, match="CERTIFICATE_VERIFY_FAILED") as caught:
        list(
            open_plugin().inventory(
                api.InventoryRequest(
                    target=api.Target(name="t", provider="azure", selector={"condition": "*"})
                )
            )
        )
    assert "REQUESTS_CA_BUNDLE" in caught.value.hint


# --- connection strings, tokens, rates


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "HostName=h",
        "HostName=h;SharedAccessKeyName=n",
        "HostName=h;SharedAccessKeyName=n;SharedAccessKey=%%%",
    ],
)
def test_a_connection_string_that_is_none_is_refused_without_its_key(text: str) -> None:
    with pytest.raises(AuthError, match="IOTHUB_CONNECTION_STRING cannot be read") as caught:
        parse_connection_string(text)
    assert "%%%" not in caught.value.message


def test_a_key_stands_in_no_repr() -> None:
    found = parse_connection_string("HostName=h;SharedAccessKeyName=n;SharedAccessKey=c2VjcmV0")
    assert "c2VjcmV0" not in repr(found)
    assert sign(found, 1000).startswith("SharedAccessSignature sr=h&sig=")


@given(st.integers(1, 40), st.lists(st.floats(0, 30), max_size=120))
def test_no_minute_sees_more_calls_than_the_hub_documents(calls: int, pauses: list[float]) -> None:
    now = [0.0]
    made: list[float] = []
    pace = Pace(
        {QUERIES: Rate(calls, 60.0)}, lambda: now[0], lambda s: now.__setitem__(0, now[0] + s)
    )
    for pause in pauses:
        now[0] += pause
        pace.wait(QUERIES)
        made.append(now[0])
    most = max((sum(1 for m in made if at <= m < at + 60.0) for at in made), default=0)
    assert most <= Rate(calls, 60.0).ours <= max(calls * 0.9, 1)


def test_a_rollout_that_looks_each_second_never_stands_still_for_long() -> None:
    now = [0.0]
    pace = Pace({QUERIES: Rate(20, 60.0)}, lambda: now[0], lambda s: now.__setitem__(0, now[0] + s))
    looks = []
    for _ in range(60):
        pace.wait(QUERIES)
        looks.append(now[0])
        now[0] += 1.0
    assert max(after - before for before, after in itertools.pairwise(looks)) < 8.0


def test_rates_are_the_documented_ones() -> None:
    small, large = documented_rates("S1", 2), documented_rates("S3", 1)
    assert small[QUERIES] == Rate(40, 60.0)
    assert large[QUERIES] == Rate(1000, 60.0)
    assert small["twin-updates"] == Rate(50, 1.0)
    assert large["twin-updates"] == Rate(250, 1.0)
    assert documented_rates("S2", 30)["twin-reads"] == Rate(300, 1.0)

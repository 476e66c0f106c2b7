"""Deployments: what the recording of the real service says, limits, assignment, metrics."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import requests
from azure.iot.hub import IoTHubConfigurationManager, IoTHubRegistryManager
from azure.iot.hub.models import (
    Configuration,
    ConfigurationContent,
    ConfigurationMetrics,
    ConfigurationQueriesTestInput,
    Twin,
    TwinProperties,
)
from azure_module import Module, token, until
from azure_spec import RECORDING
from msrest.exceptions import HttpOperationError

from edgectl_azure_iot_edge.emulator import sas
from edgectl_azure_iot_edge.emulator.account import RunningAccount
from edgectl_azure_iot_edge.emulator.hub.errors import HubError
from edgectl_azure_iot_edge.emulator.hub.hub import Hub
from edgectl_azure_iot_edge.emulator.hub.query.evaluate import run
from edgectl_azure_iot_edge.emulator.hub.query.parser import parse_query

MakeDevice = Callable[..., Any]
Connect = Callable[..., Module]


def base(*modules: str, image: str = "a:1") -> dict[str, Any]:
    wanted = {name: {"type": "docker", "settings": {"image": image}} for name in modules}
    return {
        "$edgeAgent": {"properties.desired": {"schemaVersion": "1.1", "modules": wanted}},
        "$edgeHub": {"properties.desired": {"routes": {"up": "FROM /* INTO $upstream"}}},
    }


def layer(module: str, image: str = "b:1", **desired: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "$edgeAgent": {
            f"properties.desired.modules.{module}": {"type": "docker", "settings": {"image": image}}
        },
        "$edgeHub": {f"properties.desired.routes.{module}": f"FROM /{module} INTO $upstream"},
    }
    if desired:
        found[module] = {f"properties.desired.{key}": value for key, value in desired.items()}
    return found


def deployment(
    name: str, modules: dict[str, Any], condition: str, priority: int, **more: Any
) -> Configuration:
    return Configuration(
        id=name,
        content=ConfigurationContent(modules_content=modules),
        target_condition=condition,
        priority=priority,
        **more,
    )


def refused(work: Callable[[], object]) -> tuple[int, str]:
    with pytest.raises(HttpOperationError) as caught:
        work()
    response = caught.value.response
    return response.status_code, response.headers["iothub-errorcode"]


@pytest.fixture
def edge(registry: IoTHubRegistryManager, new_device: MakeDevice, name: str) -> str:
    """An edge device with a tag of its own."""
    device_id: str = new_device(edge=True).device_id
    registry.update_twin(device_id, Twin(tags={"only": name}))
    return device_id


@pytest.fixture
def put(deployments: IoTHubConfigurationManager, edge: str) -> Callable[..., Configuration]:
    """Make a deployment for the test's device."""

    def make(name: str, modules: dict[str, Any], priority: int, **more: Any) -> Configuration:
        condition = more.pop("condition", f"tags.only = '{edge}'")
        return deployments.create_configuration(
            deployment(name, modules, condition, priority, **more)
        )

    return make


def modules_of(registry: IoTHubRegistryManager, device_id: str) -> dict[str, Any]:
    agent = registry.get_module_twin(device_id, "$edgeAgent")
    found = agent.properties.desired.get("modules", {})
    return {name: module["settings"]["image"] for name, module in found.items()}


def statuses(registry: IoTHubRegistryManager, device_id: str) -> dict[str, str]:
    agent = registry.get_module_twin(device_id, "$edgeAgent")
    found = agent.additional_properties.get("configurations", {})
    return {name: entry["status"] for name, entry in found.items()}


@pytest.mark.skipif(not RECORDING.exists(), reason="the recording is not beside the repository")
def test_the_recorded_lifecycle_is_answered_as_the_service_did(
    account: RunningAccount, connection: str, hub: Hub
) -> None:
    assert hub.configurations.all == {}
    fields = dict(part.split("=", 1) for part in connection.split(";"))
    signature = sas.make(
        fields["HostName"], fields["SharedAccessKey"], 4_000_000_000, "iothubowner"
    )
    entries = json.loads(RECORDING.read_text())["Entries"]
    first: dict[str, Any] = {}
    volatile = ("createdTimeUtc", "lastUpdatedTimeUtc")
    for entry in entries:
        body = entry["RequestBody"]
        if isinstance(body, str):
            body = {**first, "priority": 1500054980}
        answer = requests.request(
            entry["RequestMethod"],
            account.url + entry["RequestUri"],
            json=body,
            headers={"Authorization": signature, **entry.get("RequestHeaders", {})},
            timeout=20,
        )
        assert answer.status_code == entry["StatusCode"], answer.text
        recorded = entry.get("ResponseHeaders", {})
        assert {k: answer.headers[k] for k in recorded} == recorded
        first = first or answer.json()
        if isinstance(entry["ResponseBody"], dict):
            told = {k: v for k, v in answer.json().items() if k not in volatile}
            wanted = {k: v for k, v in entry["ResponseBody"].items() if k not in volatile}
            told["systemMetrics"]["results"] = wanted["systemMetrics"]["results"]
            assert told == wanted


def test_content_does_not_change_though_the_update_succeeds(
    deployments: IoTHubConfigurationManager, put: Callable[..., Configuration]
) -> None:
    made = put("fixed", base("a"), 1)
    changed = deployment("fixed", base("other"), "*", 7)
    answer = deployments.update_configuration(changed, f'"{made.etag}"')
    agent = answer.content.modules_content["$edgeAgent"]["properties.desired"]
    assert (list(agent["modules"]), answer.priority, answer.etag) == (["a"], 7, "Mg==")


def test_an_etag_without_quotes_is_a_creation_that_conflicts(
    deployments: IoTHubConfigurationManager, put: Callable[..., Configuration]
) -> None:
    made = put("quotes", base("a"), 1)
    update = lambda etag: deployments.update_configuration(  # noqa: E731
        deployment("quotes", base("a"), "*", 1), etag
    )
    assert refused(lambda: update(made.etag)) == (409, "ConfigurationAlreadyExists")
    assert refused(lambda: update('"stale"')) == (412, "PreconditionFailed")
    assert update("*").etag == "Mg=="


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"modulesContent": {"m": {"properties.desired": {}}}}, "$edgeAgent"),
        (
            {"modulesContent": base("a"), "deviceContent": {"properties.desired.a": 1}},
            "exactly one",
        ),
        ({}, "exactly one"),
        ({"modulesContent": {"$edgeAgent": {"desired": {}}}}, "not below"),
        ({"modulesContent": base(*(f"m{n}" for n in range(51)))}, "51 modules"),
    ],
)
def test_content_that_cannot_be_is_refused(hub: Hub, content: dict[str, Any], why: str) -> None:
    with pytest.raises(HubError) as caught, hub.registry.lock:
        hub.configurations.put("bad", {"id": "bad", "content": content}, None)
    assert caught.value.code == "InvalidConfigurationContent"
    assert why in caught.value.message


def test_an_id_is_lower_case(put: Callable[..., Configuration]) -> None:
    assert refused(lambda: put("Upper", base("a"), 1)) == (400, "ArgumentInvalid")


@pytest.mark.parametrize("condition", ["tags.a =", "status = 'enabled'", "properties.desired.a=1"])
def test_a_target_condition_has_only_what_it_may(
    put: Callable[..., Configuration], condition: str
) -> None:
    made = lambda: put("condition", base("a"), 1, condition=condition)  # noqa: E731
    assert refused(made) == (400, "InvalidConfigurationTargetCondition")


def test_queries_are_tested_without_being_kept(deployments: IoTHubConfigurationManager) -> None:
    good = ConfigurationQueriesTestInput(
        target_condition="tags.a = 'b'", custom_metric_queries={"m": "select * from devices"}
    )
    answer = deployments.test_configuration_queries(good)
    assert (answer.target_condition_error, answer.custom_metric_query_errors) == (None, {})
    bad = ConfigurationQueriesTestInput(
        target_condition="tags.a = ", custom_metric_queries={"m": "selct"}
    )
    answer = deployments.test_configuration_queries(bad)
    assert "malformed" in answer.target_condition_error
    assert list(answer.custom_metric_query_errors) == ["m"]


def test_the_hundred_and_first_is_refused(
    put: Callable[..., Configuration], hub: Hub, start_body: dict[str, Any]
) -> None:
    with hub.registry.lock:
        for number in range(100):
            name = f"many-{number}"
            hub.configurations.put(name, {**start_body, "id": name}, None)
    more = lambda: put("many-100", layer("m"), 1, condition="")  # noqa: E731
    assert refused(more) == (413, "ConfigurationCountLimitExceeded")


@pytest.fixture
def start_body() -> dict[str, Any]:
    return {"content": {"modulesContent": layer("m")}, "priority": 1, "targetCondition": ""}


def test_the_highest_base_is_taken_whole(
    registry: IoTHubRegistryManager, edge: str, put: Callable[..., Configuration]
) -> None:
    put("low", base("a", "b"), 1)
    put("high", base("c"), 2)
    until(lambda: statuses(registry, edge), lambda s: s == {"low": "Targeted", "high": "Applied"})
    assert modules_of(registry, edge) == {"c": "a:1"}


def test_of_equal_bases_the_newest_wins(
    registry: IoTHubRegistryManager, edge: str, put: Callable[..., Configuration]
) -> None:
    put("z-old", base("a"), 1)
    put("a-new", base("b"), 1)
    until(lambda: statuses(registry, edge).get("a-new"), lambda s: s == "Applied")
    assert modules_of(registry, edge) == {"b": "a:1"}


def test_layers_add_to_the_base_and_the_higher_one_wins(
    registry: IoTHubRegistryManager, edge: str, put: Callable[..., Configuration]
) -> None:
    put("base", base("a"), 5)
    put("one", layer("m", "m:1", edgectl={"release": 1}), 6)
    put("two", layer("m", "m:2", edgectl={"release": 2}), 7)
    put("below", layer("late", "x:1"), 5)
    wanted = {"base": "Applied", "one": "Applied", "two": "Applied", "below": "Targeted"}
    until(lambda: statuses(registry, edge), lambda s: s == wanted)
    assert modules_of(registry, edge) == {"a": "a:1", "m": "m:2"}
    routes = registry.get_module_twin(edge, "$edgeHub").properties.desired["routes"]
    assert sorted(routes) == ["m", "up"]
    module = registry.get_module_twin(edge, "m")
    assert module.properties.desired["edgectl"] == {"release": 2}


def test_a_layer_without_a_base_is_only_targeted(
    registry: IoTHubRegistryManager, edge: str, put: Callable[..., Configuration]
) -> None:
    put("alone", layer("m"), 5)
    until(lambda: statuses(registry, edge), lambda s: s == {"alone": "Targeted"})
    assert modules_of(registry, edge) == {}


def test_the_version_rises_only_when_something_changes(
    registry: IoTHubRegistryManager, edge: str, put: Callable[..., Configuration], hub: Hub
) -> None:
    put("base", base("a"), 1)
    put("layer", layer("m", edgectl={"release": 1}), 2)
    until(lambda: statuses(registry, edge).get("layer"), lambda s: s == "Applied")
    version = lambda: registry.get_module_twin(edge, "$edgeAgent").properties.desired["$version"]  # noqa: E731
    before = version()
    registry.update_twin(edge, Twin(tags={"other": 1}))
    hub.background.assign()
    assert version() == before


def test_removing_a_layer_removes_its_module_and_leaves_the_others(
    registry: IoTHubRegistryManager,
    deployments: IoTHubConfigurationManager,
    edge: str,
    put: Callable[..., Configuration],
) -> None:
    put("base", base("a"), 1)
    put("layer", layer("m"), 2)
    until(lambda: modules_of(registry, edge), lambda m: set(m) == {"a", "m"})
    deployments.delete_configuration("layer")
    until(lambda: modules_of(registry, edge), lambda m: set(m) == {"a"})
    assert [m.module_id for m in registry.get_modules(edge)] == ["$edgeAgent", "$edgeHub", "a"]


def test_a_device_that_no_base_targets_keeps_what_it_has(
    registry: IoTHubRegistryManager,
    deployments: IoTHubConfigurationManager,
    edge: str,
    put: Callable[..., Configuration],
) -> None:
    put("base", base("a"), 1)
    until(lambda: modules_of(registry, edge))
    deployments.delete_configuration("base")
    until(lambda: statuses(registry, edge), lambda s: s == {})
    assert modules_of(registry, edge) == {"a": "a:1"}


def test_a_tag_brings_a_device_into_a_deployment_and_out_of_it(
    registry: IoTHubRegistryManager, edge: str, put: Callable[..., Configuration]
) -> None:
    put("base", base("a"), 1)
    tagged = f"tags.edgectl.app.release = 3 and (tags.only = '{edge}')"
    put("r3", layer("m"), 103, condition=tagged)
    until(lambda: statuses(registry, edge), lambda s: s == {"base": "Applied"})
    registry.update_twin(edge, Twin(tags={"edgectl": {"app": {"release": 3}}}))
    until(lambda: modules_of(registry, edge), lambda m: "m" in m)
    registry.update_twin(edge, Twin(tags={"edgectl": {"app": None}}))
    until(lambda: modules_of(registry, edge), lambda m: "m" not in m)


def test_a_plain_device_gets_no_edge_deployment(
    registry: IoTHubRegistryManager,
    new_device: MakeDevice,
    put: Callable[..., Configuration],
    edge: str,
    hub: Hub,
) -> None:
    plain = new_device().device_id
    put("all", base("a"), 1, condition="*")
    until(lambda: statuses(registry, edge), lambda s: s == {"all": "Applied"})
    hub.background.assign()
    assert registry.get_modules(plain) == []


def test_a_configuration_of_devices_sets_their_desired_properties(
    registry: IoTHubRegistryManager,
    deployments: IoTHubConfigurationManager,
    new_device: MakeDevice,
    name: str,
) -> None:
    new_device()
    deployments.create_configuration(
        Configuration(
            id="firmware",
            content=ConfigurationContent(device_content={"properties.desired.fw": {"v": 2}}),
            target_condition=f"deviceId = '{name}'",
            priority=1,
        )
    )
    desired = lambda: registry.get_twin(name).properties.desired.get("fw")  # noqa: E731
    assert until(desired) == {"v": 2}


def test_metrics_count_devices_and_what_they_report(
    registry: IoTHubRegistryManager,
    deployments: IoTHubConfigurationManager,
    edge: str,
    put: Callable[..., Configuration],
    account: RunningAccount,
) -> None:
    metric = f"select deviceId from devices where tags.only = '{edge}'"
    put("base", base("a"), 1, metrics=ConfigurationMetrics(queries={"mine": metric}))
    count = lambda: deployments.get_configuration("base")  # noqa: E731
    first = until(count, lambda c: c.system_metrics.results.get("appliedCount") == 1)
    assert first.metrics.results == {"mine": 1}
    assert first.system_metrics.results["reportedSuccessfulCount"] == 0
    desired = registry.get_module_twin(edge, "$edgeAgent").properties.desired
    key = registry.get_device(edge).authentication.symmetric_key.primary_key
    agent = Module(account, f"{edge}/$edgeAgent", token=token(f"devices/{edge}", key)).ready()
    version = desired["$version"]
    agent.report({"lastDesiredVersion": version, "lastDesiredStatus": {"code": 200}})
    until(count, lambda c: c.system_metrics.results["reportedSuccessfulCount"] == 1)
    agent.report({"lastDesiredStatus": {"code": 500}})
    until(count, lambda c: c.system_metrics.results["reportedFailedCount"] == 1)
    agent.close()


def test_a_single_device_gets_modules_at_once(
    registry: IoTHubRegistryManager,
    deployments: IoTHubConfigurationManager,
    new_device: MakeDevice,
) -> None:
    device_id = new_device(edge=True).device_id
    content = {**base("a"), "a": {"properties.desired": {"x": 1}}}
    deployments.apply_configuration_on_edge_device(
        device_id, ConfigurationContent(modules_content=content)
    )
    assert modules_of(registry, device_id) == {"a": "a:1"}
    assert registry.get_module_twin(device_id, "a").properties.desired["x"] == 1
    assert statuses(registry, device_id) == {}


def test_a_plain_device_gets_no_modules(
    deployments: IoTHubConfigurationManager, new_device: MakeDevice
) -> None:
    apply = lambda: deployments.apply_configuration_on_edge_device(  # noqa: E731
        new_device().device_id, ConfigurationContent(modules_content=base("a"))
    )
    assert refused(apply) == (400, "ArgumentInvalid")


def test_edge_metrics_are_what_their_queries_say(
    registry: IoTHubRegistryManager,
    deployments: IoTHubConfigurationManager,
    edge: str,
    put: Callable[..., Configuration],
    hub: Hub,
) -> None:
    put("base", base("a"), 1)
    put("other", base("b"), 0)
    put("layer", layer("m"), 2)
    until(lambda: statuses(registry, edge), lambda s: len(s) == 3)
    with hub.registry.lock:
        agent = hub.registry.entry(edge, "$edgeAgent").twin
    version = agent.desired.version
    for code in (200, 500):
        done = {"lastDesiredVersion": version, "lastDesiredStatus": {"code": code}}
        hub.registry.report(edge, "$edgeAgent", done)
        hub.background.count()
        for name in ("base", "other", "layer"):
            found = deployments.get_configuration(name).system_metrics
            asked = {
                metric: len(list(run(parse_query(text), hub.index.documents(_collection(text)))))
                for metric, text in found.queries.items()
            }
            assert found.results == asked


def _collection(text: str) -> str:
    return parse_query(text).collection


def test_what_somebody_else_writes_into_a_twin_stays_until_the_deployment_changes(
    registry: IoTHubRegistryManager, edge: str, put: Callable[..., Configuration], hub: Hub
) -> None:
    put("base", base("a"), 1)
    put("layer", layer("m", edgectl={"release": 1}), 2)
    until(lambda: statuses(registry, edge).get("layer"), lambda s: s == "Applied")
    mine = Twin(properties=TwinProperties(desired={"mine": 1}))
    for module in ("m", "$edgeHub"):
        registry.update_module_twin(edge, module, mine)
    hub.background.assign()
    kept = [
        registry.get_module_twin(edge, m).properties.desired.get("mine") for m in ("m", "$edgeHub")
    ]
    assert kept == [1, 1]
    put("more", layer("m", edgectl={"release": 2}), 3)
    release = lambda: registry.get_module_twin(edge, "m").properties.desired["edgectl"]["release"]  # noqa: E731
    until(release, lambda found: found == 2)
    assert registry.get_module_twin(edge, "m").properties.desired["mine"] == 1


def test_a_module_that_its_device_made_anew_gets_its_properties_again(
    registry: IoTHubRegistryManager, edge: str, put: Callable[..., Configuration]
) -> None:
    put("base", base("a"), 1)
    put("layer", layer("m", edgectl={"release": 1}), 2)
    desired = lambda: registry.get_module_twin(edge, "m").properties.desired.get("edgectl")  # noqa: E731
    until(lambda: statuses(registry, edge).get("layer"), lambda s: s == "Applied")
    registry.delete_module(edge, "m")
    until(lambda: "m" in [m.module_id for m in registry.get_modules(edge)])
    assert until(desired) == {"release": 1}

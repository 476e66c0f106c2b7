"""A release as a layered deployment: its golden form, and what it keeps to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgectl.api import LimitError, PlanError, ProjectError, Target
from edgectl_azure_iot_edge.config import AzureConfig, FunctionConfig, RuntimeConfig
from edgectl_azure_iot_edge.createoptions import (
    check_one_kind,
    join_options,
    module_options,
    split_options,
)
from edgectl_azure_iot_edge.render import (
    Layer,
    configuration,
    content_digest,
    is_ours,
    target_condition,
)
from edgectl_azure_iot_edge.schema import check_content, is_layered, layer_modules, problems
from edgectl_azure_iot_edge.selector import Selector, read_selector

GOLDEN = Path(__file__).parent / "golden"
CONFIG = AzureConfig(
    subscription_id="s", resource_group="g", iot_hub="hub", registry="registry.example"
)
SELECTOR = read_selector(Target(name="lots", provider="azure", selector={"tags": {"site": "dc"}}))
LAYER = Layer(
    application="parking-plates",
    target="lots",
    hardware="jetson-xavier-nx",
    number=7,
    package=f"sha256:{'a' * 64}",
    repository="registry.example/edgectl/parking-plates",
    artifact=f"sha256:{'b' * 64}",
    image=f"registry.example/edgectl/edge-runtime@sha256:{'c' * 64}",
)


def runtime(**fields: Any) -> AzureConfig:
    return msgspec.structs.replace(CONFIG, runtime=RuntimeConfig(**fields))


def test_a_release_has_this_deployment() -> None:
    config = msgspec.structs.replace(
        runtime(memory_mb=512, env={"TZ": "UTC"}),
        functions={"count": FunctionConfig(image="registry.example/count:3")},
    )
    layer = msgspec.structs.replace(LAYER, functions=("count",))
    made = json.dumps(configuration(config, layer, SELECTOR), indent=2, sort_keys=True) + "\n"
    assert made == (GOLDEN / "configuration.json").read_text()


def test_it_is_a_layer_and_nothing_else() -> None:
    content = configuration(CONFIG, LAYER, SELECTOR)["content"]
    assert is_layered(content)
    assert set(layer_modules(content)) == {"edgectl-parking-plates"}
    assert "registryCredentials" not in json.dumps(content)


def test_a_later_release_has_a_higher_priority_and_another_id() -> None:
    later = msgspec.structs.replace(LAYER, number=8)
    first, second = (configuration(CONFIG, one, SELECTOR) for one in (LAYER, later))
    assert second["priority"] == first["priority"] + 1
    assert second["id"] != first["id"]


def test_a_release_with_another_model_has_the_same_image_and_options() -> None:
    other = msgspec.structs.replace(LAYER, number=8, package=f"sha256:{'d' * 64}")
    first, second = (
        layer_modules(configuration(CONFIG, one, SELECTOR)["content"]) for one in (LAYER, other)
    )
    assert first == second


def test_the_condition_asks_for_our_tag_and_the_target_itself() -> None:
    assert target_condition("my-app", "lots", 3, SELECTOR) == (
        "tags.edgectl.my_app.release = 3 AND tags.edgectl.my_app.target = 'lots' "
        "AND (tags.site = 'dc')"
    )


@pytest.mark.parametrize("condition", ["", "x" * 5000])
def test_a_condition_that_is_none_or_too_long_leaves_our_tag_alone(condition: str) -> None:
    found = target_condition("app", "lots", 3, Selector(condition=condition))
    assert found == "tags.edgectl.app.release = 3 AND tags.edgectl.app.target = 'lots'"


def test_what_edgectl_made_is_known_by_its_labels() -> None:
    made = configuration(CONFIG, LAYER, SELECTOR)
    assert is_ours(made, "parking-plates", "lots")
    assert not is_ours(made, "parking-plates", "other")
    assert not is_ours({"id": made["id"], "labels": None}, "parking-plates", "lots")


def test_the_order_of_keys_does_not_change_a_contents_digest() -> None:
    assert content_digest({"a": 1, "b": {"c": 2}}) == content_digest({"b": {"c": 2}, "a": 1})


def test_options_are_cut_and_put_together_again() -> None:
    options = {"Env": ["x" * 1200, "é"], "HostConfig": {}}
    parts = split_options(options)
    assert list(parts) == ["createOptions", "createOptions01", "createOptions02"]
    assert all(len(part) <= 512 for part in parts.values())
    assert json.loads(join_options(parts)) == options


def test_options_that_are_too_long_are_refused() -> None:
    with pytest.raises(LimitError, match="at most 51200"):
        split_options({"Env": ["x" * 52_000]})


@pytest.mark.parametrize(
    ("hardware", "expected"),
    [
        ("jetson-orin", {"Runtime": "nvidia"}),
        (
            "nvidia-gpu",
            {"DeviceRequests": [{"Driver": "", "Count": -1, "Capabilities": [["gpu"]]}]},
        ),
        (
            "intel-openvino",
            {
                "Devices": [
                    {
                        "PathOnHost": "/dev/dri",
                        "PathInContainer": "/dev/dri",
                        "CgroupPermissions": "rwm",
                    }
                ]
            },
        ),
        ("coral-usb", {}),
        ("x86-64-cpu", {}),
        (None, {}),
    ],
)
def test_a_container_reaches_the_accelerator_of_its_target(
    hardware: str | None, expected: dict[str, Any]
) -> None:
    host = module_options(RuntimeConfig(), hardware)["HostConfig"]
    assert {key: host[key] for key in host if key not in {"Binds", "PortBindings"}} == expected


def test_inference_is_published_on_loopback_only_or_not_at_all() -> None:
    host = module_options(RuntimeConfig(host_port=9000), None)["HostConfig"]
    assert host["PortBindings"] == {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "9000"}]}
    assert "PortBindings" not in module_options(RuntimeConfig(host_port=None), None)["HostConfig"]


def test_options_of_the_project_are_put_over_ours() -> None:
    more = {"HostConfig": {"Binds": ["/data:/data"], "NetworkMode": "host"}, "Cmd": ["-v"]}
    options = module_options(RuntimeConfig(create_options=more), None)
    assert options["Cmd"] == ["-v"]
    assert options["HostConfig"]["NetworkMode"] == "host"
    assert options["HostConfig"]["Binds"][-1] == "/data:/data"
    assert options["HostConfig"]["Binds"][0] == "/etc/edgectl:/etc/edgectl:ro"


def test_options_of_another_kind_than_ours_are_refused_with_their_key() -> None:
    with pytest.raises(ProjectError, match=r"runtime\.create_options\.HostConfig\.Binds"):
        module_options(RuntimeConfig(create_options={"HostConfig": {"Binds": "x"}}), None)


def test_a_target_with_two_kinds_of_accelerators_is_refused() -> None:
    check_one_kind("lots", {"raspberry-pi-4": 1, "x86-64-cpu": 2, "coral-usb": 1})
    with pytest.raises(PlanError, match="need other containers"):
        check_one_kind("lots", {"jetson-orin": 1, "x86-64-cpu": 2})


def test_a_deployment_that_does_not_fit_into_a_twin_is_refused() -> None:
    config = runtime(env={f"K{n}": "x" * 4000 for n in range(9)})
    with pytest.raises(LimitError, match="IoT Hub takes at most 32768"):
        configuration(config, LAYER, SELECTOR)


def test_names_that_are_too_long_for_an_id_are_cut_and_stay_apart() -> None:
    long = msgspec.structs.replace(LAYER, application="a" * 63, target="t" * 63, number=10**12)
    assert len(configuration(CONFIG, long, SELECTOR)["id"]) <= 128


def base(**module: Any) -> dict[str, Any]:
    user = {
        "type": "docker",
        "status": "running",
        "restartPolicy": "always",
        "settings": {"image": "x"},
        **module,
    }
    system = {"type": "docker", "settings": {"image": "x"}}
    hub = {**system, "status": "running", "restartPolicy": "always"}
    agent = {
        "schemaVersion": "1.1",
        "runtime": {"type": "docker", "settings": {"minDockerVersion": "v1.25"}},
        "systemModules": {"edgeAgent": system, "edgeHub": hub},
        "modules": {"camera": user},
    }
    return {"modulesContent": {"$edgeAgent": {"properties.desired": agent}}}


def hub(routes: dict[str, Any], **more: Any) -> dict[str, Any]:
    desired = {
        "schemaVersion": "1.1",
        "routes": routes,
        "storeAndForwardConfiguration": {"timeToLiveSecs": 60, **more},
    }
    return {"modulesContent": {"$edgeHub": {"properties.desired": desired}}}


def layered(**keys: Any) -> dict[str, Any]:
    return {
        "modulesContent": {"$edgeAgent": {f"properties.desired.{k}": v for k, v in keys.items()}}
    }


GOOD = base()["modulesContent"]["$edgeAgent"]["properties.desired"]["modules"]["camera"]


@pytest.mark.parametrize(
    "content",
    [
        base(),
        base(startupOrder=0, imagePullPolicy="never", env={"A": {"value": 3}}, version="1.0"),
        hub({"a": "FROM /* INTO $upstream"}),
        hub({"a": {"route": "FROM /* INTO $upstream", "priority": 9, "timeToLiveSecs": 0}}),
        layered(**{"modules.camera": GOOD}),
        {"modulesContent": {"camera": {"properties.desired": {"fps": 30}}}},
        {"modulesContent": {"camera": {"properties.desired.fps": 30}}},
    ],
)
def test_good_content_is_taken(content: dict[str, Any]) -> None:
    check_content(content)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "expected `modulesContent` alone"),
        ({"moduleContent": {}}, "found moduleContent"),
        (base(status="started"), "'started' is not one of"),
        (base(restartPolicy="sometimes"), "'sometimes' is not one of"),
        (base(color="red"), "'color' was unexpected"),
        (base(startupOrder=-1), "-1 is less than"),
        (base(settings={"image": "x", "createOptions100": "{}"}), "createOptions100"),
        (base(settings={"image": "x", "createOptions": "x" * 513}), "is too long"),
        (base(settings={"image": "x", "createOptions": "{"}), "is not a JSON object"),
        (base(settings={"image": "x", "createOptions01": "{}"}), "numbered without a gap"),
        (base(env={"A": {"value": [1]}}), "is not of type"),
        (hub({"a b": "x"}), "'a b' does not match"),
        (hub({"a": {"route": "x", "priority": 10}}), "is not valid under any"),
        (hub({}, storeLimits={"maxSizeBytes": 1}), "'storeLimits' was unexpected"),
        (layered(**{"modules.a b": GOOD}), "'properties.desired.modules.a b' is none"),
        (layered(**{"modules.a\n": GOOD}), "is none"),
        (layered(runtime={}), "`properties.desired.modules.NAME` keys"),
        ({"modulesContent": {"a b": {"properties.desired": {}}}}, "cannot be the name"),
        ({"modulesContent": {"a": {"desired": {}}}}, "found 'desired'"),
    ],
)
def test_content_that_breaks_the_schemas_is_told(content: dict[str, Any], said: str) -> None:
    assert said in " ".join(problems(content))
    with pytest.raises(PlanError):
        check_content(content)


@pytest.mark.parametrize("version", ["1.1.0", "11", "1.1\n", "2.0", "1x1"])
def test_versions_that_the_vendors_own_pattern_lets_through_are_refused(version: str) -> None:
    content = base()
    content["modulesContent"]["$edgeAgent"]["properties.desired"]["schemaVersion"] = version
    with pytest.raises(PlanError, match="schemaVersion"):
        check_content(content)

"""What the virtual edgeAgent takes for a deployment."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl_azure_iot_edge.emulator.edge.manifest import (
    ConfigError,
    join_options,
    parse_deployment,
    split_options,
)
from edgectl_azure_iot_edge.emulator.edge.records import LAST_ORDER


def desired(**modules: Any) -> dict[str, Any]:
    return {
        "$version": 7,
        "$metadata": {},
        "schemaVersion": "1.1",
        "runtime": {
            "type": "docker",
            "settings": {
                "minDockerVersion": "v1.25",
                "registryCredentials": {
                    "r": {"address": "registry", "username": "u", "password": "p"}
                },
            },
        },
        "systemModules": {
            "edgeAgent": {"type": "docker", "settings": {"image": "agent:1.5"}},
            "edgeHub": {
                "type": "docker",
                "settings": {"image": "hub:1.5", "createOptions": ""},
                "status": "running",
                "restartPolicy": "always",
                "startupOrder": 0,
            },
        },
        "modules": modules,
    }


def module(**more: Any) -> dict[str, Any]:
    return {
        "type": "docker",
        "status": "running",
        "restartPolicy": "on-failure",
        "settings": {"image": "registry/app:1"},
        **more,
    }


def test_a_deployment_is_read_whole() -> None:
    found = parse_deployment(
        desired(
            plates=module(
                env={"A": {"value": "x"}, "N": {"value": 1}},
                imagePullPolicy="never",
                startupOrder=3,
                version="2.0",
            )
        )
    )
    plates = found.modules["plates"]
    assert (found.version, found.schema_version) == (7, "1.1")
    assert found.credentials[0].username == "u"
    assert plates.env == {"A": "x", "N": "1"}
    assert (plates.restart_policy, plates.pull_policy) == ("on-failure", "never")
    assert (plates.startup_order, plates.version) == (3, "2.0")
    assert found.modules["edgeHub"].startup_order == 0
    assert found.agent.startup_order == LAST_ORDER


def test_parts_of_create_options_are_put_together() -> None:
    options = json.dumps({"Env": ["X=" + "y" * 1500]})
    settings = {"image": "registry/app:1", **split_options(options)}
    assert [len(settings[k]) for k in ("createOptions", "createOptions01")] == [512, 512]
    found = parse_deployment(desired(plates=module(settings=settings)))
    assert found.modules["plates"].create_options == options


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=900), max_size=4))
def test_options_survive_being_cut(options: dict[str, str]) -> None:
    text = json.dumps(options)
    if len(text) <= 51200:
        assert json.loads(join_options(split_options(text))) == options


def test_an_empty_twin_is_417() -> None:
    with pytest.raises(ConfigError, match="empty configuration") as caught:
        parse_deployment({"$version": 1, "$metadata": {}})
    assert caught.value.code == 417


@pytest.mark.parametrize("version", ["2.0", "1.2"])
def test_another_schema_is_412(version: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_deployment({**desired(), "schemaVersion": version})
    assert caught.value.code == 412


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ({"status": "paused"}, "modules.m.status"),
        ({"restartPolicy": "sometimes"}, "modules.m.restartPolicy"),
        ({"type": "lambda"}, "modules.m.type"),
        ({"settings": {"image": " "}}, "modules.m.settings.image"),
        ({"settings": {"image": "a", "createOptions": "{"}}, "no JSON"),
        ({"settings": {"image": "a", "createOptions": "[]"}}, "no JSON object"),
        ({"settings": {"image": "a", "createOptions01": "{}"}}, "a part between is missing"),
        ({"env": {"A": "x"}}, "modules.m.env.A"),
        ({"env": {"A": {"value": []}}}, "modules.m.env.A.value"),
        ({"startupOrder": -1}, "modules.m.startupOrder"),
        ({"startupOrder": True}, "modules.m.startupOrder"),
        ({"imagePullPolicy": "always"}, "modules.m.imagePullPolicy"),
        ({"replicas": 2}, "modules.m.replicas"),
    ],
)
def test_what_the_schema_forbids_is_400_and_the_log_says_where(
    broken: dict[str, Any], why: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_deployment(desired(m=module(**broken)))
    assert caught.value.code == 400
    assert str(caught.value) == "Agent configuration format is invalid."
    assert why in caught.value.detail


def test_a_module_needs_a_name_that_a_container_may_have() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_deployment(desired(**{"a b": module()}))
    assert caught.value.code == 400


def test_schema_1_0_knows_no_startup_order() -> None:
    content = desired(m=module())
    content["schemaVersion"] = "1.0"
    del content["systemModules"]["edgeHub"]["startupOrder"]
    assert parse_deployment(content).schema_version == "1.0"
    content["modules"]["m"]["startupOrder"] = 1
    with pytest.raises(ConfigError):
        parse_deployment(content)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_nothing_but_a_config_error_comes_of_any_content(content: Any) -> None:
    for place in ("runtime", "systemModules", "modules"):
        with pytest.raises(ConfigError):
            parse_deployment({**desired(), place: content, "schemaVersion": "1.1", "x": 1})

"""Where the virtual edgeHub sends a message."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl_azure_iot_edge.emulator.edge.conditions import (
    ConditionError,
    is_met,
    parse_condition,
)
from edgectl_azure_iot_edge.emulator.edge.routes import (
    RouteError,
    message_source,
    parse_hub_config,
    parse_route,
)
from edgectl_azure_iot_edge.emulator.edge.values import Message

MESSAGE = Message(
    body=b'{"temperature": 54.3, "machine": {"status": "running", "parts": [1, 2]}}',
    properties={"level": "high", "n": "7"},
    system={"connectionModuleId": "plates", "contentType": "application/json"},
)


def hub(**routes: Any) -> Any:
    return parse_hub_config({"schemaVersion": "1.1", "$version": 2, "routes": routes})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$body.temperature > 50", True),
        ("$body.machine.status != 'running'", False),
        ("$body.machine.parts[1] = 2", True),
        ("level = 'high' AND NOT n = '8'", True),
        ('level = "low" or $connectionModuleId = "plates"', True),
        ("missing = 'x'", False),
        ("NOT missing = 'x'", False),
        ("IS_DEFINED(missing)", False),
        ("NOT IS_DEFINED($connectionDeviceId)", True),
        ("missing = 'x' OR level = 'high'", True),
        ("as_number(n) + 1 = 8", True),
        ("as_number(level) = 1", False),
        ("starts_with($body.machine.status, 'run')", True),
        ("upper(level) = 'HIGH' and length(level) = 4", True),
        ("$body.temperature = 'x'", False),
        ("$body.temperature <> 'x'", True),
        ("1 / 0 = 1", False),
        ("2 + 3 * 4 = 14 and (2 + 3) * 4 = 20 and -1 < 0", True),
        ("{level} = 'high'", True),
        ("'it''s' = 'it''s'", True),
        ("true", True),
        ("level", False),
    ],
)
def test_a_condition_is_met_or_not(text: str, expected: bool) -> None:
    assert is_met(parse_condition(text), MESSAGE) is expected


def test_a_body_that_says_it_is_no_json_has_no_properties() -> None:
    message = Message(body=b'{"a": 1}', system={"contentType": "text/plain"})
    assert not is_met(parse_condition("$body.a = 1"), message)
    assert is_met(parse_condition("$body.a = 1"), Message(body=b'{"a": 1}'))


@pytest.mark.parametrize("text", ["a =", "(a = 1", "a = 1)", "nothing(a)", "a ~ 1", "and", "= 1"])
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(ConditionError):
        parse_condition(text)


@given(st.text(max_size=30))
def test_any_text_is_a_condition_or_a_condition_error(text: str) -> None:
    try:
        condition = parse_condition(text)
    except ConditionError:
        return
    is_met(condition, MESSAGE)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("/*", True),
        ("/messages/*", True),
        ("/messages/modules/*", True),
        ("/messages/modules/plates/*", True),
        ("/messages/modules/plates/outputs/*", True),
        ("/messages/modules/plates/outputs/telemetry", True),
        ("/messages/modules/plates/outputs/other", False),
        ("/messages/modules/plate/*", False),
        ("/messages/modules/other/outputs/telemetry", False),
    ],
)
def test_a_source_takes_what_is_below_it(source: str, expected: bool) -> None:
    route = parse_route("r", f"FROM {source} INTO $upstream")
    assert route.takes(message_source("plates", "telemetry"), MESSAGE) is expected


def test_a_message_without_an_output_comes_from_its_module() -> None:
    route = parse_route("r", "FROM /messages/modules/plates/* INTO $upstream")
    assert route.takes(message_source("plates", ""), MESSAGE)


def test_a_message_goes_to_each_endpoint_once_with_its_best_priority() -> None:
    config = hub(
        all="FROM /messages/* INTO $upstream",
        fast={"route": "FROM /messages/* INTO $upstream", "priority": 1, "timeToLiveSecs": 5},
        side="FROM /messages/* WHERE level = 'high' INTO BrokeredEndpoint(\"/modules/f/inputs/i\")",
        no="FROM /messages/* WHERE level = 'low' INTO BrokeredEndpoint(\"/modules/g/inputs/i\")",
    )
    found = config.deliveries(message_source("plates", "telemetry"), MESSAGE)
    assert {(d.endpoint.name, d.priority, d.ttl_s) for d in found} == {
        ("$upstream", 1, 5.0),
        ("f/i", 2_000_000_000, 7200.0),
    }


def test_the_global_time_to_live_holds_where_a_route_has_none() -> None:
    config = parse_hub_config(
        {
            "schemaVersion": "1.1",
            "routes": {"all": "FROM /* INTO $upstream"},
            "storeAndForwardConfiguration": {"timeToLiveSecs": 60},
        }
    )
    assert config.deliveries("/messages/modules/m", MESSAGE)[0].ttl_s == 60.0


@pytest.mark.parametrize(
    ("route", "why"),
    [
        ("FROM /messages/*", "FROM"),
        ("FROM messages INTO $upstream", "no source"),
        ("FROM /* INTO $downstream", "downstream"),
        ("FROM /* WHERE ( INTO $upstream", "condition"),
        ({"priority": 1}, "'route'"),
        ({"route": "FROM /* INTO $upstream", "priority": 10}, "0 to 9"),
        ({"route": "FROM /* INTO $upstream", "timeToLiveSecs": "1h"}, "seconds"),
        ({"route": "FROM /* INTO $upstream", "ttl": 1}, "'ttl'"),
    ],
)
def test_a_route_that_cannot_be_followed_is_refused(route: Any, why: str) -> None:
    with pytest.raises(RouteError, match=why):
        hub(r=route)


def test_another_schema_is_refused_and_an_empty_twin_routes_nothing() -> None:
    with pytest.raises(RouteError, match="schemaVersion"):
        parse_hub_config({"schemaVersion": "2.0", "routes": {}})
    assert parse_hub_config({"$version": 1}).deliveries("/messages/modules/m", MESSAGE) == ()

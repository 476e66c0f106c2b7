from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edgectl import api


def findings(provider: api.Provider, *targets: api.Target) -> dict[str, api.Finding]:
    return {f.name: f for f in provider.check(api.CheckRequest(targets=targets))}


def test_a_good_server_passes(provider: api.Provider, server: Any, wire: Any) -> None:
    found = findings(provider)
    assert found["server"].ok
    assert found["target tokens"].ok
    assert found["devices' address"].ok, found["devices' address"].detail
    assert found["local store"].ok
    assert found["telemetry"].ok == (server.kind == "hub")
    assert wire.writes == []


def test_wrong_credentials_are_found(open_plugin: Callable[..., api.Provider]) -> None:
    found = findings(open_plugin(password="wrong"))
    assert not found["server"].ok
    assert "password_file" in found["server"].hint


def test_an_address_where_no_devices_are_served_is_found(
    open_plugin: Callable[..., api.Provider], server: Any
) -> None:
    found = findings(open_plugin(device_url=f"{server.url}/elsewhere"))
    assert not found["devices' address"].ok
    assert "device_url" in found["devices' address"].hint


def test_a_target_that_finds_nothing_gets_a_hint(provider: api.Provider, unique: str) -> None:
    target = api.Target(name="t", provider="selfhosted", selector={"tag": unique})
    finding = findings(provider, target)["target t"]
    assert finding.ok
    assert "devices add" in finding.hint


def test_a_wrong_selector_is_found(provider: api.Provider) -> None:
    target = api.Target(name="t", provider="selfhosted", selector={"thing_group": "x"})
    finding = findings(provider, target)["target t"]
    assert not finding.ok
    assert "thing_group" in finding.detail


def test_switched_off_target_tokens_are_found(provider: api.Provider, server: Any) -> None:
    path = "/rest/v1/system/configs/authentication.targettoken.enabled"
    with server.operator() as operator:
        operator.put(path, json={"value": False}).raise_for_status()
        try:
            finding = findings(provider)["target tokens"]
        finally:
            operator.put(path, json={"value": True}).raise_for_status()
    assert not finding.ok


@pytest.mark.usefixtures("server")
def test_looking_leaves_no_device_behind(provider: api.Provider, server: Any) -> None:
    findings(provider)
    with server.operator() as operator:
        assert operator.get("/rest/v1/targets/edgectl-doctor").status_code == 404

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgectl import api


def test_a_new_device_gets_a_configuration_that_works(fleet: Any, server: Any) -> None:
    result = fleet.enroll("one", hardware="raspberry-pi-5")
    config = api.parse_device_config(result.files["device.toml"])
    assert config.device.id == fleet.name("one")
    assert (config.device.application, config.device.hardware) == (
        fleet.application,
        "raspberry-pi-5",
    )
    assert config.hub is not None
    assert (config.hub.url, config.hub.tenant) == (server.url, "DEFAULT")
    assert config.trust.publishers[0].startswith("-----BEGIN PUBLIC KEY-----")
    assert config.telemetry.url == f"{server.url}/v1/logs"
    assert config.telemetry.authorization == f"TargetToken {config.hub.token}"
    assert "configData" in fleet.device("one").poll()


def test_enrolling_again_gives_the_same_files_and_writes_nothing(fleet: Any, wire: Any) -> None:
    first = fleet.enroll("one")
    wire.clear()
    assert fleet.enroll("one") == first
    assert wire.writes == []
    assert list(fleet.inventory()) == [fleet.name("one")]


def test_the_target_finds_its_new_device(fleet: Any) -> None:
    fleet.enroll("one")
    device = fleet.inventory()[fleet.name("one")]
    assert device.hardware == "x86-64-cpu"


def test_a_device_that_the_selector_cannot_find_is_refused(fleet: Any) -> None:
    target = api.Target(name="lots", provider="selfhosted", selector={"ids": ["other"]})
    with pytest.raises(api.PlanError, match="is not among them"):
        fleet.enroll("one", target=target)
    assert fleet.inventory() == {}


def test_unknown_hardware_is_refused(fleet: Any) -> None:
    with pytest.raises(api.PlanError, match="unknown hardware 'toaster'"):
        fleet.enroll("one", hardware="toaster")


def test_what_the_device_has_to_say_itself_is_noted(fleet: Any, unique: str) -> None:
    target = api.Target(
        name="lots", provider="selfhosted", selector={"attributes": {"site": unique}}
    )
    assert any(f"site={unique}" in note for note in fleet.enroll("one", target=target).notes)


def test_the_devices_address_may_differ(
    fleet: Any, open_plugin: Callable[..., api.Provider]
) -> None:
    fleet.provider = open_plugin(
        device_url="https://edge.example:8443", device_state_dir="/data/edge/"
    )
    config = api.parse_device_config(fleet.enroll("one").files["device.toml"])
    assert config.hub is not None
    assert config.hub.url == "https://edge.example:8443"
    assert config.telemetry.url == "https://edge.example:8443/v1/logs"
    assert config.device.state_dir == f"/data/edge/{fleet.name('one')}"


def test_the_token_is_not_given_to_another_server(
    fleet: Any, open_plugin: Callable[..., api.Provider]
) -> None:
    fleet.provider = open_plugin(device_telemetry_url="https://collector.example/v1/logs")
    result = fleet.enroll("one")
    config = api.parse_device_config(result.files["device.toml"])
    assert config.telemetry.authorization == ""
    assert config.hub is not None
    assert config.hub.token
    assert any("another server" in note for note in result.notes)


def test_a_private_authority_comes_along(
    fleet: Any, open_plugin: Callable[..., api.Provider], tmp_path: Path
) -> None:
    (tmp_path / "authority.pem").write_text("PEM")
    fleet.provider = open_plugin(ca="authority.pem")
    result = fleet.enroll("one")
    config = api.parse_device_config(result.files["device.toml"])
    assert result.files["ca.pem"] == "PEM"
    assert config.hub is not None
    assert config.hub.ca == config.telemetry.ca == f"{config.device.state_dir}/ca.pem"
    assert any("ca.pem" in note for note in result.notes)


def test_a_device_that_has_the_authority_already_is_told_where(
    fleet: Any, open_plugin: Callable[..., api.Provider]
) -> None:
    fleet.provider = open_plugin(ca="authority.pem", device_ca="/etc/ssl/site.pem")
    result = fleet.enroll("one")
    config = api.parse_device_config(result.files["device.toml"])
    assert set(result.files) == {"device.toml"}
    assert config.hub is not None
    assert config.hub.ca == "/etc/ssl/site.pem"


def test_a_retired_device_is_gone_and_its_token_worth_nothing(fleet: Any) -> None:
    device = fleet.device("one")
    device.poll()
    request = api.RetireRequest(target=fleet.target, device=device.id)
    assert fleet.provider.retire(request).removed
    assert not fleet.provider.retire(request).removed
    assert fleet.inventory() == {}
    with pytest.raises(Exception, match="401"):
        device.poll()

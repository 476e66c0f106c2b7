"""What an account still has after it was stopped and started again."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
from azure.iot.hub import IoTHubConfigurationManager, IoTHubRegistryManager
from azure.iot.hub.models import Configuration, ConfigurationContent, Twin

from edgectl_azure_iot_edge.emulator.account import RunningAccount
from edgectl_azure_iot_edge.emulator.hub.room import HubRoom
from edgectl_azure_iot_edge.emulator.hub.settings import HubSettings
from edgectl_azure_iot_edge.emulator.login import LoginRoom

CONTENT = {"$edgeAgent": {"properties.desired": {"modules": {"a": {"type": "docker"}}}}}


def opened(folder: Path) -> RunningAccount:
    settings = HubSettings(background_s=0.0, metrics_s=3600.0)
    return RunningAccount(folder, rooms=(LoginRoom, functools.partial(HubRoom, settings=settings)))


def test_devices_twins_deployments_keys_and_ports_survive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as account:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(account.ca_file))
        connection = account.site.find(HubRoom).connection_string("iothubowner")
        login = account.settings()
        registry = IoTHubRegistryManager.from_connection_string(connection)
        device = registry.create_device_with_sas("d", None, None, "enabled", iot_edge=True)
        registry.update_twin("d", Twin(tags={"site": "a"}))
        IoTHubConfigurationManager.from_connection_string(connection).create_configuration(
            Configuration(
                id="base",
                content=ConfigurationContent(modules_content=CONTENT),
                target_condition="*",
                priority=1,
            )
        )
        account.site.find(HubRoom).hub.background.assign()
        mqtt_port = account.site.find(HubRoom).devices.port
    with opened(tmp_path) as account:
        assert account.settings() == login
        assert account.site.find(HubRoom).devices.port == mqtt_port
        registry = IoTHubRegistryManager.from_connection_string(connection)
        assert registry.get_device("d").authentication.as_dict() == device.authentication.as_dict()
        assert registry.get_twin("d").tags == {"site": "a"}
        agent = registry.get_module_twin("d", "$edgeAgent")
        assert agent.properties.desired["modules"] == {"a": {"type": "docker"}}
        assert agent.additional_properties["configurations"] == {"base": {"status": "Applied"}}
        deployments = IoTHubConfigurationManager.from_connection_string(connection)
        assert deployments.get_configuration("base").etag == "MQ=="

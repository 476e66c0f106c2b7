"""Who may call the hub: policies, devices' own keys, clients of Microsoft Entra ID, tiers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import requests
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import ClientSecretCredential
from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import QuerySpecification, Twin
from azure_module import Module, token, until
from msrest.exceptions import HttpOperationError

from edgectl_azure_iot_edge.emulator.account import RunningAccount
from edgectl_azure_iot_edge.emulator.hub.room import HubRoom
from edgectl_azure_iot_edge.emulator.hub.settings import HubSettings

MakeDevice = Callable[..., Any]
VERSION = {"api-version": "2021-04-12"}
DENIED = (401, "IotHubUnauthorizedAccess")


def call(account: RunningAccount, path: str, header: str = "", **more: Any) -> requests.Response:
    headers = {"Authorization": header} if header else {}
    verb = more.pop("verb", "GET")
    return requests.request(
        verb, account.url + path, params=VERSION, headers=headers, timeout=20, **more
    )


def verdict(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.headers.get("iothub-errorcode", "")


def manager(account: RunningAccount, policy: str) -> IoTHubRegistryManager:
    text = account.site.find(HubRoom).connection_string(policy)
    return IoTHubRegistryManager.from_connection_string(text)


def refused(work: Callable[[], object]) -> tuple[int, str]:
    with pytest.raises(HttpOperationError) as caught:
        work()
    return verdict(caught.value.response)


def key_of(account: RunningAccount, policy: str) -> str:
    return account.site.find(HubRoom).hub.policies[policy].primary


def test_nobody_is_let_in_without_a_word(account: RunningAccount) -> None:
    assert verdict(call(account, "/statistics/devices")) == DENIED
    assert verdict(call(account, "/statistics/devices", "Basic abc")) == DENIED


def test_a_signature_ends_and_is_for_one_hub_and_needs_the_right_key(
    account: RunningAccount,
) -> None:
    key = key_of(account, "iothubowner")
    good = token("", key, policy="iothubowner")
    assert call(account, "/statistics/devices", good).status_code == 200
    bad = [
        token("", key, life_s=-1, policy="iothubowner"),
        token("", key_of(account, "service"), policy="iothubowner"),
        token("", key, policy="nobody"),
        token("", key),
        good.replace("localhost", "elsewhere"),
        "SharedAccessSignature sr=localhost",
    ]
    assert [verdict(call(account, "/statistics/devices", text)) for text in bad] == [DENIED] * 6


def test_the_accounts_clock_can_be_ahead(account: RunningAccount) -> None:
    text = token("", key_of(account, "iothubowner"), policy="iothubowner")
    answer = requests.put(f"{account.url}/emulator/clock", json={"ahead_s": 7200}, timeout=20)
    assert answer.status_code == 200
    assert verdict(call(account, "/statistics/devices", text)) == DENIED


def test_a_policy_does_what_its_permissions_say(
    account: RunningAccount, new_device: MakeDevice
) -> None:
    device_id = new_device().device_id
    reader, service = manager(account, "registryRead"), manager(account, "service")
    writer, device = manager(account, "registryReadWrite"), manager(account, "device")
    assert reader.get_device(device_id).device_id == device_id
    create = lambda: reader.create_device_with_sas(f"{device_id}-x", None, None, "enabled")  # noqa: E731
    assert refused(create) == DENIED
    assert refused(lambda: reader.get_twin(device_id)) == DENIED
    assert service.update_twin(device_id, Twin(tags={"a": 1})).tags == {"a": 1}
    assert refused(lambda: service.get_device(device_id)) == DENIED
    writer.create_device_with_sas(f"{device_id}-y", None, None, "enabled")
    assert refused(lambda: device.get_device(device_id)) == DENIED


def test_an_edge_device_manages_its_own_modules_and_nothing_else(
    account: RunningAccount, new_device: MakeDevice
) -> None:
    mine, other = new_device(edge=True), new_device(edge=True)
    key = mine.authentication.symmetric_key.primary_key
    own = token(f"devices/{mine.device_id}", key)
    place = f"/devices/{mine.device_id}/modules"
    assert call(account, place, own).status_code == 200
    body = {"deviceId": mine.device_id, "moduleId": "$edgeAgent", "managedBy": "iotEdge"}
    put = call(account, f"{place}/$edgeAgent", own, verb="PUT", json=body)
    assert verdict(put)[1] == "ModuleAlreadyExistsOnDevice"
    answer = requests.put(
        f"{account.url}{place}/$edgeAgent",
        params=VERSION,
        json={**body, "authentication": {"type": "sas"}},
        headers={"Authorization": own, "If-Match": "*"},
        timeout=20,
    )
    assert answer.json()["authentication"]["symmetricKey"]["primaryKey"]
    assert verdict(call(account, f"/devices/{other.device_id}/modules", own)) == DENIED
    assert verdict(call(account, f"/twins/{mine.device_id}", own)) == DENIED


def test_the_service_cannot_change_the_system_modules(
    account: RunningAccount, new_device: MakeDevice
) -> None:
    device_id = new_device(edge=True).device_id
    registry = manager(account, "iothubowner")
    change = lambda: registry.update_module_with_sas(  # noqa: E731
        device_id, "$edgeAgent", "me", "*", None, None
    )
    assert refused(change) == (401, "SystemModuleModifyUnauthorizedAccess")


def credential(account: RunningAccount, client_id: str, secret: str) -> ClientSecretCredential:
    return ClientSecretCredential(
        account.site.tenant,
        client_id,
        secret,
        authority=account.url,
        disable_instance_discovery=True,
    )


def test_a_client_of_entra_id_needs_the_data_action(
    account: RunningAccount, new_device: MakeDevice
) -> None:
    device_id = new_device().device_id
    host = account.url.removeprefix("https://")
    made = requests.post(
        f"{account.url}/emulator/clients", json={"roles": ["IoT Hub Data Reader"]}, timeout=20
    ).json()
    reading = credential(account, made["AZURE_CLIENT_ID"], made["AZURE_CLIENT_SECRET"])
    reader = IoTHubRegistryManager.from_token_credential(host, reading)
    assert reader.get_twin(device_id).device_id == device_id
    assert refused(lambda: reader.update_twin(device_id, Twin(tags={"a": 1}))) == DENIED
    nothing = account.site.directory.add(("Contributor",))
    contributor = IoTHubRegistryManager.from_token_credential(
        host, credential(account, nothing.client_id, nothing.secret)
    )
    assert refused(lambda: contributor.get_twin(device_id)) == DENIED


def test_a_wrong_secret_gets_no_token(account: RunningAccount) -> None:
    client = account.site.directory.administrator.client_id
    with pytest.raises(ClientAuthenticationError, match="AADSTS7000215"):
        credential(account, client, "wrong").get_token("https://iothubs.azure.net/.default")


def test_a_token_for_another_service_or_from_before_is_refused(account: RunningAccount) -> None:
    directory = account.site.directory
    client = directory.administrator.client_id
    bad = [
        directory.issue(client, "https://management.azure.com"),
        directory.issue(client, "https://iothubs.azure.net", timedelta(seconds=-1)),
        "a.b.c",
    ]
    verdicts = [verdict(call(account, "/statistics/devices", f"Bearer {text}")) for text in bad]
    assert verdicts == [DENIED] * 3
    good = directory.issue(client, "https://iothubs.azure.net")
    assert call(account, "/statistics/devices", f"Bearer {good}").status_code == 200


def test_an_api_version_is_needed(account: RunningAccount) -> None:
    text = token("", key_of(account, "iothubowner"), policy="iothubowner")
    answer = requests.get(
        f"{account.url}/statistics/devices", headers={"Authorization": text}, timeout=20
    )
    assert verdict(answer) == (400, "InvalidProtocolVersion")


def test_a_basic_hub_has_a_registry_and_no_twins_or_deployments(
    start_account: Callable[[HubSettings], RunningAccount], monkeypatch: pytest.MonkeyPatch
) -> None:
    account = start_account(HubSettings(tier="B1"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(account.ca_file))
    registry = manager(account, "iothubowner")
    registry.create_device_with_sas("d", None, None, "enabled")
    denied = (403, "OperationNotAvailableInCurrentTier")
    assert refused(lambda: registry.get_twin("d")) == denied
    query = QuerySpecification(query="select * from devices")
    assert refused(lambda: registry.query_iot_hub(query)) == denied
    text = token("", key_of(account, "iothubowner"), policy="iothubowner")
    assert verdict(call(account, "/configurations", text)) == denied
    key = registry.get_device("d").authentication.symmetric_key.primary_key
    device = Module(account, "d", token=token("devices/d", key))
    assert device.connect() == 0
    assert device.subscribe() == [128, 128, 128]
    device.send(b"telemetry goes on")
    log = account.site.events
    until(lambda: log.read(log.partition_of("d"), 0))
    device.close()


def test_resource_manager_tells_of_clouds_and_the_hub(account: RunningAccount) -> None:
    clouds = requests.get(
        f"{account.url}/metadata/endpoints", params={"api-version": "2019-05-01"}, timeout=20
    ).json()
    assert clouds[0]["authentication"]["loginEndpoint"] == account.url
    directory, site = account.site.directory, account.site
    text = directory.issue(directory.administrator.client_id, "https://management.azure.com")
    hubs = f"/subscriptions/{site.subscription}/providers/Microsoft.Devices/IotHubs"
    (hub,) = call(account, hubs, f"Bearer {text}").json()["value"]
    assert hub["sku"]["tier"] == "Standard"
    keys = call(account, f"{hub['id']}/listkeys", f"Bearer {text}", verb="POST").json()["value"]
    assert {key["keyName"] for key in keys} >= {"iothubowner", "service"}
    assert call(account, hubs).status_code == 401

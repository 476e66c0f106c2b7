"""A module at the virtual device's edgeHub and workload API, and what reaches the hub."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from azure_devices import Runner, Service, eventually, manifest, module, shell
from module_client import ModuleClient, workload

from edgectl_azure_iot_edge.emulator.edge.device import Device

UPSTREAM = "FROM /messages/modules/{0}/outputs/{1} INTO $upstream"
Opened = Callable[..., ModuleClient]


@pytest.fixture
def opened(devices: Runner, service: Service) -> Iterator[Opened]:
    """Return a function that deploys idle modules and connects as one of them."""
    clients: list[ModuleClient] = []
    image: list[str] = []

    def environment(device: Device, name: str) -> dict[str, str]:
        text = eventually(lambda: device.engine.log(name).decode())
        lines = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        return {key: value for key, value in lines.items() if key.startswith("IOTEDGE_")}

    def make(
        *names: str, connect: bool = True, routes: dict[str, Any] | None = None, **twins: Any
    ) -> ModuleClient:
        if not image:
            image.append(devices.push("idle", shell("env; exec sleep 1000")))
            devices.start()
        device = devices.running["d1"][0]
        modules = {name: module(image[0]) for name in names}
        service.deploy("d1", manifest(modules, routes, **twins))
        eventually(lambda: device.engine.containers()[names[0]].state == "running")
        wanted = service.twin("d1", "$edgeHub")["properties"]["desired"]["$version"]
        eventually(lambda: service.reported("d1", "$edgeHub")["lastDesiredVersion"] == wanted)
        client = ModuleClient(environment(device, names[0]))
        clients.append(client)
        if connect:
            client.open()
            assert client.connected.wait(20.0)
            assert client.refused == []
            eventually(lambda: service.twin("d1", names[0])["connectionState"] == "Connected")
        return client

    make.environment = environment  # type: ignore[attr-defined]  # for a second module
    yield make
    for client in clients:
        client.close()


def arrived(service: Service, count: int) -> list[Any]:
    def look() -> list[Any]:
        found = [e for e in service.messages() if "iothub-connection-module-id" in e.annotations]
        return found if len(found) >= count else []

    found: list[Any] = eventually(look)
    return found


def test_a_message_takes_its_route_to_the_cloud_as_its_module(
    opened: Opened, service: Service
) -> None:
    client = opened("app", routes={"r": UPSTREAM.format("app", "telemetry")})
    client.send("other", {"n": 0})
    client.send("telemetry", {"n": 1}, level="high")
    (event,) = arrived(service, 1)
    assert json.loads(event.body) == {"n": 1}
    assert event.properties["level"] == "high"
    assert event.annotations["iothub-connection-module-id"] == "app"


def test_messages_wait_on_the_disk_while_the_uplink_is_cut_and_keep_their_order(
    opened: Opened, devices: Runner, service: Service
) -> None:
    routes = {
        "slow": UPSTREAM.format("app", "slow"),
        "fast": {"route": UPSTREAM.format("app", "fast"), "priority": 0},
        "short": {"route": UPSTREAM.format("app", "short"), "timeToLiveSecs": 0},
    }
    client = opened("app", routes=routes)
    devices.faults(network_cut=True)
    hub = devices.running["d1"][0].hub
    eventually(lambda: service.twin("d1", "app")["connectionState"] == "Disconnected")
    for number in range(3):
        client.send("slow", {"slow": number})
    client.send("short", {"short": 0})
    client.send("fast", {"fast": 0})
    assert hub.waiting["$upstream"] == 5
    devices.faults()
    bodies = [json.loads(event.body) for event in arrived(service, 4)]
    assert bodies == [{"fast": 0}, {"slow": 0}, {"slow": 1}, {"slow": 2}]


def test_a_message_goes_to_another_module_and_says_where_it_is_from(
    opened: Opened, devices: Runner
) -> None:
    route = 'FROM /messages/modules/app/* INTO BrokeredEndpoint("/modules/other/inputs/in1")'
    sender = opened("app", "other", routes={"r": route})
    sender.send("any", {"n": 1})
    device = devices.running["d1"][0]
    assert device.hub.waiting == {"other/in1": 1}
    receiver = ModuleClient(opened.environment(device, "other"))  # type: ignore[attr-defined]  # see the fixture
    receiver.open()
    try:
        topic, payload = receiver.take("devices/d1/modules/other/inputs/in1/")
    finally:
        receiver.close()
    assert json.loads(payload) == {"n": 1}
    assert "%24.cmid=app" in topic
    eventually(lambda: device.hub.waiting == {})


def test_a_module_reads_its_twin_and_reports(opened: Opened, service: Service) -> None:
    client = opened("app", app={"colour": "red"})
    client.publish("$iothub/twin/GET/?$rid=7")
    topic, payload = client.take("$iothub/twin/res/200/")
    assert "$rid=7" in topic
    assert json.loads(payload)["desired"]["colour"] == "red"
    client.publish("$iothub/twin/PATCH/properties/reported/?$rid=8", b'{"size": 3}')
    assert "$version=" in client.take("$iothub/twin/res/204/")[0]
    eventually(lambda: service.reported("d1", "app").get("size") == 3)
    service.call("PATCH", "twins/d1/modules/app", {"properties": {"desired": {"colour": "blue"}}})
    _, patch = client.take("$iothub/twin/PATCH/properties/desired/")
    assert json.loads(patch)["colour"] == "blue"


def test_a_twin_is_there_without_the_hub_and_reports_are_brought_later(
    opened: Opened, devices: Runner, service: Service
) -> None:
    client = opened("app", app={"colour": "red"})
    client.publish("$iothub/twin/GET/?$rid=1")
    client.take("$iothub/twin/res/200/")
    devices.faults(network_cut=True)
    eventually(lambda: service.twin("d1", "app")["connectionState"] == "Disconnected")
    client.publish("$iothub/twin/PATCH/properties/reported/?$rid=2", b'{"late": true}')
    client.take("$iothub/twin/res/204/")
    client.publish("$iothub/twin/GET/?$rid=3")
    found = json.loads(client.take("$iothub/twin/res/200/")[1])
    assert (found["desired"]["colour"], found["reported"]["late"]) == ("red", True)
    service.call("PATCH", "twins/d1/modules/app", {"properties": {"desired": {"colour": "blue"}}})
    devices.faults()
    _, patch = client.take("$iothub/twin/PATCH/properties/desired/")
    assert json.loads(patch)["colour"] == "blue"
    eventually(lambda: service.reported("d1", "app").get("late") is True)
    unsent = devices.place("d1") / "state" / "unsent-app.json"
    eventually(lambda: json.loads(unsent.read_bytes()) == {})


def test_a_direct_method_reaches_the_module(opened: Opened, service: Service) -> None:
    client = opened("app")

    def answer() -> None:
        topic, payload = client.take("$iothub/methods/POST/sing/")
        rid = topic.partition("$rid=")[2]
        client.publish(
            f"$iothub/methods/res/201/?$rid={rid}", json.dumps([payload.decode()]).encode()
        )

    thread = threading.Thread(target=answer)
    thread.start()
    answered = service.method("d1", "app", "sing", {"song": 1})
    thread.join()
    assert answered["status"] == 201
    assert json.loads(answered["payload"][0]) == {"song": 1}


def test_a_stranger_does_not_come_in(opened: Opened) -> None:
    client = opened("app", "other", connect=False)
    good = client.token()
    for bad in ("", good.replace("sig=", "sig=x"), good.replace("app", "other")):
        stranger = ModuleClient(client.env)
        stranger.open(bad)
        assert stranger.connected.wait(20.0)
        assert stranger.refused == ["Not authorized"]
        stranger.close()


def test_a_module_may_only_use_its_own_topics(opened: Opened) -> None:
    client = opened("app")
    client.publish("devices/d1/modules/other/messages/events/", b"{}")
    eventually(lambda: not client._client.is_connected())


def test_the_workload_api_signs_for_its_module_only(opened: Opened, devices: Runner) -> None:
    client = opened("app", connect=False)
    generation = client.env["IOTEDGE_MODULEGENERATIONID"]
    request = {"keyId": "primary", "algo": "HMACSHA256", "data": base64.b64encode(b"x").decode()}
    status, signed = workload(
        client.socket, "POST", f"/modules/app/genid/{generation}/sign", request
    )
    kept = json.loads((devices.place("d1") / "state" / "identities.json").read_bytes())
    key = base64.b64decode(kept["app"]["key"])
    assert status == 200
    assert base64.b64decode(signed["digest"]) == hmac.new(key, b"x", hashlib.sha256).digest()
    other = workload(client.socket, "POST", f"/modules/$edgeHub/genid/{generation}/sign", request)
    assert other[0] == 403
    assert workload(client.socket, "POST", "/modules/app/genid/1/sign", request)[0] == 404
    assert workload(client.socket, "GET", "/nothing")[0] == 404
    listed = workload(client.socket, "GET", "/modules")[1]["modules"]
    assert {entry["name"] for entry in listed} == {"app", "edgeHub"}


def test_a_module_gets_a_server_certificate_of_its_device(opened: Opened) -> None:
    client = opened("app", connect=False)
    generation = client.env["IOTEDGE_MODULEGENERATIONID"]
    status, given = workload(
        client.socket,
        "POST",
        f"/modules/app/genid/{generation}/certificate/server",
        {"commonName": "app.local", "expiration": "2099-01-01T00:00:00Z"},
    )
    assert status == 201
    assert given["privateKey"]["bytes"].startswith("-----BEGIN")
    first = given["certificate"].split("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----"
    assert ssl.PEM_cert_to_DER_cert(first)


def test_messages_survive_a_restart_of_the_device(
    opened: Opened, devices: Runner, service: Service
) -> None:
    client = opened("app", routes={"r": UPSTREAM.format("app", "telemetry")})
    devices.faults(network_cut=True)
    eventually(lambda: service.twin("d1", "app")["connectionState"] == "Disconnected")
    client.send("telemetry", {"n": 1})
    client.close()
    devices.stop()
    devices.faults()
    devices.start()
    assert json.loads(arrived(service, 1)[0].body) == {"n": 1}


def test_a_module_s_socket_and_way_out_are_the_same_after_a_restart(
    opened: Opened, devices: Runner
) -> None:
    before = opened("app").env
    devices.stop()
    device = devices.start()
    eventually(lambda: device.engine.containers()["app"].state == "running")
    client = ModuleClient(before)
    client.open()
    assert client.connected.wait(20.0)
    assert client.refused == []
    client.close()

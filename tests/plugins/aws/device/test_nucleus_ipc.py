"""IPC with AWS's own client, from real components and from the device side's code."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from aws_site import CoreDevice, Site

pytest.importorskip("awsiot.greengrasscoreipc")

HELLO = "com.example.Hello"
PYTHON = sys.executable
PUBLISH = """
import sys
from edge_components.greengrass import NucleusError, publish
try:
    publish(sys.argv[1], sys.argv[2].encode())
    print("published")
except NucleusError as exc:
    print(exc.code, exc)
"""


def _access(*resources: str) -> dict[str, Any]:
    return {
        "accessControl": {
            "aws.greengrass.ipc.mqttproxy": {
                "edgectl:mqttproxy:1": {
                    "policyDescription": "telemetry",
                    "operations": ["aws.greengrass#PublishToIoTCore"],
                    "resources": list(resources),
                }
            }
        }
    }


def _component(site: Site, code: str, *arguments: str, access: tuple[str, ...] = ("*",)) -> None:
    words = " ".join(f"'{each}'" for each in arguments)
    site.component(
        HELLO,
        "1.0.0",
        {"Startup": {"Script": f'"{PYTHON}" {{artifacts:path}}/main.py {words} > $HERE/said 2>&1'}},
        files={"main.py": code.encode()},
        configuration={**_access(*access), "who": {"name": "somebody"}},
    )


def _deployed(site: Site) -> CoreDevice:
    core = site.device()
    status, details = site.result("core-1", site.deploy("core-1", 1, {HELLO: "1.0.0"}))
    assert status == "SUCCEEDED", (details, core.read("said"))
    return core


def test_a_component_publishes_to_iot_core_through_the_nucleus(site: Site) -> None:
    _component(site, PUBLISH, "edgectl/core-1/parking/telemetry", "hello", access=("edgectl/*",))
    core = _deployed(site)
    assert core.read("said") == "published\n"
    site.until(
        lambda: ("edgectl/core-1/parking/telemetry", b"hello", "core-1") in site.cloud.published
    )


def test_a_topic_that_access_control_does_not_name_is_refused(site: Site) -> None:
    _component(site, PUBLISH, "other/topic", "hello", access=("edgectl/*",))
    core = _deployed(site)
    assert core.read("said").startswith("UnauthorizedError the nucleus does not publish")
    assert site.cloud.published == []


def test_a_component_reports_into_its_own_shadow(site: Site) -> None:
    topic = "$aws/things/core-1/shadow/name/edgectl/update"
    _component(site, PUBLISH, topic, json.dumps({"state": {"reported": {"a": 1}}}))
    _deployed(site)
    site.until(lambda: ("core-1", "edgectl") in site.cloud.shadows.documents)
    document = json.loads(site.cloud.shadows.get("core-1", "edgectl"))
    assert document["state"] == {"reported": {"a": 1}}


CONFIGURATION = """
from awsiot.greengrasscoreipc.clientv2 import GreengrassCoreIPCClientV2
client = GreengrassCoreIPCClientV2()
print(client.get_configuration(key_path=["who"]).value)
print(client.get_configuration(key_path=["who", "name"]).value)
try:
    client.get_configuration(key_path=["nothing"])
except Exception as exc:
    print(type(exc).__name__)
from datetime import datetime, timezone
client.update_configuration(
    key_path=["who"], timestamp=datetime.now(timezone.utc), value_to_merge={"age": 7}
)
print(client.get_configuration(key_path=["who"]).value)
try:
    client.list_components()
except Exception as exc:
    print(type(exc).__name__)
client.close()
"""


def test_a_component_reads_and_changes_its_configuration(site: Site) -> None:
    _component(site, CONFIGURATION)
    assert _deployed(site).read("said").splitlines() == [
        "{'name': 'somebody'}",
        "{'name': 'somebody'}",
        "ResourceNotFoundError",
        "{'name': 'somebody', 'age': 7}",
        "ServiceError",
    ]


RUNNING = """
import time
from awsiot.greengrasscoreipc.clientv2 import GreengrassCoreIPCClientV2
client = GreengrassCoreIPCClientV2()
client.update_state(state="RUNNING")
time.sleep(600)
"""


def test_a_startup_that_says_running_may_go_on(site: Site) -> None:
    _component(site, RUNNING)
    core = _deployed(site)
    site.until(lambda: core.states().get(HELLO) == "RUNNING")


DEFER = """
import pathlib, sys, time
from awsiot.greengrasscoreipc.clientv2 import GreengrassCoreIPCClientV2
client = GreengrassCoreIPCClientV2()
def asked(event):
    if event.pre_update_event:
        pathlib.Path(sys.argv[1]).write_text("asked")
        client.defer_component_update(
            deployment_id=event.pre_update_event.deployment_id, recheck_after_ms=0
        )
client.subscribe_to_component_updates(on_stream_event=asked)
client.update_state(state="RUNNING")
time.sleep(600)
"""


def test_components_are_asked_before_they_are_stopped(site: Site) -> None:
    _component(site, DEFER, str(site.folder / "asked"))
    _deployed(site)
    policy = {"timeout": 60, "action": "NOTIFY_COMPONENTS"}
    job_id = site.deploy("core-1", 2, {}, componentUpdatePolicy=policy)
    assert site.result("core-1", job_id)[0] == "SUCCEEDED"
    assert (site.folder / "asked").read_text() == "asked"


def test_a_wrong_token_is_turned_away(
    site: Site, monkeypatch: pytest.MonkeyPatch, until: Any
) -> None:
    from edge_components.greengrass import NucleusError, publish  # noqa: PLC0415

    site.component(HELLO, "1.0.0", {"Startup": {"Script": _SOCKET}})
    core = _deployed(site)
    path = until(lambda: core.read("socket").strip())
    monkeypatch.setenv("AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT", path)
    monkeypatch.setenv("SVCUID", "wrong")
    with pytest.raises(NucleusError) as found:
        publish("edgectl/a", b"1")
    assert found.value.code == "unavailable"


def test_bytes_that_are_no_messages_end_that_connection_only(site: Site, until: Any) -> None:
    _component(site, PUBLISH, "edgectl/a", "1")
    core = _deployed(site)
    path = _socket_of(core, site, until)
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(path)
        raw.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        raw.settimeout(10)
        assert raw.recv(100) == b""
    site.component(
        HELLO,
        "1.0.1",
        json.loads(site.cloud.greengrass.recipes[HELLO, "1.0.0"])["Manifests"][0]["Lifecycle"],
        files={"main.py": PUBLISH.encode()},
        configuration=_access("*"),
    )
    assert site.result("core-1", site.deploy("core-1", 2, {HELLO: "1.0.1"}))[0] == "SUCCEEDED"
    assert core.read("said") == "published\n"


_SOCKET = "echo $AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT > $HERE/socket"


def _socket_of(core: CoreDevice, site: Site, until: Any) -> str:
    name = "com.example.Socket"
    site.component(name, "1.0.0", {"Startup": {"Script": _SOCKET}})
    site.cloud.things.memberships["core-1"].append("probe")
    site.result("core-1", site.deploy("core-1", 1, {name: "1.0.0"}, group="probe"))
    found = str(until(lambda: core.read("socket").strip()))
    assert Path(found).is_socket()
    return found


MANY = """
import sys, threading
from edge_components.greengrass import NucleusLink
def work(number):
    with NucleusLink() as link:
        for index in range(50):
            link.publish(f"edgectl/many/{number}", str(index).encode())
threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print("done")
"""


def test_many_messages_at_once_arrive_whole_and_in_order(site: Site, until: Any) -> None:
    _component(site, MANY)
    core = _deployed(site)
    assert core.read("said") == "done\n"
    until(lambda: len(site.cloud.published) == 200)
    for number in range(4):
        topic = f"edgectl/many/{number}"
        sent = [int(payload) for name, payload, _ in site.cloud.published if name == topic]
        assert sent == list(range(50))

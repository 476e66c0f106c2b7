"""A crowd of pretended devices at the hub."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from azure_devices import Service, eventually

from edgectl_azure_iot_edge.emulator.edge.crowd.enroll import add_crowd, read_crowd
from edgectl_azure_iot_edge.emulator.seed import base_deployment

NAMES = [f"c{number}" for number in range(20)]
DIGEST = "sha256:" + "a" * 64


def layer(release: int) -> dict[str, Any]:
    settings = {"image": "registry.example/edge-runtime:1", "createOptions": "{}"}
    module = {
        "type": "docker",
        "status": "running",
        "restartPolicy": "always",
        "settings": settings,
    }
    desired = {"release": release, "package": DIGEST, "repository": "r/x", "artifact": DIGEST}
    content = {
        "$edgeAgent": {"properties.desired.modules.edgectl-x": module},
        "edgectl-x": {"properties.desired.edgectl": desired},
    }
    return {
        "id": f"x-r{release}",
        "schemaVersion": "2.0",
        "content": {"modulesContent": content},
        "targetCondition": f"tags.edgectl.x.release={release} AND tags.site.city='here'",
        "priority": 100 + release,
    }


def test_a_crowd_reports_as_devices_of_edgectl_do(service: Service, tmp_path: Path) -> None:
    hub = service.room.hub
    add_crowd(hub, tmp_path, names=NAMES, tags={"site.city": "here"}, hardware="x86-64-cpu")
    add_crowd(hub, tmp_path, names=NAMES, tags={"site.city": "here"}, hardware="x86-64-cpu")
    assert list(read_crowd(tmp_path)) == NAMES
    for body in (base_deployment(), layer(1)):
        service.call("PUT", f"configurations/{body['id']}", body)
    arguments = ["--folder", str(tmp_path), "--hub", service.host, "--failing", "2"]
    arguments += ["--mqtt-port", str(service.room.devices.port), "--writes-per-second", "200"]
    arguments += ["--ca", str(service.account.ca_file)]
    crowd = subprocess.Popen(
        [sys.executable, "-m", "edgectl_azure_iot_edge.emulator.edge.crowd", *arguments],
        stdout=subprocess.PIPE,
    )
    try:
        assert crowd.stdout is not None
        assert crowd.stdout.readline() == b'{"connected": 20}\n'
        for name in NAMES:
            service.call("PATCH", f"twins/{name}", {"tags": {"edgectl": {"x": {"release": 1}}}})

        def phases() -> list[str]:
            found = [service.reported(name, "edgectl-x")["edgectl"] for name in NAMES]
            assert {report["desired"] for report in found} == {1}
            return sorted(report["phase"] for report in found)

        assert eventually(phases) == ["failed"] * 2 + ["healthy"] * 18
        agent = service.reported(NAMES[5])
        assert agent["lastDesiredStatus"]["code"] == 200
        assert agent["modules"]["edgectl-x"]["runtimeStatus"] == "running"
        service.call("PATCH", f"twins/{NAMES[5]}", {"tags": {"edgectl": None}})
        eventually(lambda: "edgectl-x" not in service.reported(NAMES[5])["modules"])
    finally:
        crowd.terminate()
        crowd.communicate(timeout=30)
    assert crowd.returncode == 0

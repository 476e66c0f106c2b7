"""The whole emulator as a user starts it, steered over its control routes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from node_support import condition, why_no_containers

pytestmark = pytest.mark.slow


class Emulator:
    def __init__(self, info: dict[str, Any]) -> None:
        self.info = info
        config = yaml.safe_load(Path(info["kubeconfig"]).read_text())
        self.token = config["users"][0]["user"]["token"]
        self.server = config["clusters"][0]["cluster"]["server"]

    def steer(self, method: str, route: str, **body: Any) -> Any:
        data = json.dumps(body).encode() if body else None
        url = f"{self.info['control']}/{route}"
        request = urllib.request.Request(url, data=data, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def ask(self, method: str, path: str, body: object = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}"}
        with httpx.Client(base_url=self.server, headers=headers, verify=False) as client:
            return client.request(method, path, json=body)


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    if why_not := why_no_containers():
        pytest.skip(f"this machine runs no containers: {why_not}")
    info = tmp_path / "info.json"
    command = [sys.executable, "-m", "edgectl.cli.main", "emulate", "gke", "--stop-on-eof"]
    command += ["--dir", str(tmp_path / "fleet"), "--clusters", "1", "--nodes", "1"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--info", str(info)], stdin=subprocess.PIPE, stdout=log, stderr=log
        )
    deadline = time.monotonic() + 90
    while not info.exists():
        assert process.poll() is None, (tmp_path / "log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield Emulator(json.loads(info.read_text()))
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_faults_come_and_go_and_the_end_of_standard_input_ends_all(emulator: Emulator) -> None:
    spaces = "/api/v1/namespaces"
    assert emulator.ask("GET", spaces).status_code == 200
    emulator.steer("POST", "clusters/cluster-1/cut")
    with pytest.raises(httpx.TransportError):
        emulator.ask("GET", spaces)
    emulator.steer("POST", "clusters/cluster-1/mend")
    emulator.steer("POST", "denials", cluster="cluster-1", verb="list", resource="namespaces")
    assert emulator.ask("GET", spaces).status_code == 403
    emulator.steer("DELETE", "denials")
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "m", "image": "none"}]},
    }
    emulator.steer("POST", "quotas", cluster="cluster-1", namespace="default", hard={"pods": "0"})
    refused = emulator.ask("POST", f"{spaces}/default/pods", pod)
    assert (refused.status_code, "exceeded quota" in refused.text) == (403, True)
    emulator.steer("DELETE", "quotas")
    assert emulator.ask("POST", f"{spaces}/default/pods", pod).status_code == 201
    emulator.steer("POST", "nodes/cluster-1/node-1/silence")
    deadline = time.monotonic() + 60
    while condition(emulator.ask("GET", "/api/v1/nodes/node-1").json(), "Ready") != "Unknown":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        emulator.steer("POST", "nodes/cluster-1/none/silence")

"""SIGKILL of the hub in the middle of a rollout: what was acknowledged stays, the rest goes on."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

DEVICES, GROUPS, CREWS = 40, 4, 4
BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
OWN = "/DEFAULT/controller/v1"


class Crew(threading.Thread):
    """Devices that do what they are told until the hub is gone or nothing is left."""

    def __init__(self, hub: Any, devices: dict[str, str], over: threading.Event) -> None:
        super().__init__(daemon=True)
        self.http = httpx.Client(base_url=hub.url, timeout=10)
        self.devices = devices
        self.over = over
        self.acknowledged: dict[str, str] = {}
        self.offered: list[str] = []

    def run(self) -> None:
        try:
            while not self.over.is_set():
                for device, token in self.devices.items():
                    self._poll(device, {"Authorization": f"TargetToken {token}"})
        except httpx.HTTPError:
            return
        finally:
            self.http.close()

    def _poll(self, device: str, headers: dict[str, str]) -> None:
        answer = self.http.get(f"{OWN}/{device}", headers=headers).raise_for_status().json()
        link = answer.get("_links", {}).get("deploymentBase")
        if link is None:
            return
        action = link["href"].partition("?")[0].rsplit("/", 1)[1]
        self.offered.append(action)
        for execution, finished in (("proceeding", "none"), ("closed", "success")):
            status = {"execution": execution, "result": {"finished": finished}}
            path = f"{OWN}/{device}/deploymentBase/{action}/feedback"
            self.http.post(path, json={"status": status}, headers=headers).raise_for_status()
        self.acknowledged[device] = action


def crews(hub: Any, devices: dict[str, str], over: threading.Event) -> list[Crew]:
    names = sorted(devices)
    made = [
        Crew(hub, {name: devices[name] for name in names[n::CREWS]}, over) for n in range(CREWS)
    ]
    for crew in made:
        crew.start()
    return made


def acknowledged(made: list[Crew]) -> dict[str, str]:
    return {device: action for crew in made for device, action in dict(crew.acknowledged).items()}


@pytest.mark.timeout(180)
def test_kill_in_the_middle_of_a_rollout_loses_no_feedback(start_hub: Any, wait: Any) -> None:
    hub = start_hub()
    sent = [{"controllerId": f"d{n}", "name": f"d{n}"} for n in range(DEVICES)]
    made = hub.ok("POST", "/targets", 201, json=sent)
    devices = {one["controllerId"]: one["securityToken"] for one in made}
    rollout = {
        "name": "r",
        "distributionSetId": hub.dset("s"),
        "targetFilterQuery": "name==d*",
        "amountGroups": GROUPS,
        "successCondition": {"condition": "THRESHOLD", "expression": "100"},
    }
    path = f"/rollouts/{hub.ok('POST', '/rollouts', 201, json=rollout)['id']}"
    wait(lambda: hub.ok("GET", path)["status"] == "ready")
    hub.ok("POST", f"{path}/start")
    over = threading.Event()
    before: dict[str, str] = {}
    offered: list[str] = []
    for _ in range(2):
        running = crews(hub, devices, over)
        enough = len(before) + random.randint(1, DEVICES // 3)
        wait(lambda r=running, b=before, n=enough: len(b | acknowledged(r)) >= n)
        hub.kill()
        for crew in running:
            crew.join(20)
            assert not set(before.values()) & set(crew.offered)
        before |= acknowledged(running)
        hub = start_hub()
        for device, action in before.items():
            shown = hub.ok("GET", f"/targets/{device}/actions/{action}")
            assert shown["detailStatus"] == "finished"
    running = crews(hub, devices, over)
    wait(lambda: hub.ok("GET", path)["status"] == "finished", within_s=60)
    over.set()
    for crew in running:
        crew.join(20)
        offered += crew.offered
    assert not set(before.values()) & set(offered)
    assert hub.ok("GET", path)["totalTargetsPerStatus"]["finished"] == DEVICES
    groups = hub.ok("GET", f"{path}/deploygroups")["content"]
    assert [group["status"] for group in groups] == ["finished"] * GROUPS


def benchmark(name: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / name), "--quick", *arguments],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(160)
@pytest.mark.parametrize(
    ("name", "arguments", "line"),
    [
        ("hub.py", [], "the hub answers"),
        ("hub_rollout.py", [], "converged in"),
        ("hub_rollout.py", ["--kill"], "acknowledged and asked for again: 0 "),
        ("hub_download.py", [], "of a plain sendfile copy"),
    ],
)
def test_benchmark_runs_to_its_end(name: str, arguments: list[str], line: str) -> None:
    assert line in benchmark(name, *arguments)


@pytest.mark.slow
def test_benchmark_says_when_there_are_too_few_open_files() -> None:
    done = subprocess.run(
        ["sh", "-c", f"ulimit -n 1000; exec {sys.executable} {BENCHMARKS / 'hub.py'}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "10000 connections need 10200 open files and RLIMIT_NOFILE lets a process have 1000" in (
        done.stderr
    )

"""A site without a link: a bundle on a stick, the real agent, and a hub that is away meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgectl.emulation import settle_device

LINK_S = 90.0


def wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + LINK_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


class Remote:
    """A hub that can be taken away, and one device with its agent."""

    def __init__(self, site: Any) -> None:
        self.site = site
        self.hub_data = site.folder / "hub"
        self.device = site.folder / "d1"
        self.config = self.device / "device.toml"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        site.env["EDGECTL_HUB_URL"] = f"http://127.0.0.1:{self._port}"
        site.env["EDGECTL_HUB_PASSWORD_FILE"] = str(self.hub_data / "admin-password")

    def start_hub(self) -> None:
        (self.hub_data / "hub.json").unlink(missing_ok=True)
        arguments = ["hub", "--data", str(self.hub_data), "--port", str(self._port)]
        self._start("hub", self.site.command(*arguments, "--poll", "1s"))
        wait((self.hub_data / "hub.json").exists, "the hub did not come up")

    def start_agent(self) -> None:
        command = [sys.executable, "-m", "edge_components.agent.main", "run"]
        self._start("agent", [*command, "--config", str(self.config)])

    def enroll(self) -> None:
        arguments = ["--target", "all", "--hardware", "x86-64-cpu", "--write", str(self.device)]
        self.site.run("devices", "add", "d1", *arguments)
        port = settle_device(self.config, self.device / "state")
        self.site.devices["d1"] = {"url": f"http://127.0.0.1:{port}"}

    def end(self, name: str, number: int = signal.SIGTERM) -> None:
        process = self._processes.pop(name)
        process.send_signal(number)
        process.wait(30)

    def bring(self, file: Path) -> tuple[int, dict[str, Any]]:
        """Run ``edge-agent import``; exit code and report."""
        command = [sys.executable, "-m", "edge_components.agent.main", "import"]
        done = subprocess.run(
            [*command, "--config", str(self.config), str(file)],
            cwd="/",
            env={k: v for k, v in self.site.env.items() if not k.startswith("EDGECTL_")},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def close(self) -> None:
        for name in list(self._processes):
            self.end(name)

    def _start(self, name: str, command: list[str]) -> None:
        self._processes[name] = subprocess.Popen(
            command, cwd=self.site.folder, env=self.site.env, stderr=subprocess.DEVNULL
        )


@pytest.fixture
def remote(site: Any) -> Iterator[Remote]:
    remote = Remote(site)
    with contextlib.closing(remote):
        remote.start_hub()
        yield remote


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_site_without_a_link_is_served_by_hand_and_the_fleet_agrees_when_it_is_back(
    site: Any, remote: Remote, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stick = tmp_path_factory.mktemp("stick")
    site.build("1", 1.0)
    remote.enroll()
    remote.start_agent()
    site.run("deploy", "--poll", "0.2")
    assert site.answer("d1") == [1, 1, 1, 1]

    second = site.build("2", 2.0)
    remote.end("hub", signal.SIGKILL)
    site.run("package", "--bundle", str(stick / "two.bundle"), code=1)
    made = site.run(
        "-o", "json", "package", "--bundle", str(stick / "two.bundle"), "--release-number", "5"
    )
    assert (json.loads(made)["release"], json.loads(made)["published"]) == (5, "")
    code, report = remote.bring(stick / "two.bundle")
    assert (code, report["state"], report["active_release"]) == (0, "healthy", 5)
    assert site.answer("d1") == [2, 2, 2, 2]
    assert remote.bring(stick / "two.bundle")[0] == 0

    remote.start_hub()
    wait(lambda: site.rows()["d1"]["active"] == 5, "the hub was not told")
    row = site.rows()["d1"]
    assert (row["state"], row["release"], row["digest"]) == ("healthy", 5, second)
    told = "the device took release 5 from the bundle 'two.bundle'"
    wait(lambda: told in site.run("telemetry", "--kind", "event"), "the event did not come up")

    site.run("package", "--bundle", str(stick / "again.bundle"), "--release-number", "5")
    assert (stick / "again.bundle").read_bytes() == (stick / "two.bundle").read_bytes()
    assert "all 1 devices have release 5 already" in site.run("deploy")

    third = site.build("3", 3.0)
    made = site.run("-o", "json", "package", "--bundle", str(stick / "three.bundle"))
    assert json.loads(made)["release"] == 6
    assert site.rows()["d1"]["active"] == 5, "a bundle alone gives nothing to a device"
    remote.end("agent", signal.SIGKILL)
    os.kill(int((remote.device / "state/runtime.pid").read_text()), signal.SIGKILL)
    assert remote.bring(stick / "three.bundle")[0] == 0
    remote.start_agent()
    wait(lambda: site.rows()["d1"]["digest"] == third, "the hub was not told of the second")
    assert site.answer("d1") == [3, 3, 3, 3]
    assert remote.bring(stick / "two.bundle")[1]["reason"] == "release-not-newer"
    assert site.rows()["d1"]["state"] == "healthy"

    site.run("rollback", "--poll", "0.2")
    assert (site.rows()["d1"]["active"], site.answer("d1")) == (7, [2, 2, 2, 2])
    site.run("journal", "verify")

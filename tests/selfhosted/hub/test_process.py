"""The process: start, ready file, lock, signals, command line, and kill -9 at any moment."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from edge_components.contract.telemetry import Kind, TelemetryRecord, to_otlp
from edgectl_selfhosted import cli


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgectl_selfhosted.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **env},
    )


def test_command_serves_writes_the_ready_file_and_ends_with_zero(tmp_path: Path, wait: Any) -> None:
    data = tmp_path / "data"
    process = subprocess.Popen(
        [sys.executable, "-m", "edgectl_selfhosted.cli", "--data", str(data), "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "EDGECTL_HUB_POLL": "5m"},
    )
    wait((data / "hub.json").exists, within_s=30)
    ready = json.loads((data / "hub.json").read_text())
    assert ready["pid"] == process.pid
    password = (data / "admin-password").read_text().strip()
    settings = httpx.get(ready["url"] + "/rest/v1/system/configs", auth=("admin", password)).json()
    assert settings["pollingTime"]["value"] == "00:05:00"
    process.terminate()
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert err == f"hub ready at {ready['url']}, data in {data}\n"
    assert not (data / "hub.json").exists()


def test_interrupt_ends_with_130(start_hub: Any) -> None:
    assert start_hub().stop(signal.SIGINT) == (130, ANY_READY)


class _AnyReady:
    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, str) and other.startswith("hub ready at ") and other.count("\n") == 1
        )

    __hash__ = None  # type: ignore[assignment]  # only compared


ANY_READY = _AnyReady()


def test_second_hub_on_a_folder_is_refused_and_the_first_goes_on(start_hub: Any) -> None:
    hub = start_hub()
    refused = run("--data", str(hub.data), "--port", "0")
    assert refused.returncode == 1
    assert refused.stderr == f"Error: another hub runs on the folder '{hub.data}'\n"
    hub.ok("GET", "/userinfo")
    assert (hub.data / "hub.json").exists()


def test_taken_port_and_unusable_certificates_are_named(tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused = run("--data", data, "--port", port)
    assert refused.returncode == 1
    assert f"cannot listen on '127.0.0.1' port {port}: Address already in use" in refused.stderr
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    for arguments, message in (
        (("--tls-cert", str(junk)), "given together"),
        (("--client-ca", str(junk)), "need TLS"),
        (("--tls-cert", str(junk), "--tls-key", str(junk)), "cannot be used"),
    ):
        refused = run("--data", data, "--port", "0", *arguments)
        assert (refused.returncode, message in refused.stderr) == (1, True), refused.stderr
        assert "Traceback" not in refused.stderr


def test_damaged_database_is_refused_in_one_sentence(start_hub: Any) -> None:
    hub = start_hub()
    hub.stop()
    (hub.data / "hub.db").write_bytes(b"not a database" * 100)
    refused = run("--data", str(hub.data), "--port", "0")
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"Error: the folder '{hub.data}' cannot be used: ")
    assert "Traceback" not in refused.stderr


def test_newer_database_is_refused_in_one_sentence(start_hub: Any) -> None:
    hub = start_hub()
    hub.stop()
    with sqlite3.connect(hub.data / "hub.db") as conn:
        conn.execute("PRAGMA user_version = 99")
    conn.close()
    refused = run("--data", str(hub.data), "--port", "0")
    assert refused.returncode == 1
    assert "schema 99" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("poll", ["soon", "0s", "200h", "-5s"])
def test_poll_that_is_no_duration_is_a_usage_error(poll: str) -> None:
    result = CliRunner().invoke(cli.hub, ["--poll", poll])
    assert result.exit_code == 2
    assert poll in result.output


def test_command_line_imports_no_server_before_it_runs() -> None:
    code = (
        "import sys, edgectl_selfhosted.cli; "
        "print([m for m in ('uvicorn', 'starlette', 'sqlite3', 'msgspec') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


def test_shutdown_lets_a_running_download_end(start_hub: Any, wait: Any) -> None:
    hub = start_hub()
    module = hub.module("m", {"f": os.urandom(4 << 20)})
    id_ = hub.ok("GET", f"/softwaremodules/{module}/artifacts")[0]["id"]
    path = f"/rest/v1/softwaremodules/{module}/artifacts/{id_}/download"
    with hub.client.stream("GET", path) as response:
        parts = response.iter_bytes(1 << 16)
        size = len(next(parts))
        os.kill(hub.process.pid, signal.SIGTERM)
        size += sum(len(part) for part in parts)
    assert size == 4 << 20
    assert hub.stop()[0] == 0


class Writer(threading.Thread):
    """Writes what it can until the hub is gone, and remembers what was acknowledged."""

    def __init__(self, hub: Any, round_: str) -> None:
        super().__init__(daemon=True)
        self.hub = hub
        self.round = round_
        self.http = httpx.Client(base_url=hub.url, auth=("admin", hub.password), timeout=10)
        self.targets: dict[str, dict[str, str]] = {}
        self.files: dict[int, str] = {}
        self.finished: dict[str, int] = {}
        self.records: list[str] = []

    def run(self) -> None:
        number = 0
        try:
            while True:
                self._once(f"{self.round}-{number}", random.randbytes(random.randrange(200_000)))
                number += 1
        except httpx.HTTPError:
            return
        finally:
            self.http.close()

    def _post(self, path: str, **options: Any) -> Any:
        response = self.http.post("/rest/v1" + path, **options)
        assert response.status_code in {200, 201}, response.text
        return response.json()

    def _once(self, name: str, data: bytes) -> None:
        token = self._post("/targets", json=[{"controllerId": name}])[0]["securityToken"]
        self.targets[name] = {}
        own = {"Authorization": f"TargetToken {token}"}
        root = f"/DEFAULT/controller/v1/{name}"
        auth = httpx.Auth()
        sent = {"data": {"size": str(len(data))}}
        self.http.put(root + "/configData", json=sent, headers=own, auth=auth).raise_for_status()
        self.targets[name] = sent["data"]
        kind = {"name": name, "version": "1", "type": "application"}
        module = self._post("/softwaremodules", json=[kind])[0]["id"]
        upload = self._post(f"/softwaremodules/{module}/artifacts", files={"file": ("f", data)})
        assert upload["hashes"]["sha256"] == hashlib.sha256(data).hexdigest()
        self.files[module] = upload["hashes"]["sha256"]
        dset = {"name": name, "version": "1", "type": "app", "modules": [{"id": module}]}
        ds = self._post("/distributionsets", json=[dset])[0]["id"]
        made = self._post(f"/distributionsets/{ds}/assignedTargets", json=[{"id": name}])
        action = made["assignedActions"][0]["id"]
        status = {"execution": "closed", "result": {"finished": "success"}}
        path = f"{root}/deploymentBase/{action}/feedback"
        self.http.post(path, json={"status": status}, headers=own, auth=auth).raise_for_status()
        self.finished[name] = action
        record = TelemetryRecord(id=name, kind=Kind.EVENT, time_unix_ns=1, device=name)
        headers = {**own, "Content-Type": "application/json"}
        content = to_otlp([record])
        self.http.post("/v1/logs", content=content, headers=headers, auth=auth).raise_for_status()
        self.records.append(name)

    @property
    def acknowledged(self) -> int:
        """How many things were acknowledged."""
        return len(self.targets) + len(self.files) + len(self.finished) + len(self.records)

    def check(self, hub: Any) -> int:
        """Find everything that was acknowledged; return how much that was."""
        for name, attributes in self.targets.items():
            found = hub.ok("GET", f"/targets/{name}/attributes")
            assert attributes.items() <= found.items()
        for module, digest in self.files.items():
            artifact = hub.ok("GET", f"/softwaremodules/{module}/artifacts")[0]
            path = f"/rest/v1/softwaremodules/{module}/artifacts/{artifact['id']}/download"
            assert hashlib.sha256(hub.client.get(path).content).hexdigest() == digest
        for name, action in self.finished.items():
            assert hub.ok("GET", f"/targets/{name}/actions/{action}")["detailStatus"] == "finished"
            assert hub.ok("GET", f"/targets/{name}")["updateStatus"] == "in_sync"
        for name in self.records:
            answer = hub.client.get("/telemetry/v1/records", params={"device": name}).json()
            assert len(answer["records"]) == 1
        return self.acknowledged


def kill_rounds(start_hub: Any, wait: Any, rounds: int) -> None:
    hub = start_hub()
    acknowledged = 0
    for round_ in range(rounds):
        writers = [Writer(hub, f"r{round_}w{n}") for n in range(3)]
        for writer in writers:
            writer.start()
        # The power fails in the middle of the work, at a random moment after a random write.
        enough = random.randrange(30)
        wait(lambda w=writers, n=enough: sum(writer.acknowledged for writer in w) >= n)
        time.sleep(random.uniform(0, 0.03))
        hub.kill()
        for writer in writers:
            writer.join(20)
        hub = start_hub()
        acknowledged += sum(writer.check(hub) for writer in writers)
    hub.stop()
    conn = sqlite3.connect(hub.data / "hub.db")
    assert conn.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    assert conn.execute("PRAGMA foreign_key_check").fetchall() == []
    conn.close()
    assert acknowledged > rounds


@pytest.mark.timeout(240)
@pytest.mark.parametrize("part", range(4))
def test_kill_at_a_random_moment_loses_no_acknowledged_write(
    start_hub: Any, wait: Any, part: int
) -> None:
    kill_rounds(start_hub, wait, 5)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_hundred_kills_lose_no_acknowledged_write(start_hub: Any, wait: Any) -> None:
    kill_rounds(start_hub, wait, 100)

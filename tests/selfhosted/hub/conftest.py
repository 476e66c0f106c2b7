"""A real hub process for the tests, an operator's client, and devices that speak DDI."""

from __future__ import annotations

import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

START_S = 30.0
# Runs the hub with settings that the command line does not offer, such as small quotas.
RUNNER = """
import json, sys
from pathlib import Path
from edgectl_selfhosted.hub.config import HubConfig, Quotas, TelemetryLimits
from edgectl_selfhosted.hub.patience import Patience
from edgectl_selfhosted.hub.serve import serve
given = json.loads(sys.argv[2])
given["quotas"] = Quotas(**given.get("quotas", {}))
given["patience"] = Patience(**given.get("patience", {}))
given["telemetry"] = TelemetryLimits(**given.get("telemetry", {}))
for name in ("tls_cert", "tls_key", "client_ca"):
    if name in given:
        given[name] = Path(given[name])
settings = {"rollout_interval_s": 0.2, "port": 0, **given}
sys.exit(serve(HubConfig(data=Path(sys.argv[1]), **settings)))
"""


def eventually(check: Callable[[], Any], *, within_s: float = 20.0) -> Any:
    """Return what ``check`` returns once it is true."""
    deadline = time.monotonic() + within_s
    while True:
        found = check()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {within_s} s: last was {found!r}"
        time.sleep(0.01)


class HubProcess:
    """A hub that runs as its own process on a data folder."""

    def __init__(
        self, data: Path, config: dict[str, Any], verify: Any = True, files: int = 0
    ) -> None:
        self.data = data
        self.clients: list[httpx.Client] = []
        ready = data / "hub.json"
        ready.unlink(missing_ok=True)
        limit = (resource.RLIMIT_NOFILE, (files, files))
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUNNER, str(data), json.dumps(config)],
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=(lambda: resource.setrlimit(*limit)) if files else None,  # noqa: PLW1509 - one call, no locks
        )

        def is_ready() -> bool:
            assert self.process.poll() is None, self.process.communicate()[1]
            return ready.exists()

        eventually(is_ready, within_s=START_S)
        self.url: str = json.loads(ready.read_text())["url"]
        self.password = (data / "admin-password").read_text().strip()
        self.gateway = (data / "gateway-token").read_text().strip()
        self.verify = verify
        self.client = self.http(auth=("admin", self.password))

    def http(self, **options: Any) -> httpx.Client:
        """Return a client of this hub; it is closed when the hub ends."""
        options.setdefault("verify", self.verify)
        self.clients.append(httpx.Client(base_url=self.url, timeout=30, **options))
        return self.clients[-1]

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()
        self._close()

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Ask it to end; return exit code and what it wrote to stderr."""
        if self.process.poll() is None:
            os.kill(self.process.pid, number)
        _, err = self.process.communicate(timeout=20)
        self._close()
        return self.process.returncode, err

    def _close(self) -> None:
        for client in self.clients:
            client.close()
        if self.process.stderr:
            self.process.stderr.close()

    # What an operator does, in one call each.

    def ok(self, method: str, path: str, expect: int = 200, **options: Any) -> Any:
        """Call the management API and return the JSON answer."""
        response = self.client.request(method, "/rest/v1" + path, **options)
        assert response.status_code == expect, f"{method} {path}: {response.text}"
        return response.json() if response.content else None

    def refuse(self, method: str, path: str, status: int, **options: Any) -> dict[str, Any]:
        """Call the management API and return the refusal."""
        response = self.client.request(method, "/rest/v1" + path, **options)
        assert response.status_code == status, f"{method} {path}: {response.text}"
        refusal: dict[str, Any] = response.json()
        assert set(refusal) == {"exceptionClass", "errorCode", "message"}
        return refusal

    def target(self, controller_id: str, **more: Any) -> dict[str, Any]:
        """Make a target."""
        sent = [{"controllerId": controller_id, "name": controller_id, **more}]
        return dict(self.ok("POST", "/targets", 201, json=sent)[0])

    def device(self, controller_id: str, **more: Any) -> Device:
        """Make a target and return the device with its token."""
        token = self.target(controller_id, **more)["securityToken"]
        return Device(self, controller_id, f"TargetToken {token}")

    def module(
        self, name: str, files: dict[str, bytes] | None = None, type_: str = "application"
    ) -> int:
        """Make a software module with files."""
        sent = [{"name": name, "version": "1", "type": type_}]
        id_ = int(self.ok("POST", "/softwaremodules", 201, json=sent)[0]["id"])
        for filename, data in (files or {}).items():
            self.ok(
                "POST",
                f"/softwaremodules/{id_}/artifacts",
                201,
                files={"file": (filename, data)},
            )
        return id_

    def dset(self, name: str, files: dict[str, bytes] | None = None, version: str = "1") -> int:
        """Make a complete distribution set of one module."""
        module = self.module(f"{name}-{version}", files)
        sent = [{"name": name, "version": version, "type": "app", "modules": [{"id": module}]}]
        return int(self.ok("POST", "/distributionsets", 201, json=sent)[0]["id"])

    def assign(self, ds_id: int, *controller_ids: str, **how: Any) -> list[int]:
        """Assign a set and return the actions."""
        sent = [{"id": controller_id, **how} for controller_id in controller_ids]
        made = self.ok("POST", f"/distributionsets/{ds_id}/assignedTargets", json=sent)
        return [action["id"] for action in made["assignedActions"]]


class Device:
    """A device that speaks DDI."""

    def __init__(self, hub: HubProcess, controller_id: str, authorization: str = "") -> None:
        self.id = controller_id
        self.root = f"/DEFAULT/controller/v1/{controller_id}"
        headers = {"Authorization": authorization} if authorization else {}
        self.http = hub.http(headers=headers)

    def call(self, method: str, path: str, expect: int = 200, **options: Any) -> httpx.Response:
        """Call one of the device's own resources, or an address from a link."""
        url = path if path.startswith("http") else self.root + path
        response = self.http.request(method, url, **options)
        assert response.status_code == expect, f"{method} {path}: {response.text}"
        return response

    def poll(self) -> dict[str, Any]:
        """Poll and return the answer."""
        return dict(self.call("GET", "").json())

    def links(self) -> dict[str, str]:
        """Poll and return the addresses of what there is to do."""
        return {name: link["href"] for name, link in self.poll().get("_links", {}).items()}

    def deployment(self) -> dict[str, Any]:
        """Return the open deployment."""
        return dict(self.call("GET", self.links()["deploymentBase"]).json())

    def say(
        self,
        action: int | str,
        execution: str,
        finished: str = "none",
        *,
        expect: int = 200,
        to: str = "deploymentBase",
        **more: Any,
    ) -> None:
        """Send feedback."""
        status = {"execution": execution, "result": {"finished": finished}, **more}
        self.call("POST", f"/{to}/{action}/feedback", expect, json={"status": status})

    def attributes(self, data: dict[str, Any], mode: str = "merge", expect: int = 200) -> None:
        """Send attributes."""
        self.call("PUT", "/configData", expect, json={"mode": mode, "data": data})

    def install(self) -> None:
        """Do whatever the hub asks, until there is nothing left."""
        while True:
            links = self.links()
            if "cancelAction" in links:
                self.say(
                    links["cancelAction"].rsplit("/", 1)[1], "closed", "success", to="cancelAction"
                )
            elif "deploymentBase" in links:
                self.say(self.deployment()["id"], "closed", "success")
            else:
                return


@pytest.fixture(scope="session")
def _session_hubs() -> Iterator[list[HubProcess]]:
    hubs: list[HubProcess] = []
    yield hubs
    for hub in hubs:
        hub.stop()


@pytest.fixture(scope="session")
def shared(_session_hubs: list[HubProcess], tmp_path_factory: pytest.TempPathFactory) -> HubProcess:
    """A hub that tests share: each makes its own entities."""
    _session_hubs.append(HubProcess(tmp_path_factory.mktemp("hub"), {"gateway_token": True}))
    return _session_hubs[-1]


@pytest.fixture
def start_hub(tmp_path: Path) -> Iterator[Callable[..., HubProcess]]:
    """Start a hub of one's own; the same name means the same folder."""
    hubs: list[HubProcess] = []

    def start(
        name: str = "hub", *, verify: Any = True, files: int = 0, **config: Any
    ) -> HubProcess:
        data = tmp_path / name
        data.mkdir(exist_ok=True)
        hubs.append(HubProcess(data, config, verify, files))
        return hubs[-1]

    yield start
    for hub in hubs:
        if hub.process.poll() is None:
            hub.stop()


_numbers = itertools.count(1)


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return f"n{next(_numbers)}"


@pytest.fixture
def new_device() -> Callable[..., Device]:
    """Make a device from a hub, an id and an Authorization header."""
    return Device


@pytest.fixture(scope="session")
def hub_process() -> type[HubProcess]:
    """The class of hubs, for fixtures that share one."""
    return HubProcess


@pytest.fixture
def wait() -> Callable[..., Any]:
    """Return what a check returns once it is true."""
    return eventually

"""The project's own hub as a process, and the few management calls that a test needs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import urllib3

_SERVE = (
    "import sys; from pathlib import Path; from edgectl_selfhosted.hub.config import HubConfig; "
    "from edgectl_selfhosted.hub.serve import serve; "
    "sys.exit(serve(HubConfig(data=Path(sys.argv[1]), port=0, poll_s=1)))"
)


class RealHub:
    """A hub on loopback; ``assign`` gives a device an order."""

    def __init__(self, data: Path) -> None:
        self._process = subprocess.Popen([sys.executable, "-c", _SERVE, str(data)])
        deadline = time.monotonic() + 30
        while not (data / "hub.json").exists():
            assert self._process.poll() is None, "the hub did not start"
            assert time.monotonic() < deadline, "the hub did not get ready"
            time.sleep(0.05)
        self.url: str = json.loads((data / "hub.json").read_text())["url"]
        password = (data / "admin-password").read_text().strip()
        self._http = urllib3.PoolManager(
            headers=urllib3.make_headers(basic_auth=f"admin:{password}")
        )

    def stop(self) -> None:
        self._http.clear()
        self._process.terminate()
        self._process.wait(15)

    def call(self, method: str, path: str, body: Any = None, **how: Any) -> Any:
        if body is not None:
            how = {"json": body}
        response = self._http.request(method, f"{self.url}/rest/v1/{path}", **how)
        assert response.status < 300, f"{method} {path}: {response.status} {response.data!r}"
        return json.loads(response.data) if response.data else None

    def add_device(self, name: str, token: str) -> None:
        self.call("POST", "targets", [{"controllerId": name, "name": name, "securityToken": token}])

    def assign(self, name: str, number: int, files: dict[str, bytes]) -> None:
        module = self.call(
            "POST",
            "softwaremodules",
            [{"name": f"m{number}", "version": "1", "type": "application"}],
        )[0]["id"]
        for file, data in files.items():
            self.call("POST", f"softwaremodules/{module}/artifacts", fields={"file": (file, data)})
        order = self.call(
            "POST",
            "distributionsets",
            [{"name": f"s{number}", "version": "1", "type": "app", "modules": [{"id": module}]}],
        )[0]["id"]
        self.call("POST", f"distributionsets/{order}/assignedTargets", [{"id": name}])

    def attributes(self, name: str) -> dict[str, str]:
        found: dict[str, str] = self.call("GET", f"targets/{name}/attributes") or {}
        return found

    def status(self, name: str) -> str:
        found: str = self.call("GET", f"targets/{name}")["updateStatus"]
        return found

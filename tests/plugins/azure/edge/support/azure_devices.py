"""A hub, a registry and virtual devices, for tests that need them whole."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import urllib3

from edgectl.emulation.registry import RegistryServer
from edgectl_azure_iot_edge.emulator import sas
from edgectl_azure_iot_edge.emulator.account import RunningAccount
from edgectl_azure_iot_edge.emulator.edge.agent import AgentPace
from edgectl_azure_iot_edge.emulator.edge.device import Device, DeviceOptions
from edgectl_azure_iot_edge.emulator.edge.faults import DeviceFaults, write_faults
from edgectl_azure_iot_edge.emulator.edge.restarts import Pace
from edgectl_azure_iot_edge.emulator.edge.settings import DeviceSettings
from edgectl_azure_iot_edge.emulator.hub.room import HubRoom
from edgectl_azure_iot_edge.emulator.images import ImageContent, Pusher

DEADLINE_S = 20.0
QUICK = AgentPace(cycle_s=0.3, restarts=Pace(unit_s=0.05, max_restarts=20, healthy_s=600.0))


def eventually(check: Callable[[], Any], deadline_s: float = DEADLINE_S) -> Any:
    """Return what ``check`` returns once it is true; its last error or value on failure."""
    until = time.monotonic() + deadline_s
    while True:
        try:
            found = check()
        except (AssertionError, KeyError, LookupError, OSError) as exc:
            found, why = None, repr(exc)
        else:
            why = repr(found)
        if found:
            return found
        if time.monotonic() > until:
            raise AssertionError(f"not so in {deadline_s} s: {why}")
        time.sleep(0.05)


class Service:
    """The hub's owner, over the service API."""

    def __init__(self, account: RunningAccount) -> None:
        self.account = account
        self.room = account.site.find(HubRoom)
        self.host = account.url.removeprefix("https://")
        self._http = urllib3.PoolManager(ca_certs=str(account.ca_file), retries=False)

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        key = self.room.hub.policies["iothubowner"].primary
        token = sas.make(self.host, key, int(time.time() + 3600), "iothubowner")
        answer = self._http.request(
            method,
            f"{self.account.url}/{path}?api-version=2021-04-12",
            json=body,
            headers={"Authorization": token, **headers},
        )
        assert answer.status < 300, (path, answer.status, answer.data)
        return json.loads(answer.data) if answer.data else None

    def twin(self, device: str, module: str) -> Any:
        return self.call("GET", f"twins/{device}/modules/{module}")

    def reported(self, device: str, module: str = "$edgeAgent") -> Any:
        return self.twin(device, module)["properties"]["reported"]

    def add_device(self, name: str) -> str:
        """Make an edge device; return its key."""
        body = {
            "deviceId": name,
            "capabilities": {"iotEdge": True},
            "authentication": {"type": "sas"},
        }
        made = self.call("PUT", f"devices/{name}", body)
        return str(made["authentication"]["symmetricKey"]["primaryKey"])

    def deploy(self, device: str, content: dict[str, Any]) -> None:
        """Apply a manifest to one device."""
        self.call("POST", f"devices/{device}/applyConfigurationContent", content)

    def method(self, device: str, module: str, name: str, payload: Any = None) -> Any:
        body = {"methodName": name, "payload": payload, "responseTimeoutInSeconds": 20}
        return self.call("POST", f"twins/{device}/modules/{module}/methods", body)

    def messages(self) -> list[Any]:
        """Return what devices sent to the cloud."""
        events = self.account.site.events
        return [
            event for number in range(events.partitions) for event in events.read(number, 0, 1000)
        ]


class Runner:
    """Devices that run in threads of this process."""

    def __init__(self, folder: Path, service: Service, registry: RegistryServer) -> None:
        self.folder = folder
        self.service = service
        self.registry = registry
        self.running: dict[str, tuple[Device, threading.Thread]] = {}
        self._keys: dict[str, str] = {}

    def place(self, name: str) -> Path:
        return self.folder / name

    def start(
        self, name: str = "d1", pace: AgentPace = QUICK, pull_wait_s: float = 20.0, **more: Any
    ) -> Device:
        if name not in self._keys:
            self._keys[name] = self.service.add_device(name)
        account = self.service.account
        settings = DeviceSettings(
            hub_host=self.service.host,
            device_id=name,
            key=self._keys[name],
            hostname=name,
            folder=self.place(name),
            trust=account.ca_file,
            mqtt_port=self.service.room.devices.port,
        )
        options = DeviceOptions(
            pace=pace,
            pull_wait_s=pull_wait_s,
            plain_registries=frozenset({self.registry.host}),
        )
        device = Device(settings, options, **more)
        thread = threading.Thread(target=device.run, name=name, daemon=True)
        thread.start()
        self.running[name] = (device, thread)
        return device

    def stop(self, name: str = "d1") -> None:
        device, thread = self.running.pop(name)
        device.stop()
        thread.join(30.0)
        assert not thread.is_alive()

    def faults(self, name: str = "d1", **faults: Any) -> None:
        self.place(name).mkdir(parents=True, exist_ok=True)
        write_faults(self.place(name), DeviceFaults(**faults))

    def push(self, name: str, content: ImageContent) -> str:
        """Put an image into the registry; return its name for a deployment."""
        Pusher(self.registry.url, name).push(content, "1")
        return f"{self.registry.host}/{name}:1"


def shell(script: str) -> ImageContent:
    """Return an image that runs a script with this machine's shell."""
    return ImageContent(config={"Entrypoint": ["sh", "-c"], "Cmd": [script]})


def module(image: str, **more: Any) -> dict[str, Any]:
    options = json.dumps(more.pop("options", {}))
    return {
        "type": "docker",
        "status": "running",
        "restartPolicy": "always",
        "settings": {"image": image, "createOptions": options},
        **more,
    }


def manifest(
    modules: dict[str, Any] | None = None,
    routes: dict[str, Any] | None = None,
    agent_env: dict[str, Any] | None = None,
    **desired: Any,
) -> dict[str, Any]:
    """Return the content of a deployment for one device."""
    return {
        "modulesContent": {
            "$edgeAgent": {
                "properties.desired": {
                    "schemaVersion": "1.1",
                    "runtime": {"type": "docker", "settings": {"minDockerVersion": "v1.25"}},
                    "systemModules": {
                        "edgeAgent": {
                            "type": "docker",
                            "settings": {"image": "mcr.example/agent:1.5", "createOptions": "{}"},
                            **({"env": agent_env} if agent_env else {}),
                        },
                        "edgeHub": {
                            "type": "docker",
                            "status": "running",
                            "restartPolicy": "always",
                            "startupOrder": 0,
                            "settings": {"image": "mcr.example/hub:1.5", "createOptions": "{}"},
                        },
                    },
                    "modules": modules or {},
                }
            },
            "$edgeHub": {
                "properties.desired": {
                    "schemaVersion": "1.1",
                    "routes": routes or {},
                    "storeAndForwardConfiguration": {"timeToLiveSecs": 7200},
                }
            },
            **{name: {"properties.desired": value} for name, value in desired.items()},
        }
    }

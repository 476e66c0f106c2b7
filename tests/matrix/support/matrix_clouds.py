"""What each emulated cloud and its device say by themselves, without a word of edgectl's."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import boto3
import psutil
from lightkube import Client, KubeConfig
from lightkube.resources.apps_v1 import DaemonSet
from lightkube.resources.core_v1 import ConfigMap, Node, Pod, Secret, Service
from matrix_project import APPLICATION

from edgectl_azure_iot_edge._sdk.sas import parse_connection_string, sign

Said = dict[str, Any]
FAR_FUTURE = 4_000_000_000
AWS_READS = ("Get", "List", "Describe", "Head")
HUB_READS = ("Get", "List", "Query", "Test")


class Cloud(Protocol):
    """One provider's side of the matrix."""

    url: str
    """Where its device answers inferences."""

    def reported(self) -> str:
        """Return the digest of the package that the device says is active."""

    def runtime(self) -> object:
        """Return what changes when the runtime travels again, or is started again."""

    def written(self) -> object:
        """Return what changes when somebody writes to the cloud; devices do not count."""

    def close(self) -> None:
        """Let go of connections."""


def fetch(url: str, *, ca: str | None = None, **headers: str) -> Any:
    """Get a JSON document."""
    request = urllib.request.Request(url, headers=headers)
    trust = ssl.create_default_context(cafile=ca) if url.startswith("https") else None
    with urllib.request.urlopen(request, timeout=30, context=trust) as answer:
        return json.load(answer)


def asked(url: str, method: str, path: str, body: Said | None = None) -> Said:
    """Ask a device over the Open Inference Protocol."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        connection.request(method, path, json.dumps(body) if body else None)
        answer = connection.getresponse()
        data = answer.read()
        assert answer.status == 200, data
        found: Said = json.loads(data)
        return found
    finally:
        connection.close()


def started(file: Path) -> tuple[int, float]:
    """Return the process of a pid file, and when it was started."""
    process = psutil.Process(int(file.read_text()))
    return process.pid, process.create_time()


class Selfhosted:
    """The hub, asked over hawkBit's management API."""

    def __init__(self, info: Said, env: Mapping[str, str]) -> None:
        (device,) = info["devices"]
        self.url = device["url"]
        self._name, self._state = device["name"], Path(device["state_dir"])
        self._hub = info["hub"]
        password = Path(env["EDGECTL_HUB_PASSWORD_FILE"]).read_text().strip()
        login = base64.b64encode(f"admin:{password}".encode()).decode()
        self._login = {"Authorization": f"Basic {login}"}

    def reported(self) -> str:
        found: str = self._get(f"targets/{self._name}/attributes")["edgectl_active_package"]
        return found

    def runtime(self) -> object:
        return started(self._state / "runtime.pid")

    def written(self) -> object:
        kinds = ("distributionsets", "softwaremodules", "actions", "targetfilters", "rollouts")
        found: Said = {kind: self._get(kind)["content"] for kind in kinds}
        found["metadata"] = self._get(f"targets/{self._name}/metadata")["content"]
        return found

    def close(self) -> None: ...

    def _get(self, path: str) -> Any:
        return fetch(f"{self._hub}/rest/v1/{path}", **self._login)


class Aws:
    """The account, asked with boto3 and by its own count of calls."""

    def __init__(self, info: Said, env: Mapping[str, str]) -> None:
        (device,) = info["devices"]
        self.url = device["url"]
        self._name, self._root, self._control = (
            device["name"],
            Path(device["root"]),
            info["control"],
        )
        self._shadows = boto3.client(
            "iot-data",
            endpoint_url=env["AWS_ENDPOINT_URL"],
            region_name=env["AWS_REGION"],
            aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
        )

    def reported(self) -> str:
        found = self._shadows.get_thing_shadow(thingName=self._name, shadowName="edgectl")
        reported: str = json.load(found["payload"])["state"]["reported"]["active_package"]
        return reported

    def runtime(self) -> object:
        """The nucleus tells every step of every component, and keeps what it fetched."""
        log = (self._root / "logs" / "greengrass.log").read_text().splitlines()
        steps = [line for line in log if "edgectl.edge-runtime is " in line]
        kept = sorted((self._root / "packages").rglob("*edge-runtime*/**/*"))
        return steps, [(str(file), file.stat().st_mtime_ns) for file in kept if file.is_file()]

    def written(self) -> object:
        total: dict[str, int] = fetch(f"{self._control}/calls")["total"]
        return {
            name: count
            for name, count in total.items()
            if not name.split(".")[1].startswith(AWS_READS)
        }

    def close(self) -> None:
        self._shadows.close()


class Azure:
    """The subscription, asked over the hub's service API and by its own count of calls."""

    def __init__(self, info: Said, env: Mapping[str, str]) -> None:
        (device,) = info["devices"]
        self.url = device["url"]
        self._name, self._state = device["name"], Path(device["state_dir"])
        self._module = Path(device["folder"]) / "modules" / f"edgectl-{APPLICATION}"
        self._images = Path(device["folder"]) / "images" / "unpacked"
        self._account, self._ca = info["url"], info["ca_file"]
        self._connection = parse_connection_string(env["IOTHUB_CONNECTION_STRING"])

    def reported(self) -> str:
        path = f"twins/{self._name}/modules/edgectl-{APPLICATION}?api-version=2021-04-12"
        token = sign(self._connection, FAR_FUTURE)
        twin = fetch(f"{self._account}/{path}", ca=self._ca, Authorization=token)
        found: str = twin["properties"]["reported"]["edgectl"]["active"]
        return found

    def runtime(self) -> object:
        """The module's container and process, and the layers of images on the device."""
        container = (self._module / "container.json").read_text()
        layers = [(one.name, one.stat().st_mtime_ns) for one in sorted(self._images.iterdir())]
        return started(self._state / "runtime.pid"), container, layers

    def written(self) -> object:
        total: dict[str, int] = fetch(f"{self._account}/emulator/calls", ca=self._ca)["total"]
        return {
            name: count
            for name, count in total.items()
            if name.startswith("hub.") and not name.split(".")[1].startswith(HUB_READS)
        }

    def close(self) -> None: ...


class Gke:
    """A cluster, asked as anybody asks Kubernetes."""

    def __init__(self, info: Said, env: Mapping[str, str]) -> None:
        ((cluster, node),) = [(c, n) for c in info["clusters"] for n in c["nodes"]]
        self.url = f"http://{node['address']}:8080"
        config = KubeConfig.from_file(env["GKE_KUBECONFIG"]).get(cluster["name"])
        self._client = Client(config=config)

    def reported(self) -> str:
        """The init container's last words are a pod's report."""
        (prepared,) = self._pod().status.initContainerStatuses
        found: str = json.loads(prepared.state.terminated.message)["package"]
        return found

    def runtime(self) -> object:
        """A release is a pod of its own here; its runtime is the same image, started once."""
        (running,) = self._pod().status.containerStatuses
        return running.imageID, running.restartCount

    def written(self) -> object:
        kinds = (DaemonSet, ConfigMap, Secret, Service)
        found = {
            (kind.__name__, one.metadata.namespace, one.metadata.name): one.metadata.resourceVersion
            for kind in kinds
            for one in self._client.list(kind, namespace="*")
        }
        nodes = self._client.list(Node)
        marks = [(one.metadata.labels, one.metadata.annotations) for one in nodes]
        return found, marks

    def close(self) -> None:
        self._client.close()

    def _pod(self) -> Pod:
        (pod,) = (
            one
            for one in self._client.list(Pod, namespace="*")
            if (one.metadata.labels or {}).get("app.kubernetes.io/name") == APPLICATION
            and one.metadata.deletionTimestamp is None
        )
        return pod


CLOUDS = {"selfhosted": Selfhosted, "aws": Aws, "azure": Azure, "gke": Gke}

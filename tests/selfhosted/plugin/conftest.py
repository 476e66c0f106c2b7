"""A server to talk to, an opened provider, packages to release, and devices that speak DDI.

The server is our hub in a process of its own, and a real Eclipse hawkBit where the jar of
``org.eclipse.hawkbit:hawkbit-update-server`` is named by ``EDGECTL_TEST_HAWKBIT_JAR``. It is
shared by the tests, so each test makes names of its own. Whatever a test does, what the plugin
sends is checked against hawkBit's documented management paths.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from edgectl import api
from edgectl.api import Provider

HAWKBIT_JAR = os.environ.get("EDGECTL_TEST_HAWKBIT_JAR", "")
STARTS_WITHIN_S = 30.0
HAWKBIT_STARTS_WITHIN_S = 180.0

# Method and path of hawkBit's management API (its OpenAPI document), as far as the plugin goes.
DOCUMENTED = [
    (method, re.compile(pattern.replace("{}", "[^/]+") + r"(\?.*)?$"))
    for method, pattern in (
        ("GET", "/rest/v1/targets"),
        ("POST", "/rest/v1/targets"),
        ("GET", "/rest/v1/targets/{}"),
        ("DELETE", "/rest/v1/targets/{}"),
        ("GET", "/rest/v1/targets/{}/attributes"),
        ("GET", "/rest/v1/targets/{}/tags"),
        ("GET", "/rest/v1/targets/{}/actions"),
        ("GET", "/rest/v1/targets/{}/actions/{}/status"),
        ("DELETE", "/rest/v1/targets/{}/actions/{}"),
        ("GET", "/rest/v1/actions"),
        ("GET", "/rest/v1/targettags"),
        ("POST", "/rest/v1/targettags"),
        ("DELETE", "/rest/v1/targettags/{}"),
        ("POST", "/rest/v1/targettags/{}/assigned/{}"),
        ("GET", "/rest/v1/softwaremodules"),
        ("POST", "/rest/v1/softwaremodules"),
        ("GET", "/rest/v1/softwaremodules/{}/artifacts"),
        ("POST", "/rest/v1/softwaremodules/{}/artifacts"),
        ("GET", "/rest/v1/softwaremodules/{}/artifacts/{}/download"),
        ("GET", "/rest/v1/distributionsets/{}/assignedSM"),
        ("GET", "/rest/v1/distributionsets"),
        ("POST", "/rest/v1/distributionsets"),
        ("POST", "/rest/v1/distributionsets/{}/assignedTargets"),
        ("GET", "/rest/v1/system/configs/{}"),
    )
]
# The plugin uses the number, the tests' own clients the name; so the log tells them apart.
_LOGGED = re.compile(r"HTTP Request: (\S+) https?://127\.0\.0\.1:\d+(/\S*)")


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A running server and how operators log in."""

    kind: str
    url: str
    username: str
    password: str
    data: Path

    def operator(self) -> httpx.Client:
        """Return a client of the tests' own."""
        url = self.url.replace("127.0.0.1", "localhost")
        return httpx.Client(base_url=url, auth=(self.username, self.password), timeout=30)

    def config(self, **more: Any) -> dict[str, Any]:
        """Return the provider's configuration for this server."""
        return {"url": self.url, "username": self.username, "password": self.password, **more}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(look: Callable[[], Any], *, within_s: float, what: str) -> Any:
    """Poll until something is there."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what} did not happen within {within_s} s")


_HUB = """
import sys
from pathlib import Path
from edgectl_selfhosted.hub.config import HubConfig
from edgectl_selfhosted.hub.serve import serve
sys.exit(serve(HubConfig(data=Path(sys.argv[1]), port=int(sys.argv[2]), poll_s=1.0)))
"""


def start_hub(data: Path, port: int = 0) -> tuple[subprocess.Popen[bytes], Server]:
    """Start a hub and wait until it says where it listens."""
    data.mkdir(parents=True, exist_ok=True)
    ready = data / "hub.json"
    ready.unlink(missing_ok=True)
    with (data / "hub.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", _HUB, str(data), str(port)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )

    def look() -> dict[str, Any] | None:
        assert process.poll() is None, (data / "hub.log").read_text()
        return json.loads(ready.read_text()) if ready.exists() else None

    where = wait_until(look, within_s=STARTS_WITHIN_S, what="the hub's start")
    password = (data / "admin-password").read_text().strip()
    return process, Server(
        kind="hub", url=where["url"], username="admin", password=password, data=data
    )


def start_hawkbit(data: Path) -> tuple[subprocess.Popen[bytes], Server]:
    """Start a real hawkBit on its embedded database and let devices use their tokens."""
    port = free_port()
    with (data / "hawkbit.log").open("ab") as log:
        process = subprocess.Popen(
            [
                "java",
                "-jar",
                HAWKBIT_JAR,
                f"--server.port={port}",
                "--server.address=127.0.0.1",
                f"--org.eclipse.hawkbit.artifact.fs.path={data / 'artifacts'}",
            ],
            cwd=data,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    server = Server(
        kind="hawkbit",
        url=f"http://127.0.0.1:{port}",
        username="admin",
        password="admin",
        data=data,
    )
    with server.operator() as operator:

        def look() -> bool:
            assert process.poll() is None, (data / "hawkbit.log").read_text()[-4000:]
            try:
                return operator.get("/rest/v1/targets").status_code == 200
            except httpx.HTTPError:
                return False

        wait_until(look, within_s=HAWKBIT_STARTS_WITHIN_S, what="hawkBit's start")
        operator.put(
            "/rest/v1/system/configs/authentication.targettoken.enabled", json={"value": True}
        ).raise_for_status()
    return process, server


@pytest.fixture(
    scope="session",
    params=["hub", *([pytest.param("hawkbit", marks=pytest.mark.hawkbit)] if HAWKBIT_JAR else [])],
)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A running server; each test makes names of its own in it."""
    data = tmp_path_factory.mktemp(request.param)
    if request.param == "hub":
        process, running = start_hub(data)
    else:
        process, running = start_hawkbit(data)
    try:
        yield running
    finally:
        process.terminate()
        process.wait(timeout=20)


class Wire:
    """What the plugin sent to the management API, method and path with query."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    @property
    def writes(self) -> list[tuple[str, str]]:
        """Return the calls that change something."""
        return [call for call in self.calls if call[0] != "GET"]

    def clear(self) -> None:
        """Forget what was sent so far."""
        self.calls.clear()


@pytest.fixture
def wire() -> Iterator[Wire]:
    """Record what goes over the wire, and refuse what hawkBit does not document."""
    log = logging.getLogger("httpx")
    recorded = Wire()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            match = _LOGGED.match(record.getMessage())
            if match and match[2].startswith("/rest/"):
                recorded.calls.append((match[1], match[2]))

    handler = Handler(logging.INFO)
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield recorded
    finally:
        log.removeHandler(handler)
        log.setLevel(before)
    undocumented = [
        call
        for call in recorded.calls
        if not any(call[0] == m and pattern.match(call[1]) for m, pattern in DOCUMENTED)
    ]
    assert not undocumented


@pytest.fixture
def progress() -> list[str]:
    """What the provider told people."""
    return []


@pytest.fixture
def open_plugin(
    server: Server, tmp_path: Path, progress: list[str], wire: Wire
) -> Callable[..., Provider]:
    """Open the provider with other settings than the usual ones."""
    del wire

    def opened(**config: Any) -> Provider:
        context = api.ProviderContext(
            project_dir=tmp_path, state_dir=tmp_path / ".edgectl", progress=progress.append
        )
        return api.open_provider("selfhosted", {**server.config(), **config}, context)

    return opened


@pytest.fixture
def provider(open_plugin: Callable[..., Provider]) -> Provider:
    """The provider, opened by name as the command line opens it."""
    return open_plugin()


@pytest.fixture
def unique() -> str:
    """A word that no other test uses."""
    return secrets.token_hex(4)


class SimulatedDevice:
    """A device that speaks DDI and does what the test says.

    It looks like our agent when it reports attributes, and like any other client if it does not.
    """

    def __init__(self, config: api.DeviceConfig) -> None:
        assert config.hub is not None
        self.config = config
        self.id = config.device.id
        self._root = f"{config.hub.url}/{config.hub.tenant}/controller/v1/{self.id}"
        self._http = httpx.Client(
            headers={"Authorization": f"TargetToken {config.hub.token}"},
            timeout=30,
        )

    def close(self) -> None:
        self._http.close()

    def poll(self) -> dict[str, Any]:
        """Return the links that say what there is to do."""
        links = self._http.get(self._root).raise_for_status().json().get("_links", {})
        assert isinstance(links, dict)
        return links

    def say(self, **attributes: str) -> None:
        """Write attributes."""
        body = {"mode": "merge", "data": attributes}
        self._http.put(f"{self._root}/configData", json=body).raise_for_status()

    def report(self, release: int, state: api.State, **more: Any) -> None:
        """Write a report as our agent does."""
        device = self.config.device
        who = {"application": device.application, "hardware": device.hardware}
        report = api.DeviceReport(**{**who, "release": release, "state": state, **more})
        self.say(**api.to_attributes(report))

    def deployment(self) -> dict[str, Any]:
        """Return the open deployment."""
        found = self._http.get(self.poll()["deploymentBase"]["href"]).raise_for_status().json()
        assert isinstance(found, dict)
        return found

    def download(self, artifact: dict[str, Any]) -> bytes:
        """Fetch a file of a deployment."""
        links = artifact["_links"]
        link = links.get("download") or links["download-http"]
        return self._http.get(link["href"]).raise_for_status().content

    def accept_cancel(self) -> None:
        """Give an assignment up, as the server asked."""
        link = self.poll()["cancelAction"]["href"]
        stop = self._http.get(link).raise_for_status().json()["cancelAction"]["stopId"]
        status = {"execution": "closed", "result": {"finished": "success"}, "details": []}
        body = {"id": stop, "status": status}
        self._http.post(f"{self._root}/cancelAction/{stop}/feedback", json=body).raise_for_status()

    def feedback(self, finished: str, *, details: tuple[str, ...] = (), code: int = 0) -> None:
        """Close the open deployment."""
        action = self.deployment()["id"]
        status: dict[str, Any] = {
            "execution": "closed",
            "result": {"finished": finished},
            "details": list(details),
        }
        if code:
            status["code"] = code
        self._http.post(
            f"{self._root}/deploymentBase/{action}/feedback", json={"id": action, "status": status}
        ).raise_for_status()


class Fleet:
    """A target of the test's own, and its devices."""

    def __init__(self, provider: Provider, unique: str) -> None:
        self.provider = provider
        self.application = f"plates-{unique}"
        self.target = api.Target(
            name="lots", provider="selfhosted", selector={"tags": {"fleet": unique}}
        )
        self._unique = unique
        self._devices: list[SimulatedDevice] = []

    def enroll(self, name: str, **more: Any) -> api.EnrollResult:
        """Enrol a device; its whole name is unique on the server."""
        return self.provider.enroll(
            api.EnrollRequest(
                **{
                    "target": self.target,
                    "application": self.application,
                    "name": self.name(name),
                    "hardware": "x86-64-cpu",
                    "publisher_key": "-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n",
                    **more,
                }
            )
        )

    def name(self, name: str) -> str:
        """Return a device's whole name."""
        return f"{name}-{self._unique}"

    def device(self, name: str, **more: Any) -> SimulatedDevice:
        """Enrol a device and return it as it comes up."""
        files = self.enroll(name, **more).files
        device = SimulatedDevice(api.parse_device_config(files["device.toml"]))
        self._devices.append(device)
        return device

    def close(self) -> None:
        for device in self._devices:
            device.close()

    def inventory(self, **more: Any) -> dict[str, api.Device]:
        """List the target's devices."""
        request = api.InventoryRequest(**{"target": self.target, **more})
        return {device.id: device for device in self.provider.inventory(request)}

    def observe(self, release: int | None = None, **more: Any) -> dict[str, api.DeviceStatus]:
        """Ask where the devices stand; the keys are the short names."""
        request = api.ObserveRequest(
            target=self.target, application=self.application, release=release, **more
        )
        found = list(self.provider.observe(request))
        assert len({status.device for status in found}) == len(found)
        return {s.device.removesuffix(f"-{self._unique}"): s for s in found}


@pytest.fixture
def fleet(provider: Provider, unique: str) -> Iterator[Fleet]:
    """A target of the test's own."""
    made = Fleet(provider, unique)
    yield made
    made.close()


class Shop:
    """Makes packages and releases."""

    def __init__(self, layout: Path, application: str) -> None:
        self.layout = layout
        self.application = application
        (layout / "blobs" / "sha256").mkdir(parents=True)

    def blob(self, data: bytes) -> str:
        """Store a blob and return its digest."""
        digest = api.sha256_digest(data)
        (self.layout / "blobs" / "sha256" / api.digest_hex(digest)).write_bytes(data)
        return digest

    def package(self, *, seed: str = "a", docs: int = 1, int8: bool = True) -> api.Package:
        """Build a package: fp32, int8 where wanted, package.json and documents."""
        weights = {"fp32": hashlib.shake_256(f"{seed}32".encode()).digest(40_000)}
        if int8:
            weights["int8"] = hashlib.shake_256(f"{seed}8".encode()).digest(10_000)
        info = api.PackageInfo(
            application=self.application,
            version="1.0.0",
            model_digest=api.sha256_digest(weights["fp32"]),
            inputs=(),
            outputs=(),
            opset={"": 17},
            ir_version=8,
            variants=tuple(
                msgspec.convert(
                    {
                        "precision": precision,
                        "path": f"model/{precision}.onnx",
                        "files": [f"model/{precision}.onnx"],
                        "size_bytes": len(data),
                        "atol": 0.001,
                        "rtol": 0.001,
                    },
                    api.Variant,
                )
                for precision, data in weights.items()
            ),
        )
        files = {f"model/{p}.onnx": (api.WEIGHT_TYPE, data) for p, data in weights.items()}
        doc = "application/vnd.cncf.model.doc.v1.raw"
        files[api.PACKAGE_FILE] = (doc, api.canonical_json(info))
        files |= {f"docs/{n}": (doc, f"{seed} {n}".encode()) for n in range(docs)}
        layers = tuple(
            api.Descriptor(
                media_type=kind,
                digest=self.blob(data),
                size=len(data),
                annotations={api.FILEPATH: path},
            )
            for path, (kind, data) in sorted(files.items())
        )
        config = b"{}"
        manifest = api.Manifest(
            media_type="application/vnd.oci.image.manifest.v1+json",
            artifact_type="application/vnd.cncf.model.manifest.v1+json",
            config=api.Descriptor(
                media_type="application/vnd.cncf.model.config.v1+json",
                digest=self.blob(config),
                size=len(config),
            ),
            layers=layers,
        )
        return api.Package(
            application=self.application,
            version="1.0.0",
            layout=self.layout,
            digest=self.blob(manifest.to_bytes()),
            size_bytes=sum(layer.size for layer in layers),
            sizes={p: len(d) for p, d in weights.items()},
        )

    def release(self, number: int, package: api.Package, **settings: Any) -> api.Release:
        """Make a release; nobody on the way looks at its signature."""
        document = api.ReleaseDocument(
            application=self.application,
            number=number,
            version=package.version,
            package=package.digest,
            settings=api.DeviceSettings(**settings),
        )
        return api.Release(
            document=document, envelope=b'{"payload": "%d"}' % number, signature=b'{"sig": 1}'
        )


@pytest.fixture
def shop(tmp_path: Path, fleet: Fleet) -> Shop:
    """Packages and releases of the fleet's application."""
    return Shop(tmp_path / "layout", fleet.application)


@pytest.fixture
def publish(fleet: Fleet, shop: Shop) -> Callable[..., api.Release]:
    """Bring a release to the server."""

    def published(number: int, *, seed: str = "a", **settings: Any) -> api.Release:
        package = shop.package(seed=seed)
        release = shop.release(number, package, **settings)
        fleet.provider.package(
            api.PackageRequest(target=fleet.target, package=package, release=release)
        )
        return release

    return published


@pytest.fixture
def deploy(fleet: Fleet, shop: Shop) -> Callable[..., api.DeployResult]:
    """Give a release to devices by their short names."""

    def deployed(release: api.Release, *names: str) -> api.DeployResult:
        package = api.Package(
            application=release.application,
            version=release.document.version,
            layout=shop.layout,
            digest=release.package,
            size_bytes=0,
        )
        devices = tuple(fleet.name(name) for name in names)
        return fleet.provider.deploy(
            api.DeployRequest(
                target=fleet.target, release=release, package=package, devices=devices
            )
        )

    return deployed

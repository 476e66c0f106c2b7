"""The emulated account in this process, and devices that take deployments as it hands them out.

The account's HTTP side is real: boto3 signs, sends and is refused as anywhere. The devices talk
to the account's device side directly, where a virtual core device would use MQTT; so a test says
what a device does, and does it at once.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from edgectl import api
from edgectl.api import Provider, State
from edgectl.package.keys import SigningKey
from edgectl.package.sign import sign_package, sign_release
from edgectl.testing.conformance.base import build_tiny_package
from edgectl_aws_greengrass._sdk.pace import Pace
from edgectl_aws_greengrass.config import AwsConfig
from edgectl_aws_greengrass.emulator.account import RunningAccount
from edgectl_aws_greengrass.emulator.ports import GREENGRASS_NAMESPACE, CloudError, JobExecution
from edgectl_aws_greengrass.emulator.seed import seed
from edgectl_aws_greengrass.emulator.throttle import Throttle

BUCKET = "edgectl-tests"
POLL_S = 0.02
TELLING = threading.Lock()  # records arrive in the order in which they came about


class Site:
    """A running account, with what has to be there before the first deploy."""

    def __init__(self, folder: Path) -> None:
        self.account = RunningAccount(folder, throttle=Throttle({}), minute_s=0.1)
        self.account.start()
        self.cloud = self.account.cloud
        self.env = self.cloud.settings(self.account.url)
        self.roles = seed(self.cloud, AwsConfig(bucket=BUCKET), ())

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.account.url,
            region_name=self.cloud.region,
            aws_access_key_id=self.env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.env["AWS_SECRET_ACCESS_KEY"],
        )

    def calls(self) -> dict[str, int]:
        """Return how often each operation was called, ``service.Operation`` → number."""
        return self.cloud.calls.counts().total

    def writes(self, work: Callable[[], object]) -> dict[str, int]:
        """Return what was called meanwhile that changes something."""
        before = self.calls()
        work()
        made = {name: count - before.get(name, 0) for name, count in self.calls().items()}
        reads = ("Get", "List", "Describe", "Head", "Search")
        return {n: c for n, c in made.items() if c and not n.split(".")[1].startswith(reads)}

    def close(self) -> None:
        self.account.stop()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One account for all tests; each makes names of its own in it."""
    made = Site(tmp_path_factory.mktemp("account"))
    yield made
    made.close()


class Jump:
    """A clock that jumps where others wait, so that AWS's rates are counted and cost no time."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def now(self) -> float:
        return time.monotonic() + self._ahead

    def sleep(self, seconds: float) -> None:
        self._ahead += seconds


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The account here keeps no rates, so nobody waits for them."""
    jump = Jump()
    made = Pace(jump.now, jump.sleep)
    monkeypatch.setattr("edgectl_aws_greengrass._sdk.pace.shared_pace", lambda: made)


@pytest.fixture
def unique() -> str:
    """A word that no other test uses."""
    return secrets.token_hex(4)


@pytest.fixture
def open_plugin(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Provider]:
    """Open the provider by name, as the command line does, with other settings than the usual."""
    for name, value in site.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))

    def opened(**config: Any) -> Provider:
        context = api.ProviderContext(
            project_dir=tmp_path, state_dir=tmp_path / ".edgectl", progress=lambda _: None
        )
        settings = {
            "bucket": BUCKET,
            "role": site.roles["training"],
            "telemetry_role": site.roles["rule"],
            "training": {"image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/train:1"},
            **config,
        }
        return api.open_provider("aws", settings, context)

    return opened


@pytest.fixture
def provider(open_plugin: Callable[..., Provider]) -> Provider:
    """The provider as it is usually opened."""
    return open_plugin()


class FakeCore:
    """A core device that takes every deployment, and does with it what the test says.

    Attributes:
        fails: Releases that it cannot take: number → (detailed status, error stack, cause).
        quiet: Whether it takes nothing for now.
    """

    def __init__(self, site: Site, thing: str) -> None:
        self._site = site
        self.thing = thing
        self.fails: dict[int, tuple[str, str, str]] = {}
        self.quiet = False
        self.taken: list[dict[str, Any]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.failure: Exception | None = None

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=30)
        if self.failure is not None:
            raise self.failure

    def _run(self) -> None:
        while not self._stop.wait(POLL_S):
            try:
                if not self.quiet:
                    self.step()
            except CloudError:
                continue  # an operator may call a deployment off at any moment
            except Exception as exc:  # noqa: BLE001 - told at the end of the test
                self.failure = exc
                return

    def step(self) -> bool:
        """Take the next deployment to its end; whether there was one."""
        execution = self._site.cloud.jobs.start_next(self.thing, GREENGRASS_NAMESPACE, {})
        if execution is None:
            return False
        self.take(execution)
        return True

    def take(self, execution: JobExecution) -> None:
        document = json.loads(execution.document)
        self.taken.append(document)
        for name, component in document.get("components", {}).items():
            release = release_number(str(component["version"]))
            if name.endswith(".edge-runtime") or not name.startswith("edgectl.") or not release:
                continue
            if release in self.fails:
                status, stack, cause = self.fails[release]
                self._finish(execution, "FAILED", status, stack, cause)
                return
            application = name.removeprefix("edgectl.")
            self.report(application, release, self._package(name, component))
            self._tell(application, release)
        self._finish(execution, "SUCCEEDED", "SUCCESSFUL", "", "")

    def _finish(
        self, execution: JobExecution, status: str, detailed: str, stack: str, cause: str
    ) -> None:
        details = {"detailed-deployment-status": detailed}
        if stack:
            details |= {"deployment-failure-cause": cause, "deployment-error-stack": stack}
        self._site.cloud.jobs.update(self.thing, execution.job_id, status, details)

    def _tell(self, application: str, release: int) -> None:
        """Send two records, as the runtime does through the nucleus."""
        with TELLING:
            records = [
                api.TelemetryRecord(
                    id=f"{self.thing}-{application}-{release}-{n}",
                    kind=kind,
                    time_unix_ns=time.time_ns(),
                    device=self.thing,
                    application=application,
                )
                for n, kind in enumerate((api.Kind.EVENT, api.Kind.PREDICTION))
            ]
            topic = f"edgectl/{self.thing}/{application}/telemetry"
            self._site.cloud.publish(topic, api.to_otlp(records), self.thing)

    def _package(self, name: str, component: dict[str, Any]) -> str:
        arn = self._site.cloud.arn(
            "greengrass", f"components:{name}:versions:{component['version']}"
        )
        recipe = json.loads(self._site.cloud.greengrass.recipe(arn))
        found: str = recipe["ComponentConfiguration"]["DefaultConfiguration"]["package"]
        return found

    def report(self, application: str, release: int, package: str, **changes: Any) -> None:
        """Write what the device says of itself into its shadow."""
        report = api.DeviceReport(
            application=application,
            release=release,
            package=package,
            state=State.HEALTHY,
            active_release=release,
            active_package=package,
            variant="fp32",
        )
        reported = msgspec.to_builtins(msgspec.structs.replace(report, **changes))
        payload = json.dumps({"state": {"reported": reported}}).encode()
        self._site.cloud.shadows.update(self.thing, "edgectl", payload)


def release_number(version: str) -> int:
    number, _, rest = version.partition(".")
    return int(number) if rest == "0.0" else 0


class Fleet:
    """A thing group of the test's own, with devices that take deployments."""

    def __init__(self, site: Site, unique: str) -> None:
        self.site = site
        self.group = f"group-{unique}"
        self.cores: dict[str, FakeCore] = {}
        self.target = api.Target(
            name="lots",
            provider="aws",
            selector={"thing_group": self.group},
            hardware="x86-64-cpu",
        )
        site.client("iot").create_thing_group(thingGroupName=self.group)

    @property
    def group_arn(self) -> str:
        return self.site.cloud.arn("iot", f"thinggroup/{self.group}")

    def add(self, *names: str, start: bool = True) -> list[FakeCore]:
        """Make things of the group, which work at once or when they are told."""
        iot = self.site.client("iot")
        made = []
        for name in names:
            thing = f"{name}-{self.group}"
            iot.create_thing(thingName=thing)
            iot.add_thing_to_thing_group(thingGroupName=self.group, thingName=thing)
            core = FakeCore(self.site, thing)
            self.cores[thing] = core
            made.append(core)
            if start:
                core.start()
        return made

    def thing(self, name: str) -> str:
        return f"{name}-{self.group}"

    def close(self) -> None:
        for core in self.cores.values():
            core.close()


@pytest.fixture
def fleet(site: Site, unique: str) -> Iterator[Fleet]:
    """A target of the test's own."""
    made = Fleet(site, unique)
    yield made
    made.close()


class Shop:
    """Makes packages and releases, and brings them to the account."""

    def __init__(self, folder: Path, provider: Provider, fleet: Fleet, unique: str) -> None:
        self._folder = folder
        self._key = SigningKey(ec.generate_private_key(ec.SECP256R1()))
        self.provider = provider
        self.fleet = fleet
        self.application = f"app-{unique}"
        self.packages: dict[str, api.Package] = {}

    def package(self, version: str = "1.0.0") -> api.Package:
        if version not in self.packages:
            self.packages[version] = build_tiny_package(
                self.application, version, self._folder, self._key
            )
        return self.packages[version]

    def release(self, number: int, version: str = "1.0.0") -> api.Release:
        package = self.package(version)
        document = api.ReleaseDocument(
            application=self.application, number=number, version=version, package=package.digest
        )
        signature = sign_package(package.layout, package.digest, self._key)
        return sign_release(document, signature, self._key)

    def give(
        self, number: int, *names: str, version: str = "1.0.0", pace: api.Pace | None = None
    ) -> api.DeployResult:
        """Package a release and give it to devices by their short names."""
        package, release = self.package(version), self.release(number, version)
        target = self.fleet.target
        self.provider.package(api.PackageRequest(target=target, package=package, release=release))
        devices = tuple(self.fleet.thing(name) for name in names)
        return self.provider.deploy(
            api.DeployRequest(
                target=target, package=package, release=release, devices=devices, pace=pace
            )
        )

    def states(self, release: int | None = None) -> dict[str, api.DeviceStatus]:
        """Return where each device stands, by short name."""
        request = api.ObserveRequest(
            target=self.fleet.target, application=self.application, release=release
        )
        found = {status.device: status for status in self.provider.observe(request)}
        return {thing.removesuffix(f"-{self.fleet.group}"): s for thing, s in found.items()}

    def settle(self, release: int, timeout_s: float = 20.0) -> dict[str, api.DeviceStatus]:
        """Wait until every device that has the release is settled."""
        deadline = time.monotonic() + timeout_s
        while True:
            states = self.states(release)
            if states and all(status.state.is_settled for status in states.values()):
                return states
            assert time.monotonic() < deadline, states
            time.sleep(POLL_S)


@pytest.fixture
def shop(tmp_path: Path, provider: Provider, fleet: Fleet, unique: str) -> Shop:
    """Packages and releases of an application of the test's own."""
    return Shop(tmp_path, provider, fleet, unique)

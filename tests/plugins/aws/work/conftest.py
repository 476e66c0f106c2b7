"""An emulated account in this process, set up as docs/providers/aws.md says, and the provider."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from edgectl import api
from edgectl.api import Provider
from edgectl.emulation import WebServer
from edgectl_aws_greengrass.config import AwsConfig
from edgectl_aws_greengrass.emulator.cloud import EmulatedCloud
from edgectl_aws_greengrass.emulator.seed import seed
from edgectl_aws_greengrass.emulator.throttle import Throttle

BUCKET = "edgectl-work"
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/train:1"


class Site:
    """The account; its HTTP side is real."""

    def __init__(self, folder: Path) -> None:
        self.cloud = EmulatedCloud(folder, throttle=Throttle({}), minute_s=0.1)
        self.server = WebServer(self.cloud.front)
        self.server.start()
        self.roles = seed(self.cloud, AwsConfig(bucket=BUCKET), ())
        self.env = self.cloud.settings(self.server.url)
        for kind in ("iot:Data-ATS", "iot:CredentialProvider"):
            self.cloud.endpoints[kind] = f"{kind.split(':')[-1].lower()}.example"

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.server.url,
            region_name=self.cloud.region,
            aws_access_key_id=self.env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.env["AWS_SECRET_ACCESS_KEY"],
        )

    def tell(self, thing: str, application: str, payload: bytes) -> None:
        """Publish as a device does."""
        self.cloud.publish(f"edgectl/{thing}/{application}/telemetry", payload, client_id=thing)

    def keys(self, prefix: str) -> list[str]:
        found = self.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=prefix)
        return [entry["Key"] for entry in found.get("Contents", ())]

    def close(self) -> None:
        self.server.stop()
        self.cloud.stop()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("account"))
    yield made
    made.close()


@pytest.fixture
def unique() -> str:
    return secrets.token_hex(4)


@pytest.fixture
def said() -> list[str]:
    """What the provider told of its progress."""
    return []


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture
def open_aws(
    site: Site, project: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Provider]:
    """Open the provider by name, as the command line does."""
    for name, value in site.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(project / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(project / "none"))

    def opened(**config: Any) -> Provider:
        context = api.ProviderContext(
            project_dir=project, state_dir=project / ".edgectl", progress=said.append
        )
        settings = {
            "bucket": BUCKET,
            "role": site.roles["training"],
            "telemetry_role": site.roles["rule"],
            "training": {"image": IMAGE},
            **config,
        }
        return api.open_provider("aws", settings, context)

    return opened


@pytest.fixture
def aws(open_aws: Callable[..., Provider]) -> Provider:
    return open_aws()


@pytest.fixture
def group(site: Site, unique: str) -> api.Target:
    """A thing group with two things."""
    iot = site.client("iot")
    name = f"lots-{unique}"
    iot.create_thing_group(thingGroupName=name)
    for thing in (f"one-{unique}", f"two-{unique}"):
        iot.create_thing(thingName=thing)
        iot.add_thing_to_thing_group(thingGroupName=name, thingName=thing)
    return api.Target(name=f"t-{unique}", provider="aws", selector={"thing_group": name})

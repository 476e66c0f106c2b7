"""An emulated account of its own for each test module, and clients that check every answer."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.validate import ParamValidator

from edgectl_aws_greengrass.emulator.account import RunningAccount
from edgectl_aws_greengrass.emulator.throttle import Throttle

WAIT_S = 20.0


class Clients:
    """boto3 clients of an account; each answer is held against the service model."""

    def __init__(self, account: RunningAccount) -> None:
        self.account = account
        self.cloud = account.cloud
        self._session = boto3.Session()
        self._known: dict[str, Any] = {}

    def __call__(self, service: str, **more: Any) -> Any:
        if more:
            return self._client(service, more)
        if service not in self._known:
            self._known[service] = self._client(service, {})
        return self._known[service]

    def _client(self, service: str, more: dict[str, Any]) -> Any:
        key, secret = self.cloud.administrator
        options = {
            "endpoint_url": self.account.url,
            "region_name": self.cloud.region,
            "aws_access_key_id": key,
            "aws_secret_access_key": secret,
            "config": Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
            **more,
        }
        client = self._session.client(service, **options)
        client.meta.events.register("before-parse", _check_body)
        client.meta.events.register("after-call", _check_answer)
        return client


def _check_body(operation_model: Any, response_dict: dict[str, Any], **_: Any) -> None:
    protocol = operation_model.service_model.protocol
    if response_dict["status_code"] >= 300 or protocol not in {"json", "rest-json"}:
        return
    shape = operation_model.output_shape
    if shape is not None and "payload" not in shape.serialization and response_dict["body"]:
        unknown = sorted(unknown_members(shape, json.loads(response_dict["body"])))
        assert not unknown, f"{operation_model.name} answers members that nobody knows: {unknown}"


def _check_answer(http_response: Any, parsed: dict[str, Any], model: Any, **_: Any) -> None:
    if http_response.status_code >= 300 or model.output_shape is None:
        return
    answer = {k: v for k, v in parsed.items() if k != "ResponseMetadata"}
    if model.has_streaming_output or model.service_model.service_name == "iam":
        return  # botocore turns policy documents into objects, against its own model
    report = ParamValidator().validate(answer, model.output_shape)
    assert not report.has_errors(), f"{model.name}: {report.generate_report()}"


def unknown_members(shape: Any, value: Any, where: str = "") -> set[str]:
    """Return the paths in a JSON value that a shape has no member for."""
    if value is None:
        return set()
    if shape.type_name == "structure":
        names = {m.serialization.get("name", n): m for n, m in shape.members.items()}
        found = {f"{where}.{name}" for name in value if name not in names}
        for name, item in value.items():
            if name in names:
                found |= unknown_members(names[name], item, f"{where}.{name}")
        return found
    if shape.type_name == "list":
        return {u for item in value for u in unknown_members(shape.member, item, where)}
    if shape.type_name == "map":
        return {u for item in value.values() for u in unknown_members(shape.value, item, where)}
    return set()


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAccount]:
    """An account without request rates, so that tests need not wait."""
    folder = tmp_path_factory.mktemp("account")
    with RunningAccount(folder, throttle=Throttle({}), minute_s=0.5) as running:
        yield running


@pytest.fixture(scope="module")
def clients(account: RunningAccount) -> Clients:
    return Clients(account)


@pytest.fixture
def until() -> Callable[[Callable[[], Any]], Any]:
    """Wait until something is true and return it."""

    def wait(check: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            found = check()
            if found:
                return found
            time.sleep(0.01)
        raise AssertionError("it did not happen in time")

    return wait


class Greengrass:
    """What most tests of Greengrass need to do first."""

    def __init__(self, clients: Clients, until: Callable[..., Any], name: str) -> None:
        self.api = clients("greengrassv2")
        self.iot = clients("iot")
        self.cloud = clients.cloud
        self.name = name
        self._until = until

    def recipe(self, version: str = "1.0.0", name: str = "", **more: Any) -> dict[str, Any]:
        manifest = {
            "Platform": {"os": "linux", "architecture": "amd64", "runtime": "*"},
            "Lifecycle": {"Startup": {"Script": "true"}},
        }
        return {
            "RecipeFormatVersion": "2020-01-25",
            "ComponentName": name or f"com.{self.name}",
            "ComponentVersion": version,
            "Manifests": [manifest],
            **more,
        }

    def component(self, version: str = "1.0.0", name: str = "", **more: Any) -> str:
        """Make a component version and wait until it can be deployed; return its ARN."""
        blob = json.dumps(self.recipe(version, name, **more)).encode()
        arn: str = self.api.create_component_version(inlineRecipe=blob)["arn"]
        self._until(lambda: self.state(arn) == "DEPLOYABLE")
        return arn

    def state(self, arn: str) -> str:
        return str(self.api.describe_component(arn=arn)["status"]["componentState"])

    def group(self, name: str, *things: str) -> str:
        """Make a thing group with things; return its ARN."""
        arn: str = self.iot.create_thing_group(thingGroupName=name)["thingGroupArn"]
        for thing in things:
            self.iot.create_thing(thingName=thing)
            self.iot.add_thing_to_thing_group(thingGroupName=name, thingName=thing)
        return arn

    def deploy(self, target: str, **components: str) -> dict[str, Any]:
        wanted = {
            f"com.{name}": {"componentVersion": version} for name, version in components.items()
        }
        answer: dict[str, Any] = self.api.create_deployment(targetArn=target, components=wanted)
        return answer


@pytest.fixture
def greengrass(
    clients: Clients, until: Callable[..., Any], request: pytest.FixtureRequest
) -> Greengrass:
    """Names by the test, so that tests of a module do not meet."""
    name = "".join(c for c in request.node.name if c.isalnum())[-40:]
    return Greengrass(clients, until, name)

"""What an operator meets before and around a deploy: doctor, refusals, and adding devices."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from edgectl import api
from edgectl.api import Provider
from edgectl.emulation import Fault
from edgectl_aws_greengrass._sdk.account import Account
from edgectl_aws_greengrass._sdk.enroll import enroll
from edgectl_aws_greengrass._sdk.pace import shared_pace
from edgectl_aws_greengrass.config import AwsConfig
from edgectl_aws_greengrass.emulator.callers import Callers

BUCKET = "edgectl-tests"
ROLE = "arn:aws:iam::123456789012:role/GreengrassV2TokenExchangeRole"


def history(provider: Provider) -> list[api.ReleaseRecord]:
    target = api.Target(name="lots", provider="aws", selector={"thing_group": "dc"})
    return list(provider.history(api.HistoryRequest(target=target, application="nobody")))


def become(
    monkeypatch: pytest.MonkeyPatch,
    callers: Callers,
    name: str,
    *actions: str,
    effect: str = "Deny",
) -> None:
    """Call as a user who may do everything but some actions, or only those."""
    statements = [{"Effect": effect, "Action": list(actions), "Resource": "*"}]
    if effect == "Deny":
        statements.append({"Effect": "Allow", "Action": ["*"], "Resource": "*"})
    document = {"Version": "2012-10-17", "Statement": statements}
    key, secret = callers.new_user(name, document)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)


def findings(provider: Provider, *targets: api.Target) -> dict[str, api.Finding]:
    return {f.name: f for f in provider.check(api.CheckRequest(targets=targets))}


@pytest.mark.parametrize(
    "action",
    [
        "greengrass:CreateDeployment",
        "greengrass:CreateComponentVersion",
        "iot:AddThingToThingGroup",
        "iot:CancelJobExecution",
        "s3:PutObject",
        "iot:GetThingShadow",
    ],
)
def test_doctor_names_the_missing_action(
    site: Any,
    open_plugin: Callable[..., Provider],
    monkeypatch: pytest.MonkeyPatch,
    unique: str,
    action: str,
) -> None:
    provider = open_plugin()
    become(monkeypatch, site.cloud.callers, unique, action)
    found = findings(provider)["permissions"]
    assert (found.ok, found.detail) == (False, f"not allowed: {action}")
    assert action in found.hint


def test_doctor_changes_nothing(site: Any, provider: Provider, fleet: Any) -> None:
    fleet.add("a", start=False)
    objects = [o["Key"] for o in keys(site)]
    groups = site.client("iot").list_thing_groups()["thingGroups"]
    found = findings(provider, fleet.target)
    assert {name: f.ok for name, f in found.items() if not f.ok} == {}
    assert [o["Key"] for o in keys(site)] == objects
    assert site.client("iot").list_thing_groups()["thingGroups"] == groups


def keys(site: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (
        site.client("s3").list_objects_v2(Bucket=BUCKET).get("Contents", [])
    )
    return found


def test_doctor_tells_that_the_bucket_is_not_there(open_plugin: Callable[..., Provider]) -> None:
    found = findings(open_plugin(bucket="nobody-has-this-one"))["bucket"]
    assert not found.ok
    assert "bucket" in found.hint


def test_doctor_tells_that_the_role_alias_is_not_there(
    open_plugin: Callable[..., Provider],
) -> None:
    found = findings(open_plugin(token_exchange_role_alias="Nobodys"))["token exchange role"]
    assert not found.ok
    assert "'Nobodys'" in found.detail
    assert "token_exchange_role" in found.hint


def test_no_credentials_are_told_with_what_to_do(
    open_plugin: Callable[..., Provider], monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = open_plugin()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(api.AuthError, match="no usable AWS credentials") as caught:
        history(provider)
    assert "aws sso login" in caught.value.hint
    assert caught.value.vendor_code == "NoCredentials"


def test_an_expired_token_is_told_with_what_to_do(
    site: Any, open_plugin: Callable[..., Provider], monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = open_plugin()
    role = site.roles["device"]
    session = site.cloud.callers.new_session(role, "operator", -60)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", session.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", session.secret)
    monkeypatch.setenv("AWS_SESSION_TOKEN", session.token)
    with pytest.raises(api.AuthError) as caught:
        history(provider)
    assert caught.value.vendor_code in {"ExpiredToken", "ExpiredTokenException"}
    assert "new credentials" in caught.value.hint


def test_a_wrong_region_is_told(open_plugin: Callable[..., Provider]) -> None:
    provider = open_plugin(region="eu-west-1")
    target = api.Target(name="lots", provider="aws", selector={"thing_group": "dc"})
    with pytest.raises(api.ProviderError) as caught:
        list(provider.observe(api.ObserveRequest(target=target, application="plates")))
    assert caught.value.vendor_code
    assert "Region" in caught.value.hint or "region" in caught.value.hint


def test_a_number_of_attempts_that_is_none_is_told(
    open_plugin: Callable[..., Provider], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "often")
    with pytest.raises(api.ProviderError, match="'often'") as caught:
        history(open_plugin())
    assert "AWS_MAX_ATTEMPTS" in caught.value.hint


def test_an_endpoint_that_is_down_is_told(open_plugin: Callable[..., Provider]) -> None:
    with pytest.raises(api.UnreachableError, match="cannot be reached") as caught:
        history(open_plugin(endpoint_url="http://127.0.0.1:9"))
    assert "127.0.0.1:9" in caught.value.message
    assert caught.value.vendor_code == "EndpointConnectionError"


def test_throttling_is_survived_and_told_when_it_does_not_end(
    site: Any,
    open_plugin: Callable[..., Provider],
    fleet: Any,
    shop: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edgectl_aws_greengrass._sdk.account.ATTEMPTS", 3)
    shop.provider = open_plugin(unreachable_after_s=901)
    fleet.add("a")
    site.cloud.faults.add(
        Fault(operation="greengrassv2.CreateDeployment", code="ThrottlingException", times=2)
    )
    shop.give(1, "a")
    shop.settle(1)
    site.cloud.faults.add(
        Fault(operation="greengrassv2.ListDeployments", code="ThrottlingException", times=None)
    )
    try:
        with pytest.raises(api.ThrottledError) as caught:
            shop.states(1)
    finally:
        site.cloud.faults.clear()
    assert caught.value.vendor_code == "ThrottlingException"
    assert "slow down" in caught.value.message


def test_a_cut_in_the_middle_is_finished_by_a_rerun(
    site: Any,
    open_plugin: Callable[..., Provider],
    fleet: Any,
    shop: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edgectl_aws_greengrass._sdk.account.ATTEMPTS", 2)
    shop.provider = open_plugin(unreachable_after_s=902)
    fleet.add("a", "b")
    site.cloud.faults.add(
        Fault(operation="greengrassv2.CreateDeployment", code="InternalServerException", times=None)
    )
    try:
        with pytest.raises(api.UnreachableError):
            shop.give(1, "a")
    finally:
        site.cloud.faults.clear()
    assert shop.states(1) == {}
    shop.give(1, "a")
    assert shop.settle(1).keys() == {"a"}


def enroll_request(fleet: Any, **changes: Any) -> api.EnrollRequest:
    return api.EnrollRequest(
        **{
            "target": fleet.target,
            "application": "plates",
            "name": f"new-{fleet.group}",
            "hardware": "x86-64-cpu",
            "publisher_key": "-----BEGIN PUBLIC KEY-----\nabc\n-----END PUBLIC KEY-----\n",
            **changes,
        }
    )


def test_an_added_device_has_a_certificate_that_its_policy_lets_in(
    site: Any, provider: Provider, fleet: Any
) -> None:
    request = enroll_request(fleet)
    files = provider.enroll(request).files
    assert files.keys() >= {"config.yaml", "device.toml", "device.pem.crt", "private.pem.key"}
    certificate = x509.load_pem_x509_certificate(files["device.pem.crt"].encode())
    key = serialization.load_pem_private_key(files["private.pem.key"].encode(), None)
    assert certificate.public_key() == key.public_key()
    assert certificate.not_valid_after_utc > dt.datetime.now(dt.UTC)
    principal = site.cloud.things.authenticate(files["device.pem.crt"].encode())
    assert principal is not None
    assert principal.active
    assert list(principal.things) == [request.name]

    def may(action: str, service: str, resource: str) -> bool:
        arn = site.cloud.arn(service, resource)
        answer: bool = site.cloud.things.allows(principal, action, arn, request.name)
        return answer

    assert may("iot:Connect", "iot", f"client/{request.name}")
    assert may("iot:Publish", "iot", f"topic/$aws/things/{request.name}/jobs/x/update")
    assert may("iot:Publish", "iot", f"topic/edgectl/{request.name}/plates/telemetry")
    assert not may("iot:Connect", "iot", "client/somebody-else")
    assert not may("iot:Publish", "iot", "topic/$aws/things/somebody-else/jobs/x/update")
    assert not may("iot:Publish", "iot", "topic/anything")


@pytest.mark.parametrize("name", ["a b", "a:b", "a/b", "a" * 129])
def test_a_name_that_no_core_device_may_have_is_refused_without_a_call(
    site: Any, provider: Provider, fleet: Any, name: str
) -> None:
    del site
    with pytest.raises(api.PlanError, match="cannot be the name of a core device"):
        provider.enroll(enroll_request(fleet, name=name))


def test_a_devices_certificate_is_its_things_alone(
    provider: Provider, fleet: Any, tmp_path: Path
) -> None:
    assert provider.name == "aws"  # opening it sets the environment
    account = Account(AwsConfig(bucket=BUCKET, token_exchange_role=ROLE), shared_pace())
    asked: list[dict[str, Any]] = []
    account.client("iot").meta.events.register(
        "provide-client-params.iot.AttachThingPrincipal",
        lambda params, **_: asked.append(params),
    )
    enroll(account, tmp_path, enroll_request(fleet))
    assert [params["thingPrincipalType"] for params in asked] == ["EXCLUSIVE_THING"]


def test_an_added_devices_nucleus_finds_the_account(
    site: Any, provider: Provider, fleet: Any
) -> None:
    files = provider.enroll(enroll_request(fleet)).files
    document = yaml.safe_load(files["config.yaml"])
    settings = document["services"]["aws.greengrass.Nucleus"]["configuration"]
    assert settings["iotDataEndpoint"] == site.cloud.endpoints["iot:Data-ATS"]
    assert settings["iotRoleAlias"] == "GreengrassCoreTokenExchangeRoleAlias"


def test_many_labels_take_a_thing_type(site: Any, provider: Provider, fleet: Any) -> None:
    labels = {"rack": "7", "city": "baltimore", "gate": "north", "lane": "2"}
    request = enroll_request(fleet, labels=labels)
    provider.enroll(request)
    found = {d.id: d for d in provider.inventory(api.InventoryRequest(target=fleet.target))}
    assert found[request.name].labels == labels
    assert found[request.name].hardware == "x86-64-cpu"


def test_the_policy_is_brought_up_to_date(site: Any, provider: Provider, fleet: Any) -> None:
    provider.enroll(enroll_request(fleet))
    iot = site.client("iot")
    stale = '{"Version":"2012-10-17","Statement":[]}'
    for _ in range(2):
        iot.create_policy_version(
            policyName="edgectl-core-device", policyDocument=stale, setAsDefault=True
        )
    provider.enroll(enroll_request(fleet, name=f"other-{fleet.group}"))
    assert "iot:Connect" in iot.get_policy(policyName="edgectl-core-device")["policyDocument"]


def test_without_a_role_alias_a_device_cannot_be_added_but_one_is_made_from_a_role(
    site: Any, open_plugin: Callable[..., Provider], fleet: Any, unique: str
) -> None:
    with pytest.raises(api.NotFoundError, match="no role alias"):
        open_plugin(token_exchange_role_alias=unique).enroll(enroll_request(fleet))
    role = site.roles["device"]
    provider = open_plugin(token_exchange_role_alias=unique, token_exchange_role=role)
    assert provider.enroll(enroll_request(fleet)).files


def test_a_removed_device_is_let_in_no_more(site: Any, provider: Provider, fleet: Any) -> None:
    request = enroll_request(fleet)
    pem = provider.enroll(request).files["device.pem.crt"].encode()
    assert provider.retire(api.RetireRequest(target=fleet.target, device=request.name)).removed
    principal = site.cloud.things.authenticate(pem)
    assert principal is None or not principal.active


def test_a_thing_that_edgectl_did_not_add_is_not_removed(provider: Provider, fleet: Any) -> None:
    (core,) = fleet.add("a", start=False)
    with pytest.raises(api.PlanError, match="was not added by edgectl"):
        provider.retire(api.RetireRequest(target=fleet.target, device=core.thing))

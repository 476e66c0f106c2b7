"""The registry: certificates that work, policies that hold, pages, hierarchies, queries."""

from __future__ import annotations

import json
import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edgectl_aws_greengrass.emulator.account import RunningAccount
from edgectl_aws_greengrass.emulator.ports import Cloud, CloudError

Clients = Callable[..., Any]
THING = "${iot:Connection.Thing.ThingName}"


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action: str, resource: str) -> dict[str, str]:
    return {"Effect": "Allow", "Action": action, "Resource": resource}


@pytest.fixture
def device(clients: Clients) -> Callable[..., tuple[str, str]]:
    """Make a thing with a certificate and a policy; return the certificate and its ARN."""

    def make(thing: str, *statements: dict[str, Any]) -> tuple[str, str]:
        iot = clients("iot")
        iot.create_thing(thingName=thing)
        made = iot.create_certificate_from_csr(
            certificateSigningRequest=_request().decode(), setAsActive=True
        )
        iot.attach_thing_principal(thingName=thing, principal=made["certificateArn"])
        iot.create_policy(policyName=f"of-{thing}", policyDocument=policy(*statements))
        iot.attach_policy(policyName=f"of-{thing}", target=made["certificateArn"])
        return made["certificatePem"], made["certificateArn"]

    return make


def _request() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "device")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


def test_the_account_is_what_its_devices_were_promised(account: RunningAccount) -> None:
    promised: Cloud = account.cloud
    assert promised.arn("iot", "thing/a").startswith("arn:aws:iot:us-east-1:")


def test_a_certificate_is_known_by_its_content_until_it_is_revoked(
    clients: Clients, device: Callable[..., Any]
) -> None:
    pem, arn = device("known-1", allow("iot:Connect", "*"))
    things = clients.cloud.things  # type: ignore[attr-defined]
    again = ssl.DER_cert_to_PEM_cert(ssl.PEM_cert_to_DER_cert(pem))
    found = things.authenticate(again.encode())
    assert (found.arn, found.active, tuple(found.things)) == (arn, True, ("known-1",))
    assert things.allows(found, "iot:Connect", "arn", "known-1")
    clients("iot").update_certificate(certificateId=found.certificate_id, newStatus="REVOKED")
    revoked = things.authenticate(pem.encode())
    assert not revoked.active
    assert not things.allows(revoked, "iot:Connect", "arn", "known-1")


def test_a_certificate_of_somebody_else_is_nobodys(account: RunningAccount, tmp_path: Path) -> None:
    del tmp_path
    stranger = account.cloud.authority.sign(ec.generate_private_key(ec.SECP256R1()).public_key())
    assert account.cloud.things.authenticate(stranger.encode()) is None


def test_keys_and_certificate_made_by_the_cloud_belong_together(clients: Clients) -> None:
    made = clients("iot").create_keys_and_certificate(setAsActive=True)
    key = serialization.load_pem_private_key(made["keyPair"]["PrivateKey"].encode(), None)
    certificate = x509.load_pem_x509_certificate(made["certificatePem"].encode())
    assert key.public_key() == certificate.public_key()
    assert made["certificateArn"].endswith(made["certificateId"])


def test_thing_variables_hold_for_the_attached_thing_only(
    account: RunningAccount, device: Callable[..., Any]
) -> None:
    arn = account.cloud.arn
    pem, _ = device("mine-1", allow("iot:Publish", arn("iot", f"topic/edge/{THING}/*")))
    things = account.cloud.things
    principal = things.authenticate(pem.encode())
    assert principal is not None
    mine, other = arn("iot", "topic/edge/mine-1/a"), arn("iot", "topic/edge/mine-2/a")
    assert things.allows(principal, "iot:Publish", mine, "mine-1")
    assert not things.allows(principal, "iot:Publish", other, "mine-1")
    assert not things.allows(principal, "iot:Publish", other, "mine-2")
    assert not things.allows(principal, "iot:Subscribe", mine, "mine-1")


def test_a_policy_of_the_things_group_counts(
    account: RunningAccount, clients: Clients, device: Callable[..., Any]
) -> None:
    pem, _ = device("member-1", allow("iot:Connect", "none"))
    iot = clients("iot")
    group = iot.create_thing_group(thingGroupName="with-policy")["thingGroupArn"]
    iot.add_thing_to_thing_group(thingGroupName="with-policy", thingName="member-1")
    iot.create_policy(policyName="of-group", policyDocument=policy(allow("iot:Connect", "*")))
    principal = account.cloud.things.authenticate(pem.encode())
    assert principal is not None
    assert not account.cloud.things.allows(principal, "iot:Connect", "arn", "member-1")
    iot.attach_policy(policyName="of-group", target=group)
    assert account.cloud.things.allows(principal, "iot:Connect", "arn", "member-1")


def test_a_role_alias_needs_policy_trust_and_gives_keys_that_work(
    account: RunningAccount, clients: Clients, device: Callable[..., Any]
) -> None:
    iam, iot = clients("iam"), clients("iot")
    role = iam.create_role(RoleName="device-role", AssumeRolePolicyDocument=_trust("ec2"))["Role"]
    iam.put_role_policy(
        RoleName="device-role", PolicyName="p", PolicyDocument=policy(allow("s3:*", "*"))
    )
    alias = iot.create_role_alias(roleAlias="alias", roleArn=role["Arn"])["roleAliasArn"]
    pem, _ = device("alias-1", allow("iot:AssumeRoleWithCertificate", alias))
    bare, _ = device("alias-2", allow("iot:Connect", "*"))
    cloud = account.cloud
    principal, other = (cloud.things.authenticate(text.encode()) for text in (pem, bare))
    assert principal is not None
    assert other is not None
    with pytest.raises(CloudError, match="Denied"):
        cloud.credentials("alias", principal, "alias-1")
    iam.update_assume_role_policy(RoleName="device-role", PolicyDocument=_trust("credentials.iot"))
    with pytest.raises(CloudError, match="Denied"):
        cloud.credentials("alias", other, "alias-2")
    with pytest.raises(CloudError, match="no role alias"):
        cloud.credentials("unknown", principal, "alias-1")
    found = cloud.credentials("alias", principal, "alias-1")
    s3 = clients(
        "s3",
        aws_access_key_id=found.access_key_id,
        aws_secret_access_key=found.secret_access_key,
        aws_session_token=found.session_token,
    )
    assert s3.list_buckets()["Buckets"] == []


def _trust(service: str) -> str:
    statement = {
        "Effect": "Allow",
        "Action": "sts:AssumeRole",
        "Principal": {"Service": f"{service}.amazonaws.com"},
    }
    return policy(statement)


def test_members_are_listed_in_pages_with_child_groups_when_asked(clients: Clients) -> None:
    iot = clients("iot")
    iot.create_thing_group(thingGroupName="above")
    iot.create_thing_group(thingGroupName="below", parentGroupName="above")
    for group, count in (("above", 3), ("below", 2)):
        for number in range(count):
            iot.create_thing(thingName=f"{group}-{number}")
            iot.add_thing_to_thing_group(thingGroupName=group, thingName=f"{group}-{number}")
    paginator = iot.get_paginator("list_things_in_thing_group")

    def listed(**more: Any) -> list[str]:
        pages = paginator.paginate(thingGroupName="above", PaginationConfig={"PageSize": 2}, **more)
        return [thing for page in pages for thing in page["things"]]

    own = [f"above-{number}" for number in range(3)]
    assert listed() == own
    assert listed(recursive=True) == [*own, "below-0", "below-1"]
    with pytest.raises(ClientError, match="ResourceNotFound"):
        iot.list_things_in_thing_group(thingGroupName="nowhere")
    groups = clients.cloud.things.groups("below-0")  # type: ignore[attr-defined]
    assert [name for name, _ in groups] == ["above", "below"]


def test_a_listing_without_a_size_gives_a_first_page_only(clients: Clients) -> None:
    iot = clients("iot")
    iot.create_thing_group(thingGroupName="many")
    for number in range(26):
        iot.create_thing(thingName=f"many-{number}")
        iot.add_thing_to_thing_group(thingGroupName="many", thingName=f"many-{number}")
    answer = iot.list_things_in_thing_group(thingGroupName="many")
    assert (len(answer["things"]), bool(answer.get("nextToken"))) == (25, True)
    with pytest.raises(ClientError, match="token"):
        iot.list_things_in_thing_group(thingGroupName="many", nextToken="bogus!")


def test_a_thing_is_in_ten_groups_at_most_and_in_one_of_a_hierarchy(clients: Clients) -> None:
    iot = clients("iot")
    iot.create_thing(thingName="joiner")
    iot.create_thing_group(thingGroupName="top")
    iot.create_thing_group(thingGroupName="bottom", parentGroupName="top")
    iot.add_thing_to_thing_group(thingGroupName="top", thingName="joiner")
    with pytest.raises(ClientError, match="same hierarchy"):
        iot.add_thing_to_thing_group(thingGroupName="bottom", thingName="joiner")
    for number in range(9):
        iot.create_thing_group(thingGroupName=f"g{number}")
        iot.add_thing_to_thing_group(thingGroupName=f"g{number}", thingName="joiner")
    iot.create_thing_group(thingGroupName="eleventh")
    with pytest.raises(ClientError, match="10 thing groups"):
        iot.add_thing_to_thing_group(thingGroupName="eleventh", thingName="joiner")
    iot.add_thing_to_thing_group(thingGroupName="g0", thingName="joiner")


def test_a_thing_without_a_type_has_three_attributes_at_most(clients: Clients) -> None:
    iot = clients("iot")
    three = {"attributes": {"a": "1", "b": "2", "c": "3"}}
    iot.create_thing(thingName="plain", attributePayload=three)
    with pytest.raises(ClientError, match="3 are allowed"):
        iot.update_thing(
            thingName="plain", attributePayload={"attributes": {"d": "4"}, "merge": True}
        )
    iot.create_thing_type(thingTypeName="typed")
    four = {"attributes": {**three["attributes"], "d": "4"}}
    iot.create_thing(thingName="typed-1", thingTypeName="typed", attributePayload=four)


def test_searching_and_dynamic_groups_need_the_index(clients: Clients) -> None:
    iot = clients("iot")
    for city in ("dc", "md"):
        iot.create_thing(thingName=f"car-{city}", attributePayload={"attributes": {"city": city}})
    with pytest.raises(ClientError, match="IndexNotReady"):
        iot.search_index(queryString="attributes.city:dc")
    iot.update_indexing_configuration(thingIndexingConfiguration={"thingIndexingMode": "REGISTRY"})
    found = iot.search_index(queryString="attributes.city:dc")["things"]
    assert [thing["thingName"] for thing in found] == ["car-dc"]
    with pytest.raises(ClientError, match="InvalidQuery"):
        iot.search_index(queryString="shadow.reported.a:1")
    arn = iot.create_dynamic_thing_group(thingGroupName="in-md", queryString="attributes.city:md")[
        "thingGroupArn"
    ]
    greengrass = clients("greengrassv2")
    made = greengrass.create_deployment(targetArn=arn)
    assert _things(iot, made) == ["car-md"]
    iot.update_thing(
        thingName="car-dc", attributePayload={"attributes": {"city": "md"}, "merge": True}
    )
    assert _things(iot, made) == ["car-dc", "car-md"]


def _things(iot: Any, made: dict[str, Any]) -> list[str]:
    listed = iot.list_job_executions_for_job(jobId=made["iotJobId"])["executionSummaries"]
    return [entry["thingArn"].rpartition("/")[2] for entry in listed]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ('{"Version": "2012-10-17"}', "no statement"),
        (policy(allow("iot:Connect", "*")).replace("2012-10-17", "2008-10-17"), "version"),
        (policy(allow("iot:Connect", "x" * 2_000)), "2048 may be"),
    ],
)
def test_a_policy_that_iot_would_not_take_is_refused(
    clients: Clients, text: str, said: str
) -> None:
    with pytest.raises(ClientError) as caught:
        clients("iot").create_policy(policyName="wrong", policyDocument=text)
    error = caught.value.response["Error"]
    assert (error["Code"], said in error["Message"]) == ("MalformedPolicyException", True)


def test_the_endpoints_are_the_emulators(account: RunningAccount, clients: Clients) -> None:
    iot = clients("iot")
    found = iot.describe_endpoint(endpointType="iot:CredentialProvider")["endpointAddress"]
    assert found == f"localhost:{account.data.port}"
    assert iot.describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"] == "localhost"
    with pytest.raises(ClientError, match="InvalidRequest"):
        iot.describe_endpoint(endpointType="iot:Other")


def test_a_thousand_things_share_a_certificate_and_cost_no_more_than_ten(
    account: RunningAccount, clients: Clients
) -> None:
    things = account.cloud.things
    clients("iot").create_thing_group(thingGroupName="crowd")
    made = clients("iot").create_keys_and_certificate(setAsActive=True)
    pem, arn = made["certificatePem"].encode(), made["certificateArn"]

    def steps(names: list[str]) -> int:
        things.add(names, "crowd", arn, {"hardware": "x86-64-cpu"})
        counted = 0

        def count(frame: FrameType, event: str, argument: object) -> None:
            nonlocal counted
            counted += event == "call" and "edgectl" in frame.f_code.co_filename

        sys.setprofile(count)
        try:
            principal = things.authenticate(pem)
            assert principal is not None
            found = names[-1] in principal.things
        finally:
            sys.setprofile(None)
        assert found
        assert principal.thing == names[0]
        assert len(principal.things) == len(names)
        return counted

    few = steps([f"one-{number}" for number in range(10)])
    many = steps([f"one-{number}" for number in range(1_000)])
    assert many == few
    assert len(things.things_of(things.group_arn("crowd"))) == 1_000

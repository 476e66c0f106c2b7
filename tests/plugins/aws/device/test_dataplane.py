"""The routes of 8443 and the credentials endpoint, with a client certificate or without."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from aws_cloud import FakeCloud, component_arn
from aws_pki import Authority
from werkzeug.test import Client, TestResponse

from edgectl_aws_greengrass.emulator.dataplane.app import DataPlane, serves


class Core:
    """A core device that asks with its certificate."""

    def __init__(self, cloud: FakeCloud, pem: str) -> None:
        self._client = Client(DataPlane(cloud))
        self.pem = pem

    def ask(self, method: str, path: str, **more: Any) -> TestResponse:
        environ = {"SSL_CLIENT_CERT": self.pem} if self.pem else {}
        return self._client.open(path, method=method, environ_overrides=environ, **more)


@pytest.fixture
def core(cloud: FakeCloud, authority: Authority) -> Core:
    pem = authority.issue("core-1")[0].read_bytes()
    cloud.things.add(pem, "core-1")
    return Core(cloud, pem.decode())


RESOLVE = "/greengrass/v2/resolveComponentCandidates"
GROUPS = "/greengrass/v2/coreDevices/core-1/thingGroups"


def _wanted(name: str, requirement: str) -> dict[str, Any]:
    return {
        "componentCandidates": [
            {"componentName": name, "versionRequirements": {"requirements": requirement}}
        ],
        "platform": {
            "name": "linux",
            "attributes": {
                "runtime": "aws_nucleus_lite",
                "os": "linux",
                "architecture": "aarch64",
            },
        },
    }


def test_groups_of_a_core_device(core: Core, cloud: FakeCloud) -> None:
    cloud.things.memberships["core-1"] = ["parking"]
    assert core.ask("GET", GROUPS).get_json() == {
        "thingGroups": [
            {
                "thingGroupName": "parking",
                "thingGroupArn": "arn:aws:iot:eu-west-1:123456789012:thinggroup/parking",
            }
        ]
    }


def test_candidates_are_resolved_to_recipes_in_base64(core: Core, cloud: FakeCloud) -> None:
    cloud.greengrass.recipes["com.example.Hello", "1.2.0"] = b'{"ComponentName": "x"}'
    answer = core.ask("POST", RESOLVE, json=_wanted("com.example.Hello", ">=1.0.0 <2.0.0"))
    assert answer.get_json() == {
        "resolvedComponentVersions": [
            {
                "arn": component_arn("com.example.Hello", "1.2.0"),
                "componentName": "com.example.Hello",
                "componentVersion": "1.2.0",
                "recipe": base64.b64encode(b'{"ComponentName": "x"}').decode(),
            }
        ]
    }
    assert cloud.greengrass.asked[0][0].requirements == {"requirements": ">=1.0.0 <2.0.0"}


def test_what_cannot_be_resolved_is_a_404_of_the_service(core: Core) -> None:
    answer = core.ask("POST", RESOLVE, json=_wanted("com.example.None", "1.0.0"))
    assert answer.status_code == 404
    assert answer.headers["x-amzn-ErrorType"] == "ResourceNotFoundException"
    assert "com.example.None" in answer.get_json()["message"]


@pytest.mark.parametrize("body", [b"", b"[]", b'{"componentCandidates": [{}]}', b"{"])
def test_a_request_that_cannot_be_read_is_a_validation_exception(core: Core, body: bytes) -> None:
    answer = core.ask("POST", RESOLVE, data=body)
    assert answer.status_code == 400
    assert answer.headers["x-amzn-ErrorType"] == "ValidationException"


def test_credentials_of_the_role_alias(core: Core, cloud: FakeCloud) -> None:
    headers = {"x-amzn-iot-thingname": "core-1"}
    answer = core.ask("GET", "/role-aliases/TokenExchange/credentials", headers=headers)
    assert answer.get_json() == {
        "credentials": {
            "accessKeyId": "ASIATEST",
            "secretAccessKey": "secret",
            "sessionToken": "token",
            "expiration": "2099-01-01T00:00:00Z",
        }
    }
    assert cloud.assumed == [("TokenExchange", "core-1")]


def test_an_unknown_role_alias_is_a_404(core: Core) -> None:
    assert core.ask("GET", "/role-aliases/None/credentials").status_code == 404


def test_credentials_for_another_thing_are_refused(core: Core) -> None:
    headers = {"x-amzn-iot-thingname": "core-2"}
    answer = core.ask("GET", "/role-aliases/TokenExchange/credentials", headers=headers)
    assert answer.status_code == 403


def test_without_a_known_certificate_everything_is_refused(core: Core) -> None:
    core.pem = ""
    assert core.ask("GET", GROUPS).status_code == 403
    assert core.ask("GET", "/role-aliases/TokenExchange/credentials").status_code == 403


def test_another_things_groups_are_refused(core: Core) -> None:
    assert core.ask("GET", "/greengrass/v2/coreDevices/core-2/thingGroups").status_code == 403


def test_the_device_policy_decides(core: Core, cloud: FakeCloud) -> None:
    cloud.things.denied.append(("greengrass:ListThingGroupsForCoreDevice", "*"))
    answer = core.ask("GET", GROUPS)
    assert answer.status_code == 403
    assert answer.headers["x-amzn-ErrorType"] == "AccessDeniedException"
    assert "greengrass:ListThingGroupsForCoreDevice" in answer.get_json()["message"]


def test_a_long_deployment_document_is_fetched_by_its_address(core: Core, cloud: FakeCloud) -> None:
    document = json.dumps({"deploymentId": "d-1", "components": {}}).encode()
    cloud.greengrass.configurations["d-1"] = document
    answer = core.ask("GET", "/greengrass/v2/coreDevices/core-1/deployments/d-1").get_json()
    digest = base64.b64encode(hashlib.sha256(document).digest()).decode()
    assert answer["integrityCheck"] == {"algorithm": "SHA-256", "digest": digest}
    path = urlsplit(answer["preSignedUrl"]).path
    core.pem = ""  # the address alone is enough
    assert core.ask("GET", path).data == document
    assert core.ask("GET", path.replace("d-1", "d-2")).status_code == 403


def test_a_message_is_published_over_https(core: Core, cloud: FakeCloud) -> None:
    assert core.ask("POST", "/topics/site/a?qos=1", data=b"1").status_code == 200
    assert cloud.published == [("site/a", b"1", "core-1")]
    cloud.things.denied.append(("iot:Publish", "topic/secret"))
    assert core.ask("POST", "/topics/secret", data=b"1").status_code == 403


def test_a_named_shadow_over_https(core: Core, cloud: FakeCloud) -> None:
    path = "/things/core-1/shadow?name=edgectl"
    assert core.ask("GET", path).status_code == 404
    assert core.ask("POST", path, json={"state": {"reported": {"a": 1}}}).status_code == 200
    assert core.ask("GET", path).get_json()["state"] == {"reported": {"a": 1}}
    assert core.ask("DELETE", path).status_code == 200


def test_a_path_is_the_devices_or_is_not() -> None:
    assert serves(GROUPS)
    assert serves("/role-aliases/x/credentials")
    assert not serves("/bucket/key")

"""Every answer against the OpenAPI documents of Eclipse hawkBit, and every path of theirs.

A scenario calls the management and the device side; each answer must have a status that the
document knows and a body that its schema takes.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

SPECS = Path(__file__).parents[3].parent / "shared" / "specs" / "hawkbit"
PATTERN_IN_WORDS = ("pattern", "HH:MM:SS")
pytestmark = pytest.mark.skipif(
    not SPECS.is_dir(), reason="needs the OpenAPI documents of hawkBit beside the repository"
)


class Document:
    """One OpenAPI document."""

    def __init__(self, name: str) -> None:
        self.spec = json.loads((SPECS / name).read_text())
        self.components = loosened(self.spec["components"])
        self.paths = [
            (re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path) + "$"), path, verbs)
            for path, verbs in self.spec["paths"].items()
        ]
        self.paths.sort(key=lambda entry: (entry[1].count("{"), -len(entry[1])))
        self.called: set[tuple[str, str]] = set()

    def operation(self, method: str, path: str) -> tuple[str, Any]:
        """Return the operation that a request is."""
        for pattern, template, verbs in self.paths:
            if pattern.match(path) and method.lower() in verbs:
                return template, verbs[method.lower()]
        raise AssertionError(f"hawkBit has no {method} {path}")

    def check(self, response: httpx.Response) -> None:
        """Compare an answer with its operation."""
        request = response.request
        template, operation = self.operation(request.method, request.url.path)
        self.called.add((request.method, template))
        where = f"{request.method} {template} -> {response.status_code}: {response.text[:300]}"
        described = operation["responses"].get(str(response.status_code))
        # hawkBit answers 204 where nothing is assigned; its document leaves that out.
        assert described is not None or response.status_code == 204, where
        content = (described or {}).get("content", {})
        schema = next((c["schema"] for c in content.values() if "schema" in c), None)
        json_type = "json" in response.headers.get("content-type", "")
        if schema is None or not json_type or "download" in template:
            return
        if described and response.status_code < 400:
            whole = {**loosened(schema), "components": self.components}
            jsonschema.Draft202012Validator(whole).validate(response.json())


def loosened(schema: Any) -> Any:
    """Return a schema where a bare ``object`` is anything, for the documents mean Java's Object."""
    if isinstance(schema, list):
        return [loosened(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if (
        schema.get("type") == "object"
        and not {"properties", "additionalProperties"} & schema.keys()
    ):
        return {}
    # The interval's pattern is the text HH:MM:SS itself, which no interval matches.
    return {
        key: loosened(value) for key, value in schema.items() if (key, value) != PATTERN_IN_WORDS
    }


@pytest.fixture(scope="module")
def mgmt() -> Document:
    return Document("hawkbit-mgmt-openapi.json")


@pytest.fixture(scope="module")
def ddi() -> Document:
    return Document("hawkbit-ddi-openapi.json")


@pytest.fixture
def checked(start_hub: Any, mgmt: Document, ddi: Document) -> Any:
    hub = start_hub(gateway_token=True)

    def check(response: httpx.Response) -> None:
        response.read()
        path = response.request.url.path
        if path.startswith("/rest/") and not path.endswith("/stop"):
            mgmt.check(response)
        elif path.startswith("/DEFAULT/"):
            ddi.check(response)

    original = hub.http

    def http(**options: Any) -> httpx.Client:
        client: httpx.Client = original(**options)
        client.event_hooks = {"request": [], "response": [check]}
        return client

    hub.http = http
    hub.client = http(auth=("admin", hub.password))
    return hub


def operate_types(hub: Any) -> None:
    """Call everything of the three kinds of types."""
    kind = hub.ok("POST", "/softwaremoduletypes", 201, json=[{"key": "k", "name": "K"}])[0]["id"]
    sets = hub.ok("POST", "/distributionsettypes", 201, json=[{"key": "k", "name": "K"}])[0]["id"]
    target = hub.ok("POST", "/targettypes", 201, json=[{"key": "k", "name": "K"}])[0]["id"]
    for path, id_ in (
        ("softwaremoduletypes", kind),
        ("distributionsettypes", sets),
        ("targettypes", target),
    ):
        hub.ok("GET", f"/{path}?sort=name:ASC&q=key==k")
        hub.ok("GET", f"/{path}/{id_}")
        hub.ok("PUT", f"/{path}/{id_}", json={"name": "K2", "description": "d"})
        hub.refuse("GET", f"/{path}/99999", 404)
    for word in ("mandatorymoduletypes", "optionalmoduletypes"):
        path = f"/distributionsettypes/{sets}/{word}"
        hub.ok("POST", path, json={"id": kind})
        hub.ok("GET", path)
        hub.ok("GET", f"{path}/{kind}")
        hub.ok("DELETE", f"{path}/{kind}")
    path = f"/targettypes/{target}/compatibledistributionsettypes"
    hub.ok("POST", path, json=[{"id": sets}])
    hub.ok("GET", path)
    hub.ok("DELETE", f"{path}/{sets}")
    hub.target("typed")
    hub.ok("POST", "/targets/typed/targettype", json={"id": target})
    hub.ok("GET", "/targets/typed")
    hub.ok("DELETE", "/targets/typed/targettype")
    hub.ok("DELETE", f"/softwaremoduletypes/{kind}")
    hub.ok("DELETE", f"/distributionsettypes/{sets}")
    hub.ok("DELETE", f"/targettypes/{target}")


def operate_metadata(hub: Any, one: str) -> None:
    """Call everything of an entity's metadata."""
    path = one + "/metadata"
    hub.ok("POST", path, 201, json=[{"key": "k", "value": "v"}])
    hub.ok("GET", path)
    hub.ok("GET", path + "/k")
    hub.ok("PUT", path + "/k", json={"value": "w"})
    hub.ok("DELETE", path + "/k")


def operate_tags(hub: Any, path: str, owner: str, body: list[Any]) -> None:
    """Call everything of a kind of tags."""
    tag = hub.ok("POST", path, 201, json=[{"name": "t", "colour": "red"}])[0]["id"]
    one = f"{path}/{tag}"
    hub.ok("GET", path)
    hub.ok("GET", one)
    hub.ok("PUT", one, json={"name": "t2"})
    hub.ok("PUT", one + "/assigned", json=body)
    if path == "/distributionsettags":
        hub.ok("POST", one + "/assigned", json=body)
    hub.ok("POST", f"{one}/assigned/{owner}")
    hub.ok("GET", one + "/assigned")
    hub.ok("DELETE", f"{one}/assigned/{owner}")
    hub.ok("DELETE", one + "/assigned", json=body)
    hub.ok("DELETE", one)


def operate_sets(hub: Any) -> int:
    """Call everything of modules and sets; return a set that can be assigned."""
    ds = int(hub.dset("s", {"f.bin": b"12345"}))
    module = hub.ok("GET", f"/distributionsets/{ds}/assignedSM")["content"][0]["id"]
    spare = hub.module("spare", {"g": b"1"})
    file = hub.ok("GET", f"/softwaremodules/{spare}/artifacts")[0]["id"]
    hub.ok("GET", "/softwaremodules?q=type==application")
    hub.ok("GET", f"/softwaremodules/{module}")
    hub.ok("PUT", f"/softwaremodules/{module}", json={"vendor": "v", "description": "d"})
    hub.ok("GET", f"/softwaremodules/{spare}/artifacts/{file}")
    download = f"/rest/v1/softwaremodules/{spare}/artifacts/{file}/download"
    assert hub.client.get(download).content == b"1"
    operate_metadata(hub, f"/softwaremodules/{module}")
    operate_metadata(hub, f"/distributionsets/{ds}")
    operate_tags(hub, "/distributionsettags", str(ds), [ds])
    hub.ok("GET", "/distributionsets?q=complete==true", 400)
    hub.ok("GET", "/distributionsets?q=type==app")
    hub.ok("GET", f"/distributionsets/{ds}")
    hub.ok("PUT", f"/distributionsets/{ds}", json={"description": "d"})
    hub.ok("POST", f"/distributionsets/{ds}/assignedSM", json=[{"id": spare}])
    hub.ok("DELETE", f"/distributionsets/{ds}/assignedSM/{spare}")
    for part in ("", "/rollouts", "/actions", "/autoassignments"):
        hub.ok("GET", f"/distributionsets/{ds}/statistics{part}")
    hub.ok("DELETE", f"/softwaremodules/{spare}/artifacts/{file}")
    hub.ok("DELETE", f"/softwaremodules/{spare}")
    return ds


def operate_targets(hub: Any, ds: int) -> None:
    """Call everything of targets, assignments, actions and filters."""
    device = hub.device("d")
    hub.ok("GET", "/targets?q=controllerid==d&sort=name:ASC")
    hub.ok("PUT", "/targets/d", json={"name": "n"})
    operate_metadata(hub, "/targets/d")
    operate_tags(hub, "/targettags", "d", ["d"])
    for path in ("", "/tags", "/attributes", "/autoConfirm"):
        hub.ok("GET", f"/targets/d{path}")
    hub.ok("GET", "/targets/d/installedDS", 204)
    action = hub.assign(ds, "d", type="soft")[0]
    hub.ok("POST", "/targets/d/assignedDS", json=[{"id": ds}])
    hub.ok("GET", "/targets/d/assignedDS")
    one = f"/targets/d/actions/{action}"
    hub.ok("PUT", one, json={"forceType": "forced"})
    for path in (one, one + "/status", "/targets/d/actions", "/actions", f"/actions/{action}"):
        hub.ok("GET", path)
    hub.ok("DELETE", one)
    hub.ok("DELETE", one + "?force=true")
    hub.ok("POST", "/targets/d/autoConfirm/activate", json={"initiator": "i", "remark": "r"})
    hub.ok("GET", "/targets/d/autoConfirm")
    hub.ok("POST", "/targets/d/autoConfirm/deactivate")
    for path in ("assignedTargets", "installedTargets", "autoAssignTargetFilters"):
        hub.ok("GET", f"/distributionsets/{ds}/{path}")
    filter_ = {"name": "f", "query": "name==nobody"}
    made = hub.ok("POST", "/targetfilters", 201, json=filter_)["id"]
    hub.ok("GET", "/targetfilters")
    hub.ok("GET", f"/targetfilters/{made}")
    hub.ok("PUT", f"/targetfilters/{made}", json={"query": "name==none"})
    hub.ok("POST", f"/targetfilters/{made}/autoAssignDS", json={"id": ds})
    hub.ok("GET", f"/targetfilters/{made}/autoAssignDS")
    hub.ok("DELETE", f"/targetfilters/{made}/autoAssignDS")
    hub.ok("DELETE", f"/targetfilters/{made}")
    device.poll()
    hub.target("gone")
    hub.ok("DELETE", "/targets/gone")


def operate_rollouts(hub: Any, ds: int, wait: Any) -> None:
    """Call everything of rollouts."""
    hub.ok("PUT", "/system/configs", json={"rollout.approval.enabled": True})
    sent = {"distributionSetId": ds, "targetFilterQuery": "controllerid==d", "amountGroups": 1}

    def new(name: str, status: str) -> str:
        made = hub.ok("POST", "/rollouts", 201, json={**sent, "name": name})
        wait(lambda: hub.ok("GET", f"/rollouts/{made['id']}")["status"] == status)
        return f"/rollouts/{made['id']}"

    hub.ok("POST", new("denied", "waiting_for_approval") + "/deny?remark=no")
    one = new("one", "waiting_for_approval")
    hub.ok("POST", one + "/approve?remark=yes")
    hub.ok("PUT", one, json={"name": "one", "description": "d"})
    hub.ok("DELETE", "/system/configs/rollout.approval.enabled")
    hub.ok("POST", one + "/start")
    hub.ok("POST", one + "/pause")
    hub.ok("POST", one + "/resume")
    hub.refuse("POST", one + "/triggerNextGroup", 400)
    hub.ok("GET", "/rollouts?representation=full")
    group = hub.ok("GET", one + "/deploygroups")["content"][0]["id"]
    hub.ok("GET", f"{one}/deploygroups/{group}")
    hub.ok("GET", f"{one}/deploygroups/{group}/targets")
    action = hub.ok("GET", "/targets/d/actions?sort=id:DESC")["content"][0]["id"]
    token = hub.ok("GET", "/targets/d")["securityToken"]
    status = {"execution": "closed", "result": {"finished": "failure"}}
    hub.http(headers={"Authorization": f"TargetToken {token}"}).post(
        f"/DEFAULT/controller/v1/d/deploymentBase/{action}/feedback", json={"status": status}
    ).raise_for_status()
    wait(lambda: hub.ok("GET", one)["status"] == "paused")
    hub.ok("POST", one + "/resume")
    wait(lambda: hub.ok("GET", one)["status"] == "finished")
    hub.ok("POST", one + "/retry", 201)
    two = new("two", "ready")
    hub.ok("DELETE", two)


def operate_system(hub: Any, ds: int) -> None:
    """Call the settings, the confirmation for a device, and the end of a set."""
    hub.ok("GET", "/system/configs")
    key = "/system/configs/user.confirmation.flow.enabled"
    hub.ok("PUT", key, json={"value": True})
    hub.ok("GET", key)
    hub.ok("GET", "/userinfo")
    hub.target("c")
    action = hub.assign(ds, "c")[0]
    path = f"/targets/c/actions/{action}/confirmation"
    hub.ok("PUT", path, json={"confirmation": "confirmed"})
    sent = {"actionCancelationType": "force", "cancelRollouts": True}
    hub.ok("POST", f"/distributionsets/{ds}/invalidate", json=sent)
    hub.ok("DELETE", f"/distributionsets/{ds}")


def drive_device(hub: Any) -> None:
    """Call everything of the device side."""
    device = hub.device("ddi")
    ds = hub.dset("ddi", {"f": b"123"})
    device.attributes({"a": "1"})
    device.call("GET", "/confirmationBase")
    action = hub.assign(ds, "ddi")[0]
    waiting = f"/confirmationBase/{action}"
    device.call("GET", device.links()["confirmationBase"])
    device.call("POST", waiting + "/feedback", json={"confirmation": "denied"})
    device.call("POST", "/confirmationBase/activateAutoConfirm", json={})
    device.call("GET", "/confirmationBase")
    device.call("POST", "/confirmationBase/deactivateAutoConfirm")
    shown = device.deployment()
    device.call("GET", f"/deploymentBase/{action}?actionHistory=-1")
    href = shown["deployment"]["chunks"][0]["artifacts"][0]["_links"]["download-http"]["href"]
    device.call("GET", href)
    device.call("GET", href + ".MD5SUM")
    device.call("GET", href.rsplit("/", 1)[0])
    device.call("GET", href + "none", 404)
    device.say(action, "proceeding")
    device.say(action, "closed", "success")
    device.say(action, "closed", "success", expect=410)
    device.call("GET", device.links()["installedBase"])
    other = hub.assign(hub.dset("ddi", version="2"), "ddi", confirmationRequired=False)[0]
    hub.ok("DELETE", f"/targets/ddi/actions/{other}")
    device.call("GET", f"/cancelAction/{other}")
    device.say(other, "closed", "success", to="cancelAction")
    device.call("PUT", "/installedBase", json={"name": "ddi", "version": "2"})


def test_every_documented_operation_answers_as_documented(
    checked: Any, mgmt: Document, ddi: Document, wait: Any
) -> None:
    operate_types(checked)
    ds = operate_sets(checked)
    operate_targets(checked, ds)
    operate_rollouts(checked, ds, wait)
    operate_system(checked, ds)
    drive_device(checked)
    for document in (mgmt, ddi):
        documented = {
            (verb.upper(), path)
            for path, verbs in document.spec["paths"].items()
            for verb in verbs
            if verb in {"get", "put", "post", "delete", "patch"}
        }
        assert documented - document.called == set()

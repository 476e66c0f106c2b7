"""The device side: polls, attributes, deployments, feedback, cancelation, confirmation."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest


def detail(shared: Any, device: Any, action: int) -> str:
    return str(shared.ok("GET", f"/targets/{device.id}/actions/{action}")["detailStatus"])


def test_poll_of_an_idle_device_has_the_interval_and_asks_for_attributes_once(
    shared: Any, name: str
) -> None:
    device = shared.device(name)
    first = device.poll()
    assert first["config"]["polling"]["sleep"] == "00:00:30"
    assert set(first["_links"]) == {"configData"}
    device.attributes({"hw": "x1"})
    assert "_links" not in device.poll()


def test_first_poll_registers_a_target_and_is_seen_by_operators(shared: Any, name: str) -> None:
    device = shared.device(name)
    assert shared.ok("GET", f"/targets/{name}")["updateStatus"] == "unknown"
    device.poll()
    shown = shared.ok("GET", f"/targets/{name}")
    assert shown["updateStatus"] == "registered"
    assert shown["ipAddress"] == "127.0.0.1"
    assert shown["pollStatus"]["overdue"] is False
    assert shown["lastControllerRequestAt"] >= shown["createdAt"]


def test_unchanged_poll_answers_304_to_its_etag(shared: Any, name: str) -> None:
    device = shared.device(name)
    etag = device.call("GET", "").headers["etag"]
    device.call("GET", "", 304, headers={"If-None-Match": etag})
    device.attributes({"a": "b"})
    device.call("GET", "", 200, headers={"If-None-Match": etag})


@pytest.mark.parametrize(
    ("mode", "sent", "expected"),
    [
        ("merge", {"b": "9", "c": "3"}, {"a": "1", "b": "9", "c": "3"}),
        ("replace", {"c": "3"}, {"c": "3"}),
        ("remove", {"a": ""}, {"b": "2"}),
    ],
)
def test_attributes_are_merged_replaced_or_removed(
    shared: Any, name: str, mode: str, sent: dict[str, str], expected: dict[str, str]
) -> None:
    device = shared.device(name)
    device.attributes({"a": "1", "b": "2"})
    device.attributes(sent, mode)
    assert shared.ok("GET", f"/targets/{name}/attributes") == expected


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ({"k" * 129: "v"}, 400),
        ({"k": "v" * 129}, 400),
        ({"": "v"}, 400),
        ({f"k{n}": "v" for n in range(101)}, 429),
    ],
)
def test_attributes_beyond_the_limits_change_nothing(
    shared: Any, name: str, data: dict[str, str], status: int
) -> None:
    device = shared.device(name)
    device.attributes({"keep": "me"})
    device.attributes(data, "replace", expect=status)
    assert shared.ok("GET", f"/targets/{name}/attributes") == {"keep": "me"}


def test_attributes_of_exactly_the_limits_are_taken(shared: Any, name: str) -> None:
    device = shared.device(name)
    device.attributes({f"{n:03}".ljust(128, "k"): "v" * 128 for n in range(100)})
    assert len(shared.ok("GET", f"/targets/{name}/attributes")) == 100


def test_deployment_shows_chunks_artifacts_hashes_and_links(shared: Any, name: str) -> None:
    device = shared.device(name)
    data = b"model" * 100
    ds = shared.dset(name, {"my model.onnx": data})
    module = shared.ok("GET", f"/distributionsets/{ds}")["modules"][0]["id"]
    shared.ok(
        "POST",
        f"/softwaremodules/{module}/metadata",
        201,
        json=[
            {"key": "seen", "value": "1", "targetVisible": True},
            {"key": "hidden", "value": "2"},
        ],
    )
    action = shared.assign(ds, name)[0]
    shown = device.deployment()
    assert shown["id"] == str(action)
    assert (shown["deployment"]["download"], shown["deployment"]["update"]) == ("forced", "forced")
    chunk = shown["deployment"]["chunks"][0]
    assert (chunk["part"], chunk["name"], chunk["version"]) == ("bApp", f"{name}-1", "1")
    assert chunk["metadata"] == [{"key": "seen", "value": "1"}]
    artifact = chunk["artifacts"][0]
    assert artifact["hashes"] == {
        "md5": hashlib.md5(data).hexdigest(),
        "sha1": hashlib.sha1(data).hexdigest(),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    links = artifact["_links"]
    assert set(links) == {"download-http", "md5sum-http"}
    assert device.call("GET", links["download-http"]["href"]).content == data
    md5 = device.call("GET", links["md5sum-http"]["href"]).text
    assert md5 == f"{artifact['hashes']['md5']}  my model.onnx"


def test_reading_a_deployment_is_noted_once(shared: Any, name: str) -> None:
    device = shared.device(name)
    action = shared.assign(shared.dset(name), name)[0]
    device.deployment()
    device.deployment()
    history = shared.ok("GET", f"/targets/{name}/actions/{action}/status")["content"]
    assert [entry["type"] for entry in history] == ["retrieved", "running"]


@pytest.mark.parametrize(
    ("kind", "download", "update"),
    [
        ("forced", "forced", "forced"),
        ("soft", "attempt", "attempt"),
        ("downloadonly", "forced", "skip"),
        ("timeforced", "forced", "forced"),
    ],
)
def test_force_type_decides_how_a_device_handles_it(
    shared: Any, name: str, kind: str, download: str, update: str
) -> None:
    device = shared.device(name)
    shared.assign(shared.dset(name), name, type=kind, forcetime=1)
    shown = device.deployment()["deployment"]
    assert (shown["download"], shown["update"]) == (download, update)


def test_timeforced_is_soft_before_its_time(shared: Any, name: str) -> None:
    device = shared.device(name)
    shared.assign(shared.dset(name), name, type="timeforced", forcetime=1 << 50)
    assert device.deployment()["deployment"]["update"] == "attempt"


def test_forcing_a_soft_action_changes_the_link_and_the_handling(shared: Any, name: str) -> None:
    device = shared.device(name)
    action = shared.assign(shared.dset(name), name, type="soft")[0]
    before = device.links()["deploymentBase"]
    path = f"/targets/{name}/actions/{action}"
    assert shared.ok("PUT", path, json={"forceType": "forced"})["forceType"] == "forced"
    assert device.links()["deploymentBase"] != before
    assert device.deployment()["deployment"]["update"] == "forced"


@pytest.mark.parametrize(
    ("execution", "finished", "word", "is_open"),
    [
        ("proceeding", "none", "running", True),
        ("scheduled", "none", "running", True),
        ("resumed", "none", "running", True),
        ("download", "none", "download", True),
        ("downloaded", "none", "downloaded", True),
        ("rejected", "none", "warning", True),
        ("closed", "success", "finished", False),
        ("closed", "none", "finished", False),
        ("closed", "failure", "error", False),
        ("canceled", "none", "canceled", False),
    ],
)
def test_feedback_becomes_the_actions_status(
    shared: Any, name: str, execution: str, finished: str, word: str, is_open: bool
) -> None:
    device = shared.device(name)
    action = shared.assign(shared.dset(name), name)[0]
    device.say(action, execution, finished, details=["so it goes"], code=42)
    shown = shared.ok("GET", f"/targets/{name}/actions/{action}")
    assert shown["detailStatus"] == word
    assert shown["status"] == ("pending" if is_open else "finished")
    assert shown["lastStatusCode"] == 42
    newest = shared.ok("GET", f"/targets/{name}/actions/{action}/status")["content"][0]
    assert (newest["type"], newest["messages"], newest["code"]) == (word, ["so it goes"], 42)


def test_success_makes_the_set_installed_and_asks_for_attributes_again(
    shared: Any, name: str
) -> None:
    device = shared.device(name)
    device.attributes({"a": "1"})
    ds = shared.dset(name)
    action = shared.assign(ds, name)[0]
    assert shared.ok("GET", f"/targets/{name}")["updateStatus"] == "pending"
    device.say(action, "closed", "success")
    assert shared.ok("GET", f"/targets/{name}")["updateStatus"] == "in_sync"
    assert shared.ok("GET", f"/targets/{name}/installedDS")["id"] == ds
    links = device.links()
    assert set(links) == {"installedBase", "configData"}
    assert device.call("GET", links["installedBase"]).json()["id"] == str(action)


def test_failure_leaves_the_installed_set_and_frees_the_target(shared: Any, name: str) -> None:
    device = shared.device(name)
    good, bad = shared.dset(name), shared.dset(name, version="2")
    shared.assign(good, name)
    device.install()
    device.say(shared.assign(bad, name)[0], "closed", "failure")
    assert shared.ok("GET", f"/targets/{name}")["updateStatus"] == "error"
    assert shared.ok("GET", f"/targets/{name}/installedDS")["id"] == good
    assert shared.ok("GET", f"/targets/{name}/assignedDS")["id"] == good
    assert len(shared.assign(bad, name)) == 1


def test_download_only_is_done_when_downloaded(shared: Any, name: str) -> None:
    device = shared.device(name)
    action = shared.assign(shared.dset(name), name, type="downloadonly")[0]
    device.say(action, "downloaded")
    assert detail(shared, device, action) == "finished"


def test_progress_is_kept_as_a_message(shared: Any, name: str) -> None:
    device = shared.device(name)
    action = shared.assign(shared.dset(name), name)[0]
    status = {
        "execution": "proceeding",
        "result": {"finished": "none", "progress": {"cnt": 2, "of": 5}},
    }
    device.call("POST", f"/deploymentBase/{action}/feedback", json={"status": status})
    newest = shared.ok("GET", f"/targets/{name}/actions/{action}/status")["content"][0]
    assert newest["messages"] == ["Progress 2 of 5"]


def test_feedback_on_a_closed_action_is_gone(shared: Any, name: str) -> None:
    device = shared.device(name)
    action = shared.assign(shared.dset(name), name)[0]
    device.say(action, "closed", "success")
    device.say(action, "closed", "failure", expect=410)
    assert detail(shared, device, action) == "finished"


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'{"status": {}}',
        b'{"status": {"execution": "dancing", "result": {"finished": "none"}}}',
        b'{"status": {"execution": "closed", "result": {"finished": "maybe"}}}',
        b'{"status": {"execution": "closed", "result": {"finished": "none"}, "code": 99999999999}}',
    ],
)
def test_feedback_that_cannot_be_read_changes_nothing(shared: Any, name: str, body: bytes) -> None:
    device = shared.device(name)
    action = shared.assign(shared.dset(name), name)[0]
    headers = {"Content-Type": "application/json"}
    path = f"/deploymentBase/{action}/feedback"
    device.call("POST", path, 400, content=body, headers=headers)
    assert detail(shared, device, action) == "running"


def test_action_history_is_shown_newest_first_as_far_as_asked(shared: Any, name: str) -> None:
    device = shared.device(name)
    action = shared.assign(shared.dset(name), name)[0]
    for number in range(3):
        device.say(action, "proceeding", details=[f"step {number}"])
    path = f"/deploymentBase/{action}?actionHistory="
    assert "actionHistory" not in device.call("GET", f"/deploymentBase/{action}").json()
    two = device.call("GET", path + "2").json()["actionHistory"]
    assert two == {"status": "RUNNING", "messages": ["step 2", "step 1"]}
    assert len(device.call("GET", path + "-1").json()["actionHistory"]["messages"]) == 4
    assert device.call("GET", path + "0").json()["actionHistory"]["messages"] == []


def test_second_assignment_cancels_the_first_and_follows_it(shared: Any, name: str) -> None:
    device = shared.device(name)
    first = shared.assign(shared.dset(name), name)[0]
    second = shared.assign(shared.dset(name, version="2"), name)[0]
    links = device.links()
    assert "deploymentBase" not in links
    assert device.call("GET", links["cancelAction"]).json() == {
        "id": str(first),
        "cancelAction": {"stopId": str(first)},
    }
    device.say(first, "closed", "success", to="cancelAction")
    assert detail(shared, device, first) == "canceled"
    assert device.deployment()["id"] == str(second)
    assert shared.ok("GET", f"/targets/{name}")["updateStatus"] == "pending"


def test_rejected_cancelation_lets_the_action_run_on(shared: Any, name: str) -> None:
    device = shared.device(name)
    action = shared.assign(shared.dset(name), name)[0]
    shared.ok("DELETE", f"/targets/{name}/actions/{action}")
    device.say(action, "rejected", to="cancelAction")
    assert detail(shared, device, action) == "running"
    assert device.deployment()["id"] == str(action)


def test_cancelation_is_only_for_what_is_being_canceled(shared: Any, name: str) -> None:
    device = shared.device(name)
    action = shared.assign(shared.dset(name), name)[0]
    device.call("GET", f"/cancelAction/{action}", 404)
    device.say(action, "closed", "success", to="cancelAction", expect=404)


def test_progress_while_canceling_does_not_hide_the_cancelation(shared: Any, name: str) -> None:
    device = shared.device(name)
    action = shared.assign(shared.dset(name), name)[0]
    shared.ok("DELETE", f"/targets/{name}/actions/{action}")
    device.say(action, "proceeding")
    assert "cancelAction" in device.links()
    device.say(action, "closed", "success")
    assert detail(shared, device, action) == "finished"


def test_device_sees_only_its_own_actions_and_artifacts(shared: Any, name: str) -> None:
    mine, other = shared.device(name), shared.device(name + "-other")
    ds = shared.dset(name, {"f": b"secret"})
    action = shared.assign(ds, name)[0]
    href = mine.deployment()["deployment"]["chunks"][0]["artifacts"][0]["_links"]
    path = href["download-http"]["href"].split(mine.root)[1]
    for method, target in (
        ("GET", f"/deploymentBase/{action}"),
        ("GET", f"/cancelAction/{action}"),
        ("GET", f"/installedBase/{action}"),
        ("GET", path),
        ("GET", path + ".MD5SUM"),
        ("GET", path.rsplit("/", 1)[0]),
    ):
        other.call(method, target, 404)
    other.say(action, "closed", "success", expect=404)
    mine.call("GET", path)
    assert detail(shared, mine, action) == "retrieved"


def test_artifacts_are_closed_to_a_device_whose_action_was_canceled(shared: Any, name: str) -> None:
    device = shared.device(name)
    action = shared.assign(shared.dset(name, {"f": b"x"}), name)[0]
    module = device.deployment()["deployment"]["chunks"][0]["artifacts"][0]["_links"]
    href = module["download-http"]["href"]
    device.call("GET", href)
    shared.ok("DELETE", f"/targets/{name}/actions/{action}")
    shared.ok("DELETE", f"/targets/{name}/actions/{action}?force=true")
    device.call("GET", href, 404)


def test_installed_base_put_reports_an_offline_installation(shared: Any, name: str) -> None:
    device = shared.device(name)
    ds = shared.dset(name)
    device.call("PUT", "/installedBase", json={"name": name, "version": "1"})
    shown = shared.ok("GET", f"/targets/{name}")
    assert shown["updateStatus"] == "in_sync"
    assert shared.ok("GET", f"/targets/{name}/installedDS")["id"] == ds
    assert "installedBase" in device.links()
    device.call("PUT", "/installedBase", 404, json={"name": name, "version": "no"})


def test_gateway_token_registers_an_unknown_device(shared: Any, new_device: Any, name: str) -> None:
    device = new_device(shared, name, f"GatewayToken {shared.gateway}")
    assert "configData" in device.links()
    shown = shared.ok("GET", f"/targets/{name}")
    assert (shown["updateStatus"], shown["name"]) == ("registered", name)
    assert shown["createdBy"] == "CONTROLLER_PLUG_AND_PLAY"
    assert len(shown["securityToken"]) == 32


@pytest.fixture
def confirming(start_hub: Any) -> Any:
    hub = start_hub()
    key = "/system/configs/user.confirmation.flow.enabled"
    hub.ok("PUT", key, json={"value": True})
    return hub


def test_confirmation_is_asked_given_and_denied(confirming: Any) -> None:
    device = confirming.device("d")
    action = confirming.assign(confirming.dset("s"), "d")[0]
    links = device.links()
    assert "deploymentBase" not in links
    assert "?c=" in links["confirmationBase"]
    waiting = device.call("GET", links["confirmationBase"]).json()
    assert waiting["confirmation"]["chunks"][0]["name"] == "s-1"
    device.call("GET", f"/deploymentBase/{action}", 404)
    feedback = f"/confirmationBase/{action}/feedback"
    device.call("POST", feedback, json={"confirmation": "denied", "details": ["not now"]})
    assert detail(confirming, device, action) == "wait_for_confirmation"
    device.call("POST", feedback, json={"confirmation": "confirmed"})
    assert device.deployment()["id"] == str(action)
    device.call("POST", feedback, 400, json={"confirmation": "confirmed"})
    device.say(action, "closed", "success")
    device.call("POST", feedback, 410, json={"confirmation": "confirmed"})


def test_auto_confirmation_lets_waiting_and_coming_updates_through(confirming: Any) -> None:
    device = confirming.device("d")
    action = confirming.assign(confirming.dset("s"), "d")[0]
    base = device.call("GET", "/confirmationBase").json()
    assert base["autoConfirm"] == {"active": False}
    assert set(base["_links"]) == {"activateAutoConfirm", "confirmationBase"}
    sent = {"initiator": "ann", "remark": "night shift"}
    device.call("POST", "/confirmationBase/activateAutoConfirm", json=sent)
    assert device.deployment()["id"] == str(action)
    state = device.call("GET", "/confirmationBase").json()["autoConfirm"]
    assert (state["active"], state["initiator"], state["remark"]) == (True, "ann", "night shift")
    assert confirming.ok("GET", "/targets/d")["autoConfirmActive"] is True
    device.call("POST", "/confirmationBase/deactivateAutoConfirm")
    assert confirming.ok("GET", "/targets/d/autoConfirm")["active"] is False


def test_operator_confirms_for_a_device(confirming: Any) -> None:
    device = confirming.device("d")
    action = confirming.assign(confirming.dset("s"), "d")[0]
    path = f"/targets/d/actions/{action}/confirmation"
    confirming.ok("PUT", path, json={"confirmation": "confirmed"})
    assert device.deployment()["id"] == str(action)
    other = confirming.dset("s", version="2")
    confirming.ok("POST", "/targets/d/autoConfirm/activate")
    device.say(action, "closed", "success")
    confirming.assign(other, "d")
    assert "deploymentBase" in device.links()
    confirming.ok("POST", "/targets/d/autoConfirm/deactivate")
    confirming.assign(confirming.dset("s", version="3"), "d", confirmationRequired=False)
    device.install()
    assert confirming.ok("GET", "/targets/d")["updateStatus"] == "in_sync"

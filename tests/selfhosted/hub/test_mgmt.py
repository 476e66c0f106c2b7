"""The management side: targets, tags, types, sets, actions, filters, settings, lists, refusals."""

from __future__ import annotations

from typing import Any

import pytest

NOT_FOUND = "hawkbit.server.error.repo.entitiyNotFound"
EXISTS = "hawkbit.server.error.repo.entitiyAlreayExists"
LOCKED = "hawkbit.server.error.entityLocked"


def test_target_is_made_read_changed_and_removed(shared: Any, name: str) -> None:
    made = shared.target(name, description="d", address="http://x", securityToken="t" * 40)
    assert (made["controllerId"], made["securityToken"]) == (name, "t" * 40)
    assert made["_links"]["self"]["href"] == f"{shared.url}/rest/v1/targets/{name}"
    changed = shared.ok("PUT", f"/targets/{name}", json={"name": "new", "requestAttributes": False})
    assert (changed["name"], changed["requestAttributes"]) == ("new", False)
    assert shared.ok("GET", f"/targets/{name}")["description"] == "d"
    shared.ok("DELETE", f"/targets/{name}")
    assert shared.refuse("GET", f"/targets/{name}", 404)["errorCode"] == NOT_FOUND
    shared.refuse("DELETE", f"/targets/{name}", 404)


def test_targets_are_made_all_or_none(shared: Any, name: str) -> None:
    shared.target(name)
    sent = [{"controllerId": c, "name": c} for c in (f"{name}-new", name)]
    assert shared.refuse("POST", "/targets", 409, json=sent)["errorCode"] == EXISTS
    shared.refuse("GET", f"/targets/{name}-new", 404)


def test_changed_token_is_the_only_one_that_works(shared: Any, new_device: Any, name: str) -> None:
    old = shared.device(name)
    old.poll()
    shared.ok("PUT", f"/targets/{name}", json={"securityToken": "n" * 32})
    old.call("GET", "", 401)
    assert new_device(shared, name, "TargetToken " + "n" * 32).poll()


@pytest.mark.parametrize("bad", ["", "a b", "a/b", "a\\b", "a\nb", "x" * 257])
def test_controller_id_must_be_usable(shared: Any, bad: str) -> None:
    shared.refuse("POST", "/targets", 400, json=[{"controllerId": bad, "name": "n"}])


def test_controller_id_with_signs_is_quoted_in_links(shared: Any, name: str) -> None:
    device = shared.device(f"{name}:ä?#%")
    device.root = f"/DEFAULT/controller/v1/{name}%3A%C3%A4%3F%23%25"
    shared.assign(shared.dset(name), f"{name}:ä?#%")
    assert device.call("GET", device.links()["deploymentBase"]).json()["id"]
    device.attributes({"a": "1"})


def test_target_metadata(shared: Any, name: str) -> None:
    shared.target(name)
    path = f"/targets/{name}/metadata"
    made = shared.ok(
        "POST", path, 201, json=[{"key": "b", "value": "2"}, {"key": "a", "value": "1"}]
    )
    assert made == [{"key": "b", "value": "2"}, {"key": "a", "value": "1"}]
    listed = shared.ok("GET", path)
    assert (listed["total"], [m["key"] for m in listed["content"]]) == (2, ["a", "b"])
    assert shared.ok("PUT", f"{path}/a", json={"value": "9"})["value"] == "9"
    assert shared.ok("GET", f"{path}/a") == {"key": "a", "value": "9"}
    shared.refuse("POST", path, 409, json=[{"key": "a", "value": "1"}])
    shared.ok("DELETE", f"{path}/a")
    shared.refuse("GET", f"{path}/a", 404)
    shared.refuse("POST", path, 429, json=[{"key": f"k{n}"} for n in range(101)])
    assert shared.ok("GET", f"/targets?q=metadata.b==2;controllerid=={name}")["total"] == 1


def test_no_assigned_set_is_no_content(shared: Any, name: str) -> None:
    shared.target(name)
    for what in ("assignedDS", "installedDS"):
        shared.ok("GET", f"/targets/{name}/{what}", 204)


def test_tags_are_unique_assigned_listed_and_removed(shared: Any, name: str) -> None:
    for number in range(3):
        shared.target(f"{name}-{number}")
    tag = shared.ok("POST", "/targettags", 201, json=[{"name": name, "colour": "red"}])[0]
    path = f"/targettags/{tag['id']}"
    assert shared.refuse("POST", "/targettags", 409, json=[{"name": name}])["errorCode"] == EXISTS
    shared.ok("PUT", path + "/assigned", json=[f"{name}-0", f"{name}-1"])
    shared.ok("POST", path + f"/assigned/{name}-1")
    assert shared.ok("GET", path + "/assigned")["total"] == 2
    assert [t["name"] for t in shared.ok("GET", f"/targets/{name}-0/tags")] == [name]
    assert shared.ok("GET", f"/targets?q=tag=={name}")["total"] == 2
    assert shared.ok("GET", f"/targets?q=tag!={name};controllerid=={name}-*")["total"] == 1
    shared.ok("DELETE", path + f"/assigned/{name}-0")
    shared.ok("DELETE", path + "/assigned", json=[f"{name}-1"])
    assert shared.ok("GET", path + "/assigned")["total"] == 0
    assert shared.ok("PUT", path, json={"description": "x"})["colour"] == "red"
    shared.ok("DELETE", path)
    shared.refuse("GET", path, 404)


def test_tag_assignment_of_an_unknown_target_follows_the_policy(shared: Any, name: str) -> None:
    shared.target(name)
    tag = shared.ok("POST", "/targettags", 201, json=[{"name": name}])[0]["id"]
    path = f"/targettags/{tag}/assigned"
    both = [name, "missing"]
    shared.refuse("PUT", path, 404, json=both)
    assert shared.ok("GET", path)["total"] == 0
    shared.ok("PUT", path + "?onNotFoundPolicy=ON_WHAT_FOUND_AND_SUCCESS", json=both)
    assert shared.ok("GET", path)["total"] == 1


def test_set_tags(shared: Any, name: str) -> None:
    ds = shared.dset(name)
    tag = shared.ok("POST", "/distributionsettags", 201, json=[{"name": name}])[0]["id"]
    shared.ok("PUT", f"/distributionsettags/{tag}/assigned", json=[ds])
    assert shared.ok("GET", f"/distributionsets?q=tag=={name}")["content"][0]["id"] == ds
    assert shared.ok("GET", f"/distributionsettags/{tag}/assigned")["total"] == 1


def test_default_types_are_those_of_hawkbit(shared: Any) -> None:
    def keys(path: str) -> set[str]:
        return {t["key"] for t in shared.ok("GET", path)["content"]}

    assert keys("/softwaremoduletypes?limit=2") == {"os", "application"}
    assert keys("/distributionsettypes?limit=3") == {"os", "app", "os_app"}
    three = {t["key"]: t["id"] for t in shared.ok("GET", "/distributionsettypes")["content"]}
    path = f"/distributionsettypes/{three['os_app']}"
    assert [t["key"] for t in shared.ok("GET", path + "/mandatorymoduletypes")] == ["os"]
    assert [t["key"] for t in shared.ok("GET", path + "/optionalmoduletypes")] == ["application"]


def test_own_types_decide_what_a_set_holds(shared: Any, name: str) -> None:
    kind = shared.ok(
        "POST", "/softwaremoduletypes", 201, json=[{"key": name, "name": name, "maxAssignments": 1}]
    )[0]
    set_kind = shared.ok(
        "POST",
        "/distributionsettypes",
        201,
        json=[{"key": name, "name": name, "mandatorymodules": [{"id": kind["id"]}]}],
    )[0]
    shared.refuse("POST", "/softwaremoduletypes", 409, json=[{"key": name, "name": "x"}])
    one, two = shared.module(f"{name}a", type_=name), shared.module(f"{name}b", type_=name)
    wrong = shared.module(f"{name}c")
    made = shared.ok(
        "POST", "/distributionsets", 201, json=[{"name": name, "version": "1", "type": name}]
    )[0]
    assert made["complete"] is False
    path = f"/distributionsets/{made['id']}/assignedSM"
    shared.refuse("POST", path, 400, json=[{"id": wrong}])
    shared.refuse("POST", path, 400, json=[{"id": one}, {"id": two}])
    shared.ok("POST", path, json=[{"id": one}])
    assert shared.ok("GET", f"/distributionsets/{made['id']}")["complete"] is True
    held = f"/distributionsettypes/{set_kind['id']}/mandatorymoduletypes"
    shared.refuse("DELETE", f"{held}/{kind['id']}", 403)
    shared.ok("DELETE", f"/distributionsettypes/{set_kind['id']}")
    assert shared.ok("GET", f"/distributionsettypes/{set_kind['id']}")["deleted"] is True


def test_target_type_limits_the_sets_that_are_assigned(shared: Any, name: str) -> None:
    types = {t["key"]: t["id"] for t in shared.ok("GET", "/distributionsettypes")["content"]}
    kind = shared.ok(
        "POST",
        "/targettypes",
        201,
        json=[{"name": name, "compatibledistributionsettypes": [{"id": types["os"]}]}],
    )[0]["id"]
    shared.target(name, targetType=kind)
    assert shared.ok("GET", f"/targets/{name}")["targetTypeName"] == name
    ds = shared.dset(name)
    path = f"/distributionsets/{ds}/assignedTargets"
    shared.refuse("POST", path, 400, json=[{"id": name}])
    shared.refuse("DELETE", f"/targettypes/{kind}", 403)
    compatible = f"/targettypes/{kind}/compatibledistributionsettypes"
    shared.ok("POST", compatible, json=[{"id": types["app"]}])
    assert len(shared.ok("GET", compatible)) == 2
    assert len(shared.assign(ds, name)) == 1
    shared.ok("DELETE", f"/targets/{name}/targettype")
    shared.ok("POST", f"/targets/{name}/targettype", json={"id": kind})


def test_assigned_set_is_locked_with_its_modules(shared: Any, name: str) -> None:
    shared.target(name)
    ds = shared.dset(name, {"f": b"1"})
    module = shared.ok("GET", f"/distributionsets/{ds}/assignedSM")["content"][0]["id"]
    other = shared.module(name + "other")
    shared.assign(ds, name)
    assert shared.ok("GET", f"/distributionsets/{ds}")["locked"] is True
    sets, modules = f"/distributionsets/{ds}", f"/softwaremodules/{module}"
    files = {"file": ("g", b"2")}
    for method, path, options in (
        ("POST", sets + "/assignedSM", {"json": [{"id": other}]}),
        ("DELETE", f"{sets}/assignedSM/{module}", {}),
        ("PUT", sets, {"json": {"version": "2"}}),
        ("POST", modules + "/artifacts", {"files": files}),
        ("DELETE", f"{modules}/artifacts/{shared.ok('GET', modules + '/artifacts')[0]['id']}", {}),
    ):
        assert shared.refuse(method, path, 423, **options)["errorCode"] == LOCKED
    assert shared.ok("PUT", sets, json={"description": "still"})["description"] == "still"


def test_incomplete_or_invalid_set_cannot_be_assigned(shared: Any, name: str) -> None:
    shared.target(name)
    empty = shared.ok(
        "POST", "/distributionsets", 201, json=[{"name": name, "version": "0", "type": "app"}]
    )[0]["id"]
    refusal = shared.refuse(
        "POST", f"/distributionsets/{empty}/assignedTargets", 400, json=[{"id": name}]
    )
    assert refusal["errorCode"] == "hawkbit.server.error.distributionset.incomplete"
    ds = shared.dset(name)
    action = shared.assign(ds, name)[0]
    sent = {"actionCancelationType": "force", "cancelRollouts": True}
    shared.ok("POST", f"/distributionsets/{ds}/invalidate", json=sent)
    assert shared.ok("GET", f"/targets/{name}/actions/{action}")["detailStatus"] == "canceled"
    refusal = shared.refuse(
        "POST", f"/distributionsets/{ds}/assignedTargets", 400, json=[{"id": name}]
    )
    assert refusal["errorCode"] == "hawkbit.server.error.distributionset.invalid"


def test_assignment_counts_new_present_and_missing_targets(shared: Any, name: str) -> None:
    for number in range(2):
        shared.target(f"{name}-{number}")
    ds = shared.dset(name)
    shared.assign(ds, f"{name}-0")
    sent = [{"id": i} for i in (f"{name}-0", f"{name}-1", "missing", f"{name}-1")]
    made = shared.ok("POST", f"/distributionsets/{ds}/assignedTargets", json=sent)
    assert (made["assigned"], made["alreadyAssigned"], made["total"]) == (1, 1, 2)
    assert shared.ok("GET", f"/distributionsets/{ds}/assignedTargets")["total"] == 2
    one = shared.ok("POST", f"/targets/{name}-0/assignedDS", json=[{"id": ds}])
    assert one["alreadyAssigned"] == 1
    shared.refuse("POST", "/targets/missing/assignedDS", 404, json={"id": ds})


def test_offline_assignment_is_installed_at_once(shared: Any, name: str) -> None:
    device = shared.device(name)
    ds = shared.dset(name)
    shared.ok("POST", f"/targets/{name}/assignedDS?offline=true", json={"id": ds})
    assert shared.ok("GET", f"/targets/{name}/installedDS")["id"] == ds
    assert shared.ok("GET", f"/distributionsets/{ds}/installedTargets")["total"] == 1
    assert "deploymentBase" not in device.links()


def test_maintenance_window_is_refused_not_ignored(shared: Any, name: str) -> None:
    shared.target(name)
    window = {"schedule": "0 0 3 * * ?", "duration": "01:00:00", "timezone": "+00:00"}
    path = f"/distributionsets/{shared.dset(name)}/assignedTargets"
    shared.refuse("POST", path, 400, json=[{"id": name, "maintenanceWindow": window}])


def test_cancel_is_soft_first_and_force_only_after(shared: Any, name: str) -> None:
    shared.target(name)
    action = shared.assign(shared.dset(name), name)[0]
    path = f"/targets/{name}/actions/{action}"
    shared.refuse("DELETE", path + "?force=true", 405)
    shared.ok("DELETE", path)
    shown = shared.ok("GET", path)
    assert (shown["type"], shown["detailStatus"], shown["status"]) == (
        "cancel",
        "canceling",
        "pending",
    )
    shared.refuse("DELETE", path, 405)
    shared.ok("DELETE", path + "?force=true")
    assert shared.ok("GET", path)["detailStatus"] == "canceled"
    shared.refuse("DELETE", path + "?force=true", 405)
    assert shared.ok("GET", f"/targets/{name}")["updateStatus"] == "registered"


def test_actions_are_listed_over_all_targets_and_by_target(shared: Any, name: str) -> None:
    shared.target(name)
    ds = shared.dset(name)
    action = shared.assign(ds, name)[0]
    asked = f"/actions?q=target.controllerid=={name};distributionset.name=={name};active==true"
    assert [a["id"] for a in shared.ok("GET", asked)["content"]] == [action]
    assert shared.ok("GET", f"/actions/{action}")["forceType"] == "forced"
    assert shared.ok("GET", f"/targets/{name}/actions?q=detailstatus==running")["total"] == 1
    shared.target(name + "-other")
    shared.refuse("GET", f"/targets/{name}-other/actions/{action}", 404)


def test_used_set_is_kept_for_history_when_removed(shared: Any, name: str) -> None:
    device = shared.device(name)
    ds = shared.dset(name)
    shared.assign(ds, name)
    device.install()
    shared.ok("DELETE", f"/distributionsets/{ds}")
    shared.refuse("GET", f"/distributionsets/{ds}", 404)
    assert shared.ok("GET", f"/targets/{name}/installedDS")["deleted"] is True
    assert shared.dset(name, version="1b") > ds


def test_set_statistics(shared: Any, name: str) -> None:
    shared.target(name)
    ds = shared.dset(name)
    shared.assign(ds, name)
    found = shared.ok("GET", f"/distributionsets/{ds}/statistics")
    assert found["actions"] == {"RUNNING": 1, "total": 1}
    assert shared.ok("GET", f"/distributionsets/{ds}/statistics/actions") == {
        "actions": {"RUNNING": 1, "total": 1}
    }


def test_set_and_module_metadata(shared: Any, name: str) -> None:
    ds, module = shared.dset(name), shared.module(name + "m")
    entry = [{"key": "k", "value": "v"}]
    shared.ok("POST", f"/distributionsets/{ds}/metadata", 201, json=entry)
    assert shared.ok("GET", f"/distributionsets?q=metadata.k==v;name=={name}")["total"] == 1
    made = shared.ok("POST", f"/softwaremodules/{module}/metadata", 201, json=entry)
    assert made == [{"key": "k", "value": "v", "targetVisible": False}]
    path = f"/softwaremodules/{module}/metadata/k"
    assert shared.ok("PUT", path, json={"targetVisible": True, "value": "w"})["targetVisible"]


def test_modules_are_unique_and_changed(shared: Any, name: str) -> None:
    module = shared.module(name)
    again = [{"name": name, "version": "1", "type": "application"}]
    assert shared.refuse("POST", "/softwaremodules", 409, json=again)["errorCode"] == EXISTS
    shared.refuse("POST", "/softwaremodules", 404, json=[{**again[0], "type": "no"}])
    assert shared.ok("PUT", f"/softwaremodules/{module}", json={"vendor": "v"})["vendor"] == "v"
    assert shared.ok("GET", f"/softwaremodules?q=vendor==v;name=={name}")["total"] == 1
    shared.ok("DELETE", f"/softwaremodules/{module}")
    shared.refuse("GET", f"/softwaremodules/{module}", 404)


def test_filters_are_kept_and_assign_by_themselves(shared: Any, name: str, wait: Any) -> None:
    shared.target(f"{name}-1")
    made = shared.ok(
        "POST", "/targetfilters", 201, json={"name": name, "query": f"controllerid=={name}-*"}
    )
    path = f"/targetfilters/{made['id']}"
    shared.refuse("POST", "/targetfilters", 409, json={"name": name, "query": "name==x"})
    shared.refuse("POST", "/targetfilters", 400, json={"name": "x", "query": "bogus==x"})
    shared.ok("GET", path + "/autoAssignDS", 204)
    ds = shared.dset(name)
    shown = shared.ok("POST", path + "/autoAssignDS", json={"id": ds, "type": "soft"})
    assert shown["autoAssignDistributionSet"] == ds
    shared.target(f"{name}-2")
    assigned = f"/distributionsets/{ds}/assignedTargets"
    wait(lambda: shared.ok("GET", assigned)["total"] == 2)
    assert shared.ok("GET", f"/distributionsets/{ds}/autoAssignTargetFilters")["total"] == 1
    shared.ok("DELETE", path + "/autoAssignDS")
    shared.ok("DELETE", path)


def test_settings_are_read_changed_checked_and_reset(start_hub: Any) -> None:
    hub = start_hub()
    device = hub.device("d")
    key = "/system/configs/pollingTime"
    device.poll()
    assert hub.ok("PUT", key, json={"value": "00:01:40"})["value"] == "00:01:40"
    assert device.poll()["config"]["polling"]["sleep"] == "00:01:40"
    hub.refuse("PUT", key, 400, json={"value": "soon"})
    hub.refuse("PUT", key, 400, json={"value": 5})
    hub.refuse("PUT", "/system/configs/multi.assignments.enabled", 400, json={"value": True})
    hub.refuse("GET", "/system/configs/operator.password.scrypt", 400)
    hub.ok("DELETE", key)
    assert hub.ok("GET", key) == {
        "value": "00:00:30",
        "global": True,
        "_links": {"self": {"href": f"{hub.url}/rest/v1/system/configs/pollingTime"}},
    }
    hub.ok("PUT", "/system/configs", json={"authentication.targettoken.enabled": False})
    device.call("GET", "", 401)


def test_lists_are_paged_sorted_and_counted(shared: Any, name: str) -> None:
    shared.ok("POST", "/targets", 201, json=[{"controllerId": f"{name}-{n:02}"} for n in range(12)])
    asked = f"/targets?q=controllerid=={name}-*"
    page = shared.ok("GET", asked + "&offset=10&limit=5&sort=controllerid:DESC")
    assert (page["total"], page["size"]) == (12, 2)
    assert [t["controllerId"][-2:] for t in page["content"]] == ["01", "00"]
    assert shared.ok("GET", asked + "&limit=0")["size"] == 12
    assert shared.ok("GET", "/targets?limit=100000")["size"] <= 500
    assert shared.ok("GET", asked + "&offset=-3")["size"] == 12


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ("q=bogus==1", "rest.param.rsqlInvalidField"),
        ("q=name=", "rest.param.rsqlParamSyntax"),
        ("q=name==a;", "rest.param.rsqlParamSyntax"),
        ("q=createdat==soon", "rest.param.rsqlParamSyntax"),
        ("q=attribute==x", "rest.param.rsqlInvalidField"),
        ("sort=name", "rest.param.sortParamSyntax"),
        ("sort=bogus:ASC", "rest.param.invalidField"),
        ("sort=name:UP", "rest.param.invalidDirection"),
        ("limit=x", "repo.constraintViolation"),
    ],
)
def test_list_parameters_that_cannot_be_read_are_refused(
    shared: Any, params: str, code: str
) -> None:
    assert shared.refuse("GET", f"/targets?{params}", 400)["errorCode"].endswith(code)


def test_errors_have_hawkbits_shape_and_status(shared: Any) -> None:
    refusal = shared.refuse("GET", "/targets/none", 404)
    assert refusal["exceptionClass"].endswith(".EntityNotFoundException")
    shared.refuse("GET", "/nothing", 404)
    shared.refuse("PATCH", "/targets", 405)
    shared.refuse("POST", "/targets", 415, content=b"<x/>", headers={"Content-Type": "text/xml"})
    shared.refuse(
        "POST", "/targets", 400, content=b"{", headers={"Content-Type": "application/json"}
    )


def test_answers_are_hal_unless_plain_json_is_asked_for(shared: Any) -> None:
    hal = shared.client.get("/rest/v1/userinfo")
    assert hal.headers["content-type"] == "application/hal+json"
    plain = shared.client.get("/rest/v1/userinfo", headers={"Accept": "application/json"})
    assert plain.headers["content-type"] == "application/json"

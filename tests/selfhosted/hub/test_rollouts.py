"""Rollouts: the pure decision, and whole rollouts with simulated devices."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl_selfhosted.hub.rollouts import Decision, GroupView, RolloutView, Step, decide, split


def group(id_: int, status: str = "scheduled", total: int = 10, **counts: int) -> GroupView:
    given_: dict[str, Any] = {
        "success_threshold": 50,
        "success_action": "NEXTGROUP",
        "error_threshold": 30,
        **counts,
    }
    return GroupView(id=id_, status=status, total=total, **given_)


def step(*groups: GroupView, status: str = "running", start_at: int | None = None) -> Any:
    view = RolloutView(status=status, start_at=start_at, groups=groups)
    found = decide(view, now_ms=1000, approval=False)
    return found and (found.step, found.group)


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        ({"status": "creating"}, (Step.READY, 0)),
        ({"status": "ready"}, None),
        ({"status": "ready", "start_at": 1001}, None),
        ({"status": "ready", "start_at": 1000}, (Step.START, 0)),
        ({"status": "starting"}, (Step.RUN, 0)),
        ({"status": "paused"}, None),
        ({"status": "stopping"}, (Step.STOPPED, 0)),
        ({"status": "finished"}, None),
    ],
)
def test_rollout_status_decides_the_next_step(view: dict[str, Any], expected: Any) -> None:
    assert step(group(1), **view) == expected


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        ({}, None),
        ({"finished": 4}, None),
        ({"finished": 5}, (Step.START_GROUP, 2)),
        ({"error": 3}, None),
        ({"error": 4}, (Step.FAIL_GROUP, 1)),
        ({"error": 4, "finished": 6}, (Step.FAIL_GROUP, 1)),
        ({"finished": 4, "error": 3, "canceled": 3}, (Step.FINISH_GROUP, 1)),
        ({"error": 10, "error_threshold": 0}, (Step.FINISH_GROUP, 1)),
        ({"success_action": "PAUSE", "finished": 5}, None),
        ({"success_action": "PAUSE", "finished": 10}, (Step.FINISH_GROUP, 1)),
    ],
)
def test_running_group_decides_the_next_step(first: dict[str, Any], expected: Any) -> None:
    assert step(group(1, "running", **first), group(2)) == expected


def test_finished_groups_make_a_finished_rollout() -> None:
    assert step(group(1, "finished"), group(2, "error")) == (Step.FINISH, 0)
    assert step(group(1, "error"), group(2)) == (Step.START_GROUP, 2)
    assert step(group(1, "running", total=0)) == (Step.FINISH_GROUP, 1)


@given(st.integers(1, 200), st.integers(1, 50))
def test_split_takes_everyone_in_nearly_equal_groups(total: int, amount: int) -> None:
    sizes = split(total, amount)
    assert sum(sizes) == total
    assert max(sizes) - min(sizes) <= 1


OUTCOMES = st.lists(
    st.lists(st.sampled_from(["finished", "error", "canceled"]), min_size=1, max_size=6),
    min_size=1,
    max_size=5,
)


@given(OUTCOMES, st.integers(0, 100), st.integers(0, 100))
def test_every_rollout_ends_and_no_group_starts_before_its_turn(
    outcomes: list[list[str]], success: int, error: int
) -> None:
    groups = [
        group(n, total=len(o), success_threshold=success, error_threshold=error)
        for n, o in enumerate(outcomes)
    ]
    view = RolloutView(status="starting", start_at=None, groups=tuple(groups))
    started: list[int] = []
    for _ in range(200):
        found = decide(view, now_ms=0, approval=False)
        if found is None:
            view = _device_reports(view, outcomes)
            continue
        if found.step is Step.START_GROUP:
            started.append(found.group)
        view = _apply(view, found)
        if view.status == "finished":
            break
    assert view.status == "finished"
    assert started == sorted(started)


def _apply(view: RolloutView, decision: Decision) -> RolloutView:
    words = {
        Step.START_GROUP: "running",
        Step.FINISH_GROUP: "finished",
        Step.FAIL_GROUP: "error",
    }
    if decision.step in words:
        groups = tuple(
            msgspec.structs.replace(g, status=words[decision.step]) if g.id == decision.group else g
            for g in view.groups
        )
        # An operator resumes a rollout that its error threshold paused.
        return msgspec.structs.replace(view, groups=groups)
    status = {Step.RUN: "running", Step.FINISH: "finished"}[decision.step]
    return msgspec.structs.replace(view, status=status)


def _device_reports(view: RolloutView, outcomes: list[list[str]]) -> RolloutView:
    groups = list(view.groups)
    for index, found in enumerate(groups):
        done = found.total - found.left
        if found.status == "running" and found.left:
            word = outcomes[index][done]
            groups[index] = msgspec.structs.replace(found, **{word: getattr(found, word) + 1})
            return msgspec.structs.replace(view, groups=tuple(groups))
    raise AssertionError("nothing runs and nothing is decided")


@pytest.fixture
def fleet(shared: Any, name: str) -> Any:
    return [shared.device(f"{name}-{n}") for n in range(6)]


def make(shared: Any, name: str, wait: Any, **more: Any) -> str:
    sent = {
        "name": name,
        "distributionSetId": shared.dset(name),
        "targetFilterQuery": f"controllerid=={name}-*",
        "successCondition": {"condition": "THRESHOLD", "expression": "100"},
        "errorCondition": {"condition": "THRESHOLD", "expression": "20"},
        **more,
    }
    made = shared.ok("POST", "/rollouts", 201, json=sent)
    assert made["status"] == "creating"
    path = f"/rollouts/{made['id']}"
    wait(lambda: shared.ok("GET", path)["status"] != "creating")
    return path


def is_(shared: Any, path: str, status: str) -> Any:
    return lambda: shared.ok("GET", path)["status"] == status


def test_rollout_goes_group_by_group_to_the_end(
    shared: Any, name: str, fleet: Any, wait: Any
) -> None:
    path = make(shared, name, wait, amountGroups=3)
    shown = shared.ok("GET", path)
    assert (shown["status"], shown["totalTargets"], shown["totalGroups"]) == ("ready", 6, 3)
    assert shown["totalTargetsPerStatus"]["notstarted"] == 6
    shared.ok("POST", path + "/start")
    groups = shared.ok("GET", path + "/deploygroups")["content"]
    assert [g["name"] for g in groups] == ["group-1", "group-2", "group-3"]
    for number in range(3):
        open_ = [d for d in fleet if "deploymentBase" in d.links()]
        assert open_ == fleet[2 * number : 2 * number + 2]
        for device in open_:
            device.install()
        if number < 2:
            following = fleet[2 * number + 2]
            wait(lambda d=following: "deploymentBase" in d.links())
    wait(is_(shared, path, "finished"))
    shown = shared.ok("GET", path)
    assert shown["totalTargetsPerStatus"] == {
        "notstarted": 0,
        "scheduled": 0,
        "running": 0,
        "finished": 6,
        "error": 0,
        "cancelled": 0,
    }
    members = shared.ok("GET", f"{path}/deploygroups/{groups[0]['id']}/targets")
    assert [t["controllerId"] for t in members["content"]] == [d.id for d in fleet[:2]]
    action = shared.ok("GET", f"/targets/{fleet[0].id}/actions")["content"][0]
    assert action["rolloutName"] == name


def test_errors_above_the_threshold_pause_and_resume_goes_on(
    shared: Any, name: str, fleet: Any, wait: Any
) -> None:
    path = make(shared, name, wait, amountGroups=2)
    shared.ok("POST", path + "/start")
    fleet[0].say(fleet[0].deployment()["id"], "closed", "failure")
    wait(is_(shared, path, "paused"))
    assert shared.ok("GET", path + "/deploygroups")["content"][0]["status"] == "error"
    assert "deploymentBase" not in fleet[3].links()
    shared.ok("POST", path + "/resume")
    for device in fleet[1:]:
        device.install()
    wait(is_(shared, path, "finished"))
    counts = shared.ok("GET", path)["totalTargetsPerStatus"]
    assert (counts["finished"], counts["error"]) == (5, 1)
    again = shared.ok("POST", path + "/retry", 201)
    assert (again["name"], again["totalTargets"]) == (f"{name}_retry", 1)


def test_pause_holds_the_next_group_and_trigger_starts_it(
    shared: Any, name: str, fleet: Any, wait: Any
) -> None:
    path = make(shared, name, wait, amountGroups=2)
    shared.ok("POST", path + "/start")
    shared.ok("POST", path + "/pause")
    for device in fleet[:3]:
        device.install()
    shared.refuse("POST", path + "/triggerNextGroup", 400)
    assert "deploymentBase" not in fleet[3].links()
    shared.ok("POST", path + "/resume")
    assert "deploymentBase" in fleet[3].links()


def test_trigger_next_group_does_not_wait_for_success(
    shared: Any, name: str, fleet: Any, wait: Any
) -> None:
    path = make(shared, name, wait, amountGroups=2)
    shared.ok("POST", path + "/start")
    shared.ok("POST", path + "/triggerNextGroup")
    assert all("deploymentBase" in d.links() for d in fleet)
    shared.refuse("POST", path + "/triggerNextGroup", 400)


def test_stop_calls_everything_off(shared: Any, name: str, fleet: Any, wait: Any) -> None:
    path = make(shared, name, wait, amountGroups=2)
    shared.ok("POST", path + "/start")
    shared.ok("POST", path + "/stop")
    assert shared.ok("GET", path)["status"] == "stopped"
    assert "cancelAction" in fleet[0].links()
    assert "deploymentBase" not in fleet[5].links()
    for device in fleet:
        device.install()
    assert shared.ok("GET", path)["totalTargetsPerStatus"]["cancelled"] == 6
    shared.refuse("POST", path + "/stop", 400)
    shared.refuse("POST", path + "/start", 400)


def test_groups_take_their_percentage_of_what_is_left(
    shared: Any, name: str, fleet: Any, wait: Any
) -> None:
    for device in fleet[:2]:
        device.attributes({"site": "dc"})
    groups = [
        {"name": "canary", "targetFilterQuery": "attribute.site==dc", "targetPercentage": 50},
        {"name": "half", "targetPercentage": 60, "successAction": {"action": "PAUSE"}},
        {"name": "rest", "targetPercentage": 100},
    ]
    path = make(shared, name, wait, groups=groups)
    listed = shared.ok("GET", path + "/deploygroups")["content"]
    assert [(g["name"], g["totalTargets"]) for g in listed] == [
        ("canary", 1),
        ("half", 3),
        ("rest", 2),
    ]
    shared.ok("POST", path + "/start")
    wait(lambda: [d.install() for d in fleet] and is_(shared, path, "paused")())
    shared.ok("POST", path + "/resume")
    wait(lambda: [d.install() for d in fleet] and is_(shared, path, "finished")())


def test_device_that_runs_the_set_already_is_done_at_once(
    shared: Any, name: str, fleet: Any, wait: Any
) -> None:
    ds = shared.dset(name + "x")
    shared.assign(ds, *[d.id for d in fleet])
    for device in fleet:
        device.install()
    path = make(shared, name, wait, amountGroups=2, distributionSetId=ds)
    shared.ok("POST", path + "/start")
    assert shared.ok("GET", path)["status"] == "finished"


def test_removed_device_does_not_hold_a_rollout(
    shared: Any, name: str, fleet: Any, wait: Any
) -> None:
    path = make(shared, name, wait, amountGroups=1)
    shared.ok("POST", path + "/start")
    for device in fleet[1:]:
        device.install()
    shared.ok("DELETE", f"/targets/{fleet[0].id}")
    wait(is_(shared, path, "finished"))


def test_deleted_rollout_calls_its_actions_off(
    shared: Any, name: str, fleet: Any, wait: Any
) -> None:
    path = make(shared, name, wait, amountGroups=2)
    shared.ok("POST", path + "/start")
    shared.ok("DELETE", path)
    shared.refuse("GET", path, 404)
    assert "cancelAction" in fleet[0].links()


@pytest.mark.parametrize(
    "more",
    [
        {"targetFilterQuery": "controllerid==nobody-at-all", "amountGroups": 1},
        {"targetFilterQuery": "bogus==1", "amountGroups": 1},
        {"targetFilterQuery": "", "amountGroups": 1},
        {"amountGroups": 0},
        {},
        {"amountGroups": 1, "groups": [{"name": "g"}]},
        {"groups": [{"name": "g", "targetPercentage": 50}]},
        {"groups": [{"name": "g", "targetPercentage": 101}]},
        {"amountGroups": 1, "dynamic": True},
        {"amountGroups": 1, "successCondition": {"expression": "many"}},
        {"amountGroups": 1, "type": "gentle"},
    ],
)
def test_rollout_that_cannot_be_is_refused(shared: Any, name: str, more: dict[str, Any]) -> None:
    shared.target(f"{name}-1")
    shared.target(f"{name}-2")
    sent = {
        "name": name,
        "distributionSetId": shared.dset(name),
        "targetFilterQuery": f"controllerid=={name}-*",
        **more,
    }
    shared.refuse("POST", "/rollouts", 400, json=sent)


def test_quotas_of_groups_and_members(start_hub: Any) -> None:
    hub = start_hub(quotas={"groups_per_rollout": 2, "targets_per_group": 3})
    hub.ok("POST", "/targets", 201, json=[{"controllerId": f"d{n}"} for n in range(9)])
    sent = {"name": "r", "distributionSetId": hub.dset("s"), "targetFilterQuery": "name==d*"}
    hub.refuse("POST", "/rollouts", 429, json={**sent, "amountGroups": 3})
    hub.refuse("POST", "/rollouts", 429, json={**sent, "amountGroups": 2})


def test_approval_is_needed_where_it_is_switched_on(start_hub: Any, wait: Any) -> None:
    hub = start_hub()
    hub.ok("PUT", "/system/configs/rollout.approval.enabled", json={"value": True})
    hub.target("r-1")
    path = make(hub, "r", wait, amountGroups=1)
    assert hub.ok("GET", path)["status"] == "waiting_for_approval"
    hub.refuse("POST", path + "/start", 400)
    hub.ok("POST", path + "/approve?remark=fine")
    shown = hub.ok("GET", path)
    assert (shown["status"], shown["approvalRemark"]) == ("ready", "fine")
    assert shown["approveDecidedBy"] == "admin"
    other = hub.ok(
        "POST",
        "/rollouts",
        201,
        json={
            "name": "no",
            "distributionSetId": hub.dset("s"),
            "targetFilterQuery": "name==r*",
            "amountGroups": 1,
        },
    )["id"]
    wait(is_(hub, f"/rollouts/{other}", "waiting_for_approval"))
    hub.ok("POST", f"/rollouts/{other}/deny")
    assert hub.ok("GET", f"/rollouts/{other}")["status"] == "approval_denied"


def test_start_time_starts_a_rollout(start_hub: Any, wait: Any) -> None:
    hub = start_hub()
    hub.target("r-1")
    path = make(hub, "r", wait, amountGroups=1, startAt=1)
    wait(is_(hub, path, "running"))
    assert hub.ok("GET", "/rollouts?q=status==running;name==r")["total"] == 1
    assert hub.ok("PUT", path, json={"name": "r2", "description": "d"})["name"] == "r2"

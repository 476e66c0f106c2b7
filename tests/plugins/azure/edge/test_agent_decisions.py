"""What the virtual edgeAgent does next, tries again and reports."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl_azure_iot_edge.emulator.edge import restarts
from edgectl_azure_iot_edge.emulator.edge.attempts import Attempts, told
from edgectl_azure_iot_edge.emulator.edge.planner import Action, Step, plan, shutdown
from edgectl_azure_iot_edge.emulator.edge.records import Module, ModuleSpec, RuntimeStatus
from edgectl_azure_iot_edge.emulator.edge.report import (
    AgentState,
    DeploymentStatus,
    at_shutdown,
    document,
    patch,
)
from edgectl_azure_iot_edge.emulator.edge.restarts import Pace

PACE = Pace()


def spec(name: str = "m", **more: Any) -> ModuleSpec:
    return ModuleSpec(name=name, image="registry/app:1", **more)


def there(of: ModuleSpec, status: RuntimeStatus = RuntimeStatus.RUNNING, **more: Any) -> Module:
    return Module(spec=of, status=status, **{"started_at": 1.0, **more})


def shown(steps: tuple[Step, ...]) -> list[str]:
    return [step.show for step in steps]


def test_new_modules_are_made_in_startup_order() -> None:
    wanted = {"b": spec("b", startup_order=1), "a": spec("a"), "c": spec("c", startup_order=0)}
    assert [step.module for step in plan(wanted, {}, 0.0, PACE)] == ["c", "b", "a"]
    assert plan(wanted, {}, 0.0, PACE)[0].actions == (Action.PREPARE, Action.CREATE, Action.START)


def test_a_module_wanted_stopped_is_made_but_not_started() -> None:
    (step,) = plan({"m": spec(status="stopped")}, {}, 0.0, PACE)
    assert step.actions == (Action.PREPARE, Action.CREATE)


def test_what_is_not_wanted_is_stopped_and_removed() -> None:
    assert shown(plan({}, {"m": there(spec())}, 0.0, PACE)) == ["Stop module m", "Remove module m"]


def test_a_changed_module_is_pulled_before_the_old_one_is_stopped() -> None:
    (step,) = plan({"m": spec(env={"A": "1"})}, {"m": there(spec())}, 0.0, PACE)
    assert step.actions == (
        Action.PREPARE,
        Action.STOP,
        Action.REMOVE,
        Action.CREATE,
        Action.START,
    )


def test_a_changed_status_makes_nothing_anew() -> None:
    (step,) = plan({"m": spec(status="stopped")}, {"m": there(spec())}, 0.0, PACE)
    assert step.actions == (Action.STOP, Action.FORGET)
    off = there(spec(status="stopped"), RuntimeStatus.STOPPED)
    (step,) = plan({"m": spec()}, {"m": off}, 0.0, PACE)
    assert step.actions == (Action.START, Action.FORGET)


def test_all_pulls_come_first_where_that_is_asked_for() -> None:
    wanted = {"a": spec("a"), "b": spec("b")}
    steps = plan(wanted, {}, 0.0, PACE, pull_first=True)
    assert shown(steps)[:2] == ["Prepare module a", "Prepare module b"]
    assert [step.first for step in steps] == [True, True, False, False]
    assert Action.PREPARE not in steps[2].actions


def test_what_runs_as_wanted_is_left_alone() -> None:
    assert plan({"m": spec()}, {"m": there(spec())}, 0.0, PACE) == ()


@pytest.mark.parametrize(
    ("policy", "status", "expected"),
    [
        ("always", "stopped", "backoff"),
        ("always", "failed", "backoff"),
        ("on-failure", "failed", "backoff"),
        ("on-failure", "stopped", "stopped"),
        ("on-unhealthy", "unhealthy", "backoff"),
        ("on-unhealthy", "stopped", "stopped"),
        ("never", "failed", "failed"),
        ("always", "running", "running"),
    ],
)
def test_the_policy_says_what_an_end_means(policy: Any, status: str, expected: str) -> None:
    assert restarts.status_under(policy, RuntimeStatus(status), 0, PACE) == expected


def test_after_so_many_restarts_a_module_is_given_up() -> None:
    status = restarts.status_under("always", RuntimeStatus.STOPPED, PACE.max_restarts, PACE)
    assert status is RuntimeStatus.FAILED


def test_the_pause_before_a_restart_doubles_up_to_five_minutes() -> None:
    assert [restarts.pause_s(n, PACE) for n in (0, 1, 2, 5, 1000)] == [10, 20, 40, 300, 300]


def test_a_module_in_backoff_is_started_when_its_pause_is_over() -> None:
    ended = there(spec(), RuntimeStatus.BACKOFF, exited_at=100.0, restart_count=1)
    assert plan({"m": spec()}, {"m": ended}, 119.0, PACE) == ()
    (step,) = plan({"m": spec()}, {"m": ended}, 121.0, PACE)
    assert step.actions == (Action.STOP, Action.START, Action.COUNT)


def test_a_clock_that_went_back_does_not_hold_a_module_up() -> None:
    ended = there(spec(), RuntimeStatus.BACKOFF, exited_at=1000.0)
    assert plan({"m": spec()}, {"m": ended}, 5.0, PACE)


def test_a_module_that_ended_well_and_is_never_restarted_stays_so() -> None:
    wanted = spec(restart_policy="never")
    assert plan({"m": wanted}, {"m": there(wanted, RuntimeStatus.STOPPED)}, 0.0, PACE) == ()


def test_restarts_are_forgotten_after_ten_minutes_of_health() -> None:
    well = there(spec(), exited_at=100.0, restart_count=3)
    assert plan({"m": spec()}, {"m": well}, 600.0, PACE) == ()
    (step,) = plan({"m": spec()}, {"m": well}, 701.0, PACE)
    assert step.actions == (Action.FORGET,)


def test_edge_agent_s_environment_changes_the_pace() -> None:
    env = {"CoolOffTimeUnitInSeconds": "1", "MaxRestartCount": "2", "RuntimeLogLevel": "debug"}
    assert restarts.paced(PACE, env) == Pace(unit_s=1.0, max_restarts=2)


def test_leaving_stops_what_runs() -> None:
    current = {"a": there(spec("a")), "b": there(spec("b"), RuntimeStatus.STOPPED)}
    assert shown(shutdown(current)) == ["Stop module a"]


@given(st.integers(0, 3), st.booleans())
def test_a_plan_that_is_carried_out_leaves_nothing_to_do(orders: int, pull_first: bool) -> None:
    wanted = {f"m{n}": spec(f"m{n}", startup_order=n) for n in range(orders)}
    current = {"old": there(spec("old")), "m0": there(spec("m0", env={"X": "1"}))}
    for step in plan(wanted, current, 0.0, PACE, pull_first=pull_first):
        for action in step.actions:
            if action is Action.REMOVE:
                current.pop(step.module)
            elif action is Action.CREATE and step.spec is not None:
                current[step.module] = there(step.spec)
    assert plan(wanted, current, 0.0, PACE) == ()


def test_a_failed_step_waits_longer_each_time_and_keeps_its_reason() -> None:
    attempts, step = Attempts(), Step(module="m", actions=(Action.PREPARE,))
    attempts.begin(4)
    assert attempts.refusal(step, 0.0, PACE) == ""
    attempts.failed(step, 0.0, "no such image")
    assert attempts.refusal(step, 19.0, PACE) == "no such image"
    assert attempts.refusal(step, 21.0, PACE) == ""
    attempts.failed(step, 21.0, "no such image")
    assert attempts.refusal(step, 60.0, PACE)
    assert attempts.refusal(step, 62.0, PACE) == ""


def test_a_step_that_failed_too_often_is_stuck_until_another_version_comes() -> None:
    pace = Pace(max_restarts=2)
    attempts, step = Attempts(), Step(module="m", actions=(Action.PREPARE,))
    attempts.begin(4)
    for _ in range(2):
        attempts.failed(step, 0.0, "no such image")
    why = attempts.refusal(step, 1e9, pace)
    assert told([why]).startswith("Step previously failed in deployment 4 on prior attempt")
    attempts.begin(5)
    assert attempts.refusal(step, 1e9, pace) == ""


def test_failures_are_told_as_dotnet_tells_them() -> None:
    assert told(["The operation was canceled."]) == (
        "One or more errors occurred. (The operation was canceled.)"
    )


def state(**more: Any) -> AgentState:
    given: dict[str, Any] = {
        "version": 3,
        "status": DeploymentStatus(code=200),
        "deployment": None,
        "agent": there(ModuleSpec(name="edgeAgent", image="agent:1.5")),
        "modules": {"m": there(spec(env={"A": "1"}), image_hash="sha256:1")},
    }
    return AgentState(**{**given, **more})


def test_a_module_is_reported_with_what_it_runs() -> None:
    found = document(state())
    assert found["lastDesiredVersion"] == 3
    assert found["lastDesiredStatus"] == {"code": 200, "description": ""}
    reported = found["modules"]["m"]
    assert reported["runtimeStatus"] == "running"
    assert reported["settings"] == {
        "image": "registry/app:1",
        "imageHash": "sha256:1",
        "createOptions": "{}",
    }
    assert reported["env"] == {"A": {"value": "1"}}
    assert reported["lastExitTimeUtc"] == "0001-01-01T00:00:00"
    assert "restartPolicy" not in found["systemModules"]["edgeAgent"]


def test_an_agent_that_leaves_says_406_and_knows_nothing_any_more() -> None:
    found = at_shutdown(document(state()))
    assert found["lastDesiredStatus"] == {"code": 406, "description": "Agent is not running"}
    assert found["modules"]["m"]["runtimeStatus"] == "unknown"
    assert found["lastDesiredVersion"] == 3


def test_only_what_changed_is_sent() -> None:
    old = document(state())
    failed = msgspec.structs.replace(state().modules["m"], status=RuntimeStatus.FAILED)
    new = document(state(modules={"m": failed}))
    assert patch(old, new) == {"modules": {"m": {"runtimeStatus": "failed"}}}
    assert patch(old, document(state(modules={}))) == {"modules": {"m": None}}


_JSON = st.recursive(
    st.booleans() | st.integers(0, 3) | st.text(max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
_SECTION = st.dictionaries(st.sampled_from("abc"), _JSON, max_size=3)


def merged(old: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    found = dict(old)
    for key, value in change.items():
        if value is None:
            found.pop(key, None)
        elif isinstance(value, dict):
            before = found.get(key)
            found[key] = merged(before if isinstance(before, dict) else {}, value)
        else:
            found[key] = value
    return found


@given(_SECTION, _SECTION)
def test_a_patch_brings_the_hub_from_the_old_to_the_new(
    old: dict[str, Any], new: dict[str, Any]
) -> None:
    assert merged(old, patch(old, new)) == new

"""What twins mean: one device, and what is known of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl.api import ModuleReport, State
from edgectl_azure_iot_edge.names import Given
from edgectl_azure_iot_edge.states import (
    Agent,
    Case,
    Module,
    Patience,
    has_begun,
    judge,
    read_agent,
    read_module_report,
)

NOW = 10_000.0
ID = "edgectl-lots_app-r5"
PATIENCE = Patience(now=NOW, failing_s=600.0, silent_s=900.0)
RUNNING = {"edgectl-app": Module(status="running")}
WEDGE = "Step previously failed in deployment 12 on prior attempt"


def agent(**fields: Any) -> Agent:
    usual: dict[str, Any] = {
        "configurations": {"base": "Applied", ID: "Applied"},
        "wanted": 12,
        "took": 12,
        "code": 200,
        "has_base": True,
        "connected": True,
        "last_activity": NOW - 10,
        "modules": RUNNING,
    }
    return Agent(**{**usual, **fields})


def report(phase: str, release: int = 5, **fields: Any) -> ModuleReport:
    current = release if phase == "healthy" else 4
    return ModuleReport(
        **{"desired": release, "current": current, "phase": State(phase), "active": "d", **fields}
    )


def case(
    agent_: Agent | None = None, told: ModuleReport | None = None, *, since: float = 60.0
) -> Case:
    return Case(
        device="one",
        given=Given(release=5, before=4, target="lots", at=NOW - since),
        configuration=ID,
        module="edgectl-app",
        agent=agent_ or agent(),
        report=told,
    )


def state(found: Case, release: int | None = 5) -> tuple[str, str] | None:
    status = judge(found, release, PATIENCE)
    return None if status is None else (str(status.state), status.reason)


def test_a_device_is_healthy_when_module_and_agent_and_hub_agree() -> None:
    status = judge(case(told=report("healthy", variant="int8")), 5, PATIENCE)
    assert status is not None
    assert (status.state, status.release, status.raw) == (State.HEALTHY, 5, "Applied:200")
    assert (status.active_release, status.active_package, status.variant) == (5, "d", "int8")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"configurations": {ID: "Targeted"}}, "verifying"),
        ({"configurations": {}}, "verifying"),
        ({"took": 11}, "verifying"),
        ({"took": None}, "verifying"),
        ({"code": 500}, "verifying"),
    ],
)
def test_a_module_that_says_healthy_waits_for_the_agent(
    changes: dict[str, Any], expected: str
) -> None:
    assert state(case(agent(**changes), report("healthy"))) == (expected, "")


def test_a_500_about_another_teams_module_does_not_hold_ours_up_for_ever() -> None:
    failing = agent(code=500, description="camera: image not found")
    assert state(case(failing, report("healthy"), since=601)) == ("healthy", "")


@pytest.mark.parametrize("phase", ["failed", "rolled_back"])
def test_a_modules_own_failure_is_told_with_its_reason(phase: str) -> None:
    told = report(phase, reason="golden-failed", detail="output y differs")
    status = judge(case(told=told), 5, PATIENCE)
    assert status is not None
    assert (status.state, status.reason, status.detail, status.active_release) == (
        State(phase),
        "golden-failed",
        "output y differs",
        4,
    )


@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        ("pending", "installing"),
        ("downloading", "downloading"),
        ("installing", "installing"),
        ("verifying", "verifying"),
    ],
)
def test_a_module_on_its_way_is_told_as_such(phase: str, expected: str) -> None:
    assert state(case(told=report(phase))) == (expected, "")


def test_a_module_that_waits_for_its_download_window_says_so() -> None:
    says = "waits for its download window until 22:00"
    told = case(told=report("downloading", reason="download-window", detail=says))
    found = judge(told, 5, PATIENCE)
    assert found is not None
    assert (found.state, found.reason, found.detail) == ("downloading", "download-window", says)


def test_a_module_that_crashed_after_a_good_start_is_seen() -> None:
    down = agent(modules={"edgectl-app": Module(status="failed", exit_code=139, restarts=20)})
    status = judge(case(down, report("healthy")), 5, PATIENCE)
    assert status is not None
    assert (status.state, status.reason) == (State.FAILED, "runtime-crashed")
    assert "exit code 139" in status.detail


def test_a_module_in_back_off_that_never_ran_gets_time_and_then_counts_as_crashed() -> None:
    down = agent(modules={"edgectl-app": Module(status="backoff", exit_code=1, restarts=2)})
    assert state(case(down)) == ("installing", "")
    assert state(case(down, since=601)) == ("failed", "runtime-crashed")


def test_a_500_gets_its_time_since_the_agent_goes_on_pulling() -> None:
    pulling = agent(code=500, description="The operation was canceled.", modules={})
    assert state(case(pulling)) == ("installing", "")
    assert state(case(pulling, since=601)) == ("failed", "download-failed")


@pytest.mark.parametrize("code", [400, 412, 417])
def test_a_deployment_that_the_agent_refuses_is_a_failure(code: int) -> None:
    assert state(case(agent(code=code, modules={}))) == ("failed", "bad-package")


def test_a_device_that_was_heard_of_lately_is_waited_for() -> None:
    away = agent(connected=False, took=11, modules={})
    assert state(case(away)) == ("pending", "")


@pytest.mark.parametrize(
    "changes", [{"connected": False}, {"code": 406}, {"connected": False, "last_activity": None}]
)
def test_a_device_that_was_not_heard_of_for_long_is_unreachable(changes: dict[str, Any]) -> None:
    quiet = agent(**{"last_activity": NOW - 1000, "took": 11, "modules": {}, **changes})
    assert state(case(quiet, since=901)) == ("unreachable", "not-seen")


def test_a_layer_that_loses_to_a_higher_priority_is_superseded_after_a_while() -> None:
    lost = agent(configurations={"base": "Applied", ID: "Targeted"})
    assert state(case(lost)) == ("pending", "")
    assert state(case(lost, since=601)) == ("superseded", "")


def test_a_device_without_twins_yet_is_pending() -> None:
    assert state(case(Agent())) == ("pending", "")


def test_an_older_module_that_has_not_read_its_twin_is_pending() -> None:
    assert state(case(told=report("healthy", release=4))) == ("pending", "")


def test_asked_for_another_release_a_device_says_what_took_its_place() -> None:
    assert state(case(told=report("healthy")), release=4) == ("superseded", "")
    assert state(case(told=report("healthy")), release=3) is None
    assert state(case(told=report("healthy")), release=6) is None


def test_asked_for_no_release_a_device_says_what_it_did_last() -> None:
    assert state(case(told=report("healthy")), release=None) == ("healthy", "")


def test_a_wedge_is_recognised_wherever_the_agent_says_it() -> None:
    assert agent(code=500, description=WEDGE).is_wedged
    assert agent(modules={"camera": Module(description=WEDGE)}).is_wedged
    assert not agent().is_wedged


@pytest.mark.parametrize(
    ("told", "begun"),
    [
        (None, False),
        (report("healthy", release=4), False),
        (report("pending"), False),
        (report("downloading"), False),
        (report("installing"), True),
        (report("verifying"), True),
        (report("healthy"), True),
        (report("failed"), True),
    ],
)
def test_a_release_can_be_taken_back_until_it_is_being_installed(
    told: ModuleReport | None, begun: bool
) -> None:
    assert has_begun(told, 5) is begun


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
COLUMNS = ("connectionState", "configurations", "wanted", "runtime", "took", "status", "modules")


@given(st.dictionaries(st.sampled_from((*COLUMNS, "told")), JSON))
def test_whatever_stands_in_a_twin_it_is_read_without_an_error(row: dict[str, Any]) -> None:
    found = case(read_agent(row, None), read_module_report(row))
    for release in (None, 4, 5):
        judge(found, release, PATIENCE)


def test_a_row_of_an_agents_twin_is_read() -> None:
    row = {
        "connectionState": "Connected",
        "configurations": {"base": {"status": "Applied"}},
        "wanted": 7,
        "runtime": "docker",
        "took": 6,
        "status": {"code": 500, "description": "x"},
        "modules": {"m": {"runtimeStatus": "Running", "exitCode": 3, "restartCount": 2}},
    }
    found = read_agent(row, 5.0)
    assert (found.configurations, found.wanted, found.took, found.code) == (
        {"base": "Applied"},
        7,
        6,
        500,
    )
    assert found.modules == {"m": Module(status="running", exit_code=3, restarts=2)}
    assert found.has_base
    assert found.connected

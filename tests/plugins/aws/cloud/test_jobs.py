"""The job store: expansion, pace, abort, time-outs, and what devices may report."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edgectl_aws_greengrass.emulator.iot.jobs import JobStore
from edgectl_aws_greengrass.emulator.iot.records import REPORTABLE, TERMINAL
from edgectl_aws_greengrass.emulator.ports import CloudError
from edgectl_aws_greengrass.emulator.wire import ServiceError

NAMESPACE = "aws-gg-deployment"


class World:
    """Groups, a clock and a store."""

    def __init__(self, **groups: list[str]) -> None:
        self.groups = groups
        self.now = 1_000.0
        self.store = JobStore(
            lambda service, resource: f"arn:{service}:{resource}",
            lambda target: list(self.groups.get(target, [target])),
            clock=lambda: self.now,
        )
        self.heard: list[str] = []
        self.store.listen(self.heard.append)

    def create(self, job: str = "job", target: str = "group", **configuration: Any) -> None:
        more = {"continuous": configuration.pop("continuous", True)}
        self.store.create(
            job,
            targets=[target],
            document="{}",
            namespace=NAMESPACE,
            configuration=configuration,
            **more,
        )

    def later(self, seconds: float) -> None:
        self.now += seconds
        self.store.tick()

    def states(self, job: str = "job") -> dict[str, str]:
        return {e.thing: e.status for e in self.store.executions(job)}


def things(count: int) -> list[str]:
    return [f"t{number:03}" for number in range(count)]


def rate(**configuration: Any) -> dict[str, Any]:
    return {"jobExecutionsRolloutConfig": configuration}


def abort(kind: str = "FAILED", percent: float = 50.0, least: int = 2) -> dict[str, Any]:
    criterion = {
        "failureType": kind,
        "action": "CANCEL",
        "thresholdPercentage": percent,
        "minNumberOfExecutedThings": least,
    }
    return {"abortConfig": {"criteriaList": [criterion]}}


def test_a_group_is_expanded_and_each_thing_is_told() -> None:
    world = World(group=things(3))
    world.create()
    assert world.states() == dict.fromkeys(things(3), "QUEUED")
    assert world.heard == things(3)


def test_things_are_told_a_minutes_worth_at_a_time() -> None:
    world = World(group=things(5))
    world.create(**rate(maximumPerMinute=2))
    assert len(world.states()) == 2
    world.later(59)
    assert len(world.states()) == 2
    world.later(1)
    assert len(world.states()) == 4
    world.later(60)
    assert len(world.states()) == 5


def test_an_exponential_rate_rises_with_successes() -> None:
    world = World(group=things(12))
    criteria = {"numberOfSucceededThings": 2}
    exponential = {"baseRatePerMinute": 2, "incrementFactor": 2.0, "rateIncreaseCriteria": criteria}
    world.create(**rate(exponentialRate=exponential))
    assert len(world.states()) == 2
    world.later(60)
    assert len(world.states()) == 4
    for thing in things(2):
        world.store.update(thing, "job", "SUCCEEDED", {})
    assert len(world.states()) == 6  # the minute that runs has room for two more
    world.later(60)
    assert len(world.states()) == 10


def test_later_members_are_told_at_once_whatever_the_rate() -> None:
    world = World(group=things(2))
    world.create(**rate(maximumPerMinute=1))
    world.groups["group"] += ["x", "y"]
    world.store.members_changed()
    assert sorted(world.states()) == ["t000", "x", "y"]


def test_a_snapshot_job_takes_no_later_members_and_completes() -> None:
    world = World(group=["a"])
    world.create(continuous=False)
    world.groups["group"] += ["b"]
    world.store.members_changed()
    world.store.update("a", "job", "SUCCEEDED", {})
    assert (world.states(), world.store.status("job")) == ({"a": "SUCCEEDED"}, "COMPLETED")


def test_a_continuous_job_never_completes() -> None:
    world = World(group=["a"])
    world.create()
    world.store.update("a", "job", "SUCCEEDED", {})
    assert world.store.status("job") == "IN_PROGRESS"


def test_one_that_leaves_is_removed_unless_it_has_begun() -> None:
    world = World(group=["a", "b"])
    world.create()
    world.store.update("a", "job", "IN_PROGRESS", {})
    world.groups["group"] = []
    world.store.members_changed()
    assert world.states() == {"a": "IN_PROGRESS", "b": "REMOVED"}
    world.groups["group"] = ["b"]
    world.store.members_changed()
    assert world.store.execution("job", "b").number == 2
    assert world.states()["b"] == "QUEUED"


def test_what_runs_comes_before_what_waits_and_older_before_newer() -> None:
    world = World(group=["a"])
    for job in ("one", "two", "three"):
        world.create(job)
    assert _next(world, "a") == "one"
    world.store.update("a", "two", "IN_PROGRESS", {})
    assert _next(world, "a") == "two"
    world.store.update("a", "two", "FAILED", {})
    assert _next(world, "a") == "one"
    assert world.store.next("a", "another") is None


def test_start_next_begins_it_once() -> None:
    world = World(group=["a"])
    world.create()
    first = world.store.start_next("a", NAMESPACE, {"step": "one"})
    again = world.store.start_next("a", NAMESPACE, {"step": "two"})
    assert first is not None
    assert (first.status, first.details) == ("IN_PROGRESS", {"step": "one"})
    assert again == first


def test_a_report_counts_the_version_up_and_keeps_details_that_are_not_given() -> None:
    world = World(group=["a"])
    world.create()
    world.store.update("a", "job", "IN_PROGRESS", {"k": "v"}, expected_version=1)
    found = world.store.update("a", "job", "SUCCEEDED", None)
    assert (found.version, found.details) == (3, {"k": "v"})


@pytest.mark.parametrize(
    ("status", "details", "version", "code"),
    [
        ("CANCELED", {}, None, "InvalidRequest"),
        ("TIMED_OUT", {}, None, "InvalidRequest"),
        ("IN_PROGRESS", {"k": "v" * 1025}, None, "InvalidRequest"),
        ("IN_PROGRESS", {"k": ""}, None, "InvalidRequest"),
        ("IN_PROGRESS", {}, 7, "VersionMismatch"),
    ],
)
def test_a_wrong_report_is_refused(
    status: str, details: dict[str, str], version: int | None, code: str
) -> None:
    world = World(group=["a"])
    world.create()
    with pytest.raises(CloudError) as caught:
        world.store.update("a", "job", status, details, version)
    assert caught.value.code == code
    assert world.states() == {"a": "QUEUED"}


def test_an_ended_execution_stays_as_it_is() -> None:
    world = World(group=["a"])
    world.create()
    world.store.update("a", "job", "FAILED", {})
    with pytest.raises(CloudError) as caught:
        world.store.update("a", "job", "SUCCEEDED", {})
    assert caught.value.code == "InvalidStateTransition"
    with pytest.raises(CloudError) as caught:
        world.store.get("a", "other")
    assert caught.value.code == "ResourceNotFound"


def test_a_device_that_does_not_finish_times_out() -> None:
    world = World(group=["a", "b"])
    world.create(timeoutConfig={"inProgressTimeoutInMinutes": 2})
    world.store.update("a", "job", "IN_PROGRESS", {})
    world.later(119)
    assert world.states()["a"] == "IN_PROGRESS"
    world.later(1)
    assert world.states() == {"a": "TIMED_OUT", "b": "QUEUED"}


@pytest.mark.parametrize(
    ("criteria", "reports", "canceled"),
    [
        (abort(percent=50, least=2), ["FAILED"], False),
        (abort(percent=50, least=2), ["FAILED", "SUCCEEDED"], True),
        (abort(percent=51, least=2), ["FAILED", "SUCCEEDED"], False),
        (abort("REJECTED", 50, 1), ["FAILED", "FAILED"], False),
        (abort("ALL", 100, 2), ["FAILED", "REJECTED"], True),
    ],
)
def test_a_job_is_aborted_by_its_criteria(
    criteria: dict[str, Any], reports: list[str], *, canceled: bool
) -> None:
    world = World(group=things(5))
    world.create(**criteria)
    for thing, report in zip(things(5), reports, strict=False):
        world.store.update(thing, "job", report, {})
    assert (world.store.status("job") == "CANCELED") is canceled
    waiting = Counter(world.states().values())["QUEUED"]
    assert waiting == (0 if canceled else 5 - len(reports))


def test_time_outs_count_for_the_abort_too() -> None:
    world = World(group=things(3))
    world.create(**abort("TIMED_OUT", 100, 1), timeoutConfig={"inProgressTimeoutInMinutes": 1})
    world.store.update("t000", "job", "IN_PROGRESS", {})
    world.later(60)
    assert world.states() == {"t000": "TIMED_OUT", "t001": "CANCELED", "t002": "CANCELED"}


def test_canceling_by_force_ends_what_runs() -> None:
    world = World(group=["a", "b"])
    world.create()
    world.store.update("a", "job", "IN_PROGRESS", {})
    world.store.cancel("job", "why", force=True)
    assert world.states() == {"a": "CANCELED", "b": "CANCELED"}
    with pytest.raises(ServiceError, match="CANCELED"):
        world.store.cancel("job", "again")


def test_a_running_job_is_deleted_by_force_only() -> None:
    world = World(group=["a"])
    world.create()
    with pytest.raises(ServiceError) as caught:
        world.store.delete("job", force=False)
    assert caught.value.code == "InvalidStateTransitionException"
    world.store.delete("job")
    assert world.store.next("a", NAMESPACE) is None


def test_a_job_id_is_used_once() -> None:
    world = World(group=["a"])
    world.create()
    with pytest.raises(ServiceError) as caught:
        world.create()
    assert caught.value.code == "ResourceAlreadyExistsException"


def _next(world: World, thing: str) -> str:
    found = world.store.next(thing, NAMESPACE)
    assert found is not None
    return found.job_id


class JobMachine(RuleBasedStateMachine):
    """Whatever devices, operators and the clock do, the counts add up and the end is the end."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(group=things(4))
        self.jobs = 0
        self.ended: dict[tuple[str, str, int], str] = {}

    @rule(per_minute=st.integers(1, 3), minutes=st.sampled_from([None, 1]))
    def create(self, per_minute: int, minutes: int | None) -> None:
        self.jobs += 1
        more = {"timeoutConfig": {"inProgressTimeoutInMinutes": minutes}} if minutes else {}
        self.world.create(
            f"job-{self.jobs}", **rate(maximumPerMinute=per_minute), **more, **abort()
        )

    @rule(thing=st.sampled_from(things(4)), status=st.sampled_from(sorted(REPORTABLE)))
    def report(self, thing: str, status: str) -> None:
        found = self.world.store.next(thing, NAMESPACE)
        if found is not None:
            self.world.store.update(thing, found.job_id, status, {})

    @rule(seconds=st.integers(1, 90))
    def wait(self, seconds: int) -> None:
        self.world.later(seconds)

    @rule(members=st.sets(st.sampled_from(things(6))))
    def change_members(self, members: set[str]) -> None:
        self.world.groups["group"] = sorted(members)
        self.world.store.members_changed()

    @rule(force=st.booleans())
    def cancel(self, *, force: bool) -> None:
        running = [j for j in self.world.store.all() if j.status == "IN_PROGRESS"]
        if running:
            self.world.store.cancel(running[0].id, None, force=force)

    @invariant()
    def what_has_ended_stays(self) -> None:
        for job in self.world.store.all():
            for execution in self.world.store.executions(job.id):
                key = (job.id, execution.thing, execution.number)
                if key in self.ended:
                    assert execution.status == self.ended[key]
                if execution.status in TERMINAL:
                    self.ended[key] = execution.status

    @invariant()
    def a_canceled_job_leaves_nothing_waiting(self) -> None:
        for job in self.world.store.all():
            if job.status == "CANCELED":
                assert "QUEUED" not in self.world.states(job.id).values()
                assert job.waiting == []

    @invariant()
    def no_thing_is_told_and_waits(self) -> None:
        for job in self.world.store.all():
            assert not set(job.waiting) & set(self.world.states(job.id))


TestJobMachine = JobMachine.TestCase
TestJobMachine.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)

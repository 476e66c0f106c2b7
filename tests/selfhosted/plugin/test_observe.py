from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edgectl import api
from edgectl.api import State

Publish = Callable[..., api.Release]
Deploy = Callable[..., api.DeployResult]


def test_a_device_that_was_never_given_the_release_is_not_listed(
    fleet: Any, publish: Publish, deploy: Deploy
) -> None:
    fleet.enroll("one")
    fleet.enroll("two")
    deploy(publish(1), "one")
    assert set(fleet.observe(1)) == {"one"}


def test_a_device_that_has_not_answered_yet_is_pending(
    fleet: Any, publish: Publish, deploy: Deploy
) -> None:
    fleet.enroll("one")
    deploy(publish(1), "one")
    status = fleet.observe(1)["one"]
    assert (status.state, status.release, status.raw) == (State.PENDING, 1, "pending")


@pytest.mark.parametrize(
    "state", [State.DOWNLOADING, State.INSTALLING, State.VERIFYING, State.SKIPPED]
)
def test_each_phase_is_told_in_the_devices_own_words(
    fleet: Any, publish: Publish, deploy: Deploy, state: State
) -> None:
    device = fleet.device("one")
    deploy(publish(1), "one")
    device.report(1, state)
    assert fleet.observe(1)["one"].state is state


def test_a_healthy_device_answers_with_release_and_digest(
    fleet: Any, publish: Publish, deploy: Deploy
) -> None:
    device = fleet.device("one")
    release = publish(1)
    deploy(release, "one")
    device.report(1, State.HEALTHY, active_release=1, active_package=release.package)
    status = fleet.observe(1)["one"]
    assert (status.state, status.active_release) == (State.HEALTHY, 1)
    assert status.active_package == release.package


def test_hawkbits_success_is_no_verdict_for_our_agent(
    fleet: Any, publish: Publish, deploy: Deploy
) -> None:
    device = fleet.device("one")
    device.report(0, State.PENDING)
    deploy(publish(1), "one")
    device.feedback("success")
    assert fleet.observe(1)["one"].state is State.PENDING


def test_a_device_that_rolled_back_tells_why_and_what_it_runs(
    fleet: Any, publish: Publish, deploy: Deploy
) -> None:
    device = fleet.device("one")
    deploy(publish(2), "one")
    device.report(
        2,
        State.ROLLED_BACK,
        reason="golden-failed",
        detail="3 of 20 samples differ",
        active_release=1,
        active_package="sha256:" + "b" * 64,
    )
    device.feedback("failure")
    status = fleet.observe(2)["one"]
    assert (status.state, status.reason) == (State.ROLLED_BACK, "golden-failed")
    assert status.detail == "3 of 20 samples differ"
    assert (status.active_release, status.active_package) == (1, "sha256:" + "b" * 64)


def test_a_foreign_client_is_judged_by_its_feedback(
    fleet: Any, publish: Publish, deploy: Deploy
) -> None:
    good, bad = fleet.device("good"), fleet.device("bad")
    deploy(publish(1), "good", "bad")
    good.feedback("success")
    bad.feedback("failure", details=("no space left",), code=28)
    found = fleet.observe(1)
    assert (found["good"].state, found["good"].raw) == (State.HEALTHY, "in_sync")
    assert found["bad"].state is State.FAILED
    assert "no space left" in found["bad"].detail
    assert found["bad"].raw.startswith("error")


def test_a_foreign_client_that_failed_is_told_also_without_a_release(
    fleet: Any, publish: Publish, deploy: Deploy
) -> None:
    bad = fleet.device("bad")
    deploy(publish(1), "bad")
    bad.feedback("failure", details=("no space left",))
    status = fleet.observe()["bad"]
    assert (status.state, status.release) == (State.FAILED, 1)


def test_a_device_that_failed_on_a_later_release_is_superseded_for_the_earlier(
    fleet: Any, publish: Publish, deploy: Deploy
) -> None:
    device = fleet.device("one")
    deploy(publish(1), "one")
    deploy(publish(2, seed="b"), "one")
    device.accept_cancel()
    device.report(2, State.FAILED, reason="disk-full")
    device.feedback("failure")
    assert fleet.observe(1)["one"].state is State.SUPERSEDED
    assert fleet.observe(2)["one"].reason == "disk-full"


def test_a_device_that_was_given_another_release_since_is_superseded(
    fleet: Any, publish: Publish, deploy: Deploy
) -> None:
    device = fleet.device("one")
    deploy(publish(1), "one")
    deploy(publish(2, seed="b"), "one")
    device.report(2, State.DOWNLOADING)
    assert fleet.observe(1)["one"].state is State.SUPERSEDED
    assert fleet.observe(2)["one"].state is State.DOWNLOADING


def test_only_the_asked_devices_are_told(fleet: Any, publish: Publish, deploy: Deploy) -> None:
    for name in ("one", "two", "three"):
        fleet.enroll(name)
    deploy(publish(1), "one", "two", "three")
    assert set(fleet.observe(1, devices=(fleet.name("two"), fleet.name("three")))) == {
        "two",
        "three",
    }


def test_a_device_outside_the_selector_is_not_told(
    fleet: Any, publish: Publish, deploy: Deploy
) -> None:
    fleet.enroll("one")
    deploy(publish(1), "one")
    other = api.Target(name="x", provider="selfhosted", selector={"tags": {"fleet": "none"}})
    request = api.ObserveRequest(target=other, application=fleet.application, release=1)
    assert list(fleet.provider.observe(request)) == []


def test_another_applications_release_of_that_number_is_nothing(
    fleet: Any, publish: Publish, deploy: Deploy
) -> None:
    device = fleet.device("one")
    deploy(publish(1), "one")
    device.report(1, State.HEALTHY, active_release=1)
    request = api.ObserveRequest(target=fleet.target, application="other", release=1)
    assert list(fleet.provider.observe(request)) == []


def test_without_a_release_each_device_tells_what_it_did_last(
    fleet: Any, publish: Publish, deploy: Deploy
) -> None:
    old, new, late = fleet.device("old"), fleet.device("new"), fleet.device("late")
    fleet.enroll("idle")
    first = publish(1)
    deploy(first, "old", "new", "late")
    for device in (old, new, late):
        device.report(1, State.HEALTHY, active_release=1, active_package=first.package)
        device.feedback("success")
    second = publish(2, seed="b")
    deploy(second, "new", "late")
    new.report(
        2,
        State.HEALTHY,
        active_release=2,
        active_package=second.package,
        variant="int8",
        provider="CPUExecutionProvider",
    )
    new.feedback("success")
    found = fleet.observe()
    assert set(found) == {"old", "new", "late"}
    assert (found["old"].release, found["old"].active_package) == (1, first.package)
    assert (found["new"].release, found["new"].active_package) == (2, second.package)
    assert (found["new"].variant, found["new"].execution_provider) == (
        "int8",
        "CPUExecutionProvider",
    )
    assert (found["late"].release, found["late"].state) == (2, State.PENDING)
    assert (found["late"].active_release, found["late"].active_package) == (1, first.package)


def test_a_device_that_was_called_back_stands_where_it_stood(
    fleet: Any, publish: Publish, deploy: Deploy
) -> None:
    device = fleet.device("one")
    first = publish(1)
    deploy(first, "one")
    active = {"active_release": 1, "active_package": first.package}
    device.report(1, State.HEALTHY, **active)
    device.feedback("success")
    deploy(publish(2, seed="b"), "one")
    device.report(2, State.SKIPPED, reason="canceled", **active)
    request = api.WithdrawRequest(target=fleet.target, application=fleet.application, release=2)
    fleet.provider.withdraw(request)
    device.accept_cancel()
    assert fleet.observe(2) == {}
    status = fleet.observe()["one"]
    assert (status.state, status.release) == (State.HEALTHY, 1)
    assert status.active_package == first.package


def test_a_device_that_speaks_of_a_release_the_server_forgot_is_told(fleet: Any) -> None:
    device = fleet.device("one")
    device.report(41, State.HEALTHY, active_release=41, active_package="sha256:" + "c" * 64)
    status = fleet.observe()["one"]
    assert (status.release, status.state) == (41, State.HEALTHY)
    assert status.active_package == "sha256:" + "c" * 64


def test_a_device_that_was_brought_a_release_which_the_server_does_not_know_is_told(
    fleet: Any, publish: Publish, deploy: Deploy
) -> None:
    brought, ordered = fleet.device("brought"), fleet.device("ordered")
    deploy(publish(1), "brought", "ordered")
    for device in (brought, ordered):
        device.report(1, State.HEALTHY, active_release=1)
        device.feedback("success")
        device.report(5, State.HEALTHY, active_release=5, active_package="sha256:" + "c" * 64)
    deploy(publish(6, seed="b"), "ordered")
    found = fleet.observe()
    assert (found["brought"].release, found["brought"].state) == (5, State.HEALTHY)
    assert found["brought"].active_package == "sha256:" + "c" * 64
    assert (found["ordered"].release, found["ordered"].state) == (6, State.PENDING)
    assert found["ordered"].active_release == 5


def test_a_device_that_never_called_is_unreachable_after_a_while(
    fleet: Any, publish: Publish, deploy: Deploy, open_plugin: Callable[..., api.Provider]
) -> None:
    fleet.enroll("one")
    deploy(publish(1), "one")
    impatient = open_plugin(unreachable_after_s=1e-3)
    request = api.ObserveRequest(target=fleet.target, application=fleet.application, release=1)

    (status,) = impatient.observe(request)
    assert (status.state, status.reason) == (State.UNREACHABLE, "not-seen")
    (patient,) = fleet.provider.observe(request)
    assert patient.state is State.PENDING


def test_calls_do_not_grow_with_healthy_devices(
    fleet: Any, publish: Publish, deploy: Deploy, wire: Any
) -> None:
    release = publish(1)
    counts = []
    for batch in (("a",), ("b", "c", "d", "e", "f")):
        devices = [fleet.device(name) for name in batch]
        deploy(release, *batch)
        for device in devices:
            device.report(1, State.HEALTHY, active_release=1)
        wire.clear()
        assert {s.state for s in fleet.observe(1).values()} == {State.HEALTHY}
        counts.append(len(wire.calls))
    assert counts[0] == counts[1]


def test_devices_that_wait_for_their_download_window_say_until_when_in_few_calls(
    fleet: Any, publish: Publish, deploy: Deploy, wire: Any
) -> None:
    names = ["a", "b", "c", "d", "e", "f"]
    devices = [fleet.device(name) for name in names]
    deploy(publish(1), *names)
    says = ["waits for its download window until 22:00", 'waits until Mon 02:00 "*\\']
    for place, device in enumerate(devices[:5]):
        device.report(1, State.DOWNLOADING, reason="download-window", detail=says[place == 4])
    devices[5].report(1, State.DOWNLOADING)
    wire.clear()
    found = fleet.observe(1)
    assert [found[name].detail for name in names] == [*[says[0]] * 4, says[1], ""]
    assert {found[name].reason for name in names[:5]} == {"download-window"}
    assert found["f"].reason == ""
    asked = len(wire.calls)
    devices[5].report(1, State.DOWNLOADING, reason="download-window", detail=says[0])
    wire.clear()
    assert fleet.observe(1)["f"].detail == says[0]
    assert len(wire.calls) <= asked

"""What a node and its pods mean: every state that a device can be in, from documents."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl.api import DeviceReport, DeviceStatus, Reason, State
from edgectl_gke_edge import names
from edgectl_gke_edge.seen import read_node, read_pod, read_time
from edgectl_gke_edge.states import (
    Look,
    Patience,
    judge,
    node_look,
    read_refused,
    superseded_by,
    unreachable,
    write_refused,
)

NOW = 1_800_000_000.0
PACKAGE = "sha256:" + "a" * 64
PATIENCE = Patience(progress_s=600.0, unreachable_s=40.0)


def stamp(ago_s: float) -> str:
    then = dt.datetime.fromtimestamp(NOW - ago_s, dt.UTC)
    return then.strftime("%Y-%m-%dT%H:%M:%SZ")


def node(*releases: int, ready: bool = True, ago_s: float = 3600, **more: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "node-1",
            "labels": {names.release_key("plates", n): "x86-64-cpu" for n in releases},
            "annotations": more.pop("annotations", {}),
        },
        "spec": {},
        "status": {
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True" if ready else "Unknown",
                    "reason": "NodeStatusUnknown",
                    "message": "Kubelet stopped posting node status.",
                    "lastTransitionTime": stamp(ago_s),
                }
            ],
            **more,
        },
    }


def pod(release: int, status: dict[str, Any], *, age_s: float = 60, **more: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": f"plates-r{release}-x",
            "labels": {names.RELEASE: str(release)},
            "annotations": {names.PACKAGE: PACKAGE, names.SOAK: "10"},
            "creationTimestamp": stamp(age_s),
            **more,
        },
        "spec": {"nodeName": "node-1"},
        "status": status,
    }


def container(name: str, state: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "state": state, "restartCount": 0, **more}


def ended(code: int, message: str = "", reason: str = "Error") -> dict[str, Any]:
    told = {"exitCode": code, "reason": reason, "message": message, "finishedAt": stamp(5)}
    return {"terminated": told}


def report(**fields: Any) -> str:
    return msgspec.json.encode(DeviceReport(**fields)).decode()


PREPARED = container(
    "prepare", ended(0, report(variant="int8", provider="CPUExecutionProvider"), "Completed")
)


def running(ready_for_s: float | None, *, restarts: int = 0, **last: Any) -> dict[str, Any]:
    ready = {
        "type": "Ready",
        "status": "False" if ready_for_s is None else "True",
        "lastTransitionTime": stamp(ready_for_s or 0),
    }
    runtime = container("runtime", {"running": {}}, **last) | {"restartCount": restarts}
    return {
        "phase": "Running",
        "conditions": [ready],
        "initContainerStatuses": [PREPARED],
        "containerStatuses": [runtime],
    }


def preparing(state: dict[str, Any], last: dict[str, Any] | None = None, restarts: int = 0) -> Any:
    one = container("prepare", state, lastState=last or {}) | {"restartCount": restarts}
    return {"phase": "Pending", "initContainerStatuses": [one]}


BACK_OFF = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}


def look(there: dict[str, Any], *pods: dict[str, Any]) -> Look:
    return node_look("lot-1", read_node(there), "plates", [read_pod(one) for one in pods])


def judged(seen: Look, release: int | None = None) -> DeviceStatus:
    status = judge(seen, release, now=NOW, patience=PATIENCE)
    assert status is not None
    return status


def test_a_device_that_was_never_given_the_release_is_not_listed() -> None:
    assert judge(look(node()), None, now=NOW, patience=PATIENCE) is None
    assert judge(look(node(7)), 8, now=NOW, patience=PATIENCE) is None


def test_a_node_without_a_pod_yet_waits() -> None:
    assert judged(look(node(7))).state is State.PENDING


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ({"phase": "Pending"}, State.DOWNLOADING),
        (preparing({"waiting": {"reason": "PodInitializing"}}), State.DOWNLOADING),
        (preparing({"running": {}}), State.VERIFYING),
        (
            {"phase": "Pending", "initContainerStatuses": [PREPARED]},
            State.INSTALLING,
        ),
        (running(None), State.INSTALLING),
        (running(3), State.VERIFYING),
        (running(30), State.HEALTHY),
    ],
)
def test_a_pod_goes_through_the_states_of_every_device(
    status: dict[str, Any], state: State
) -> None:
    assert judged(look(node(7), pod(7, status))).state is state


def test_a_healthy_device_says_since_when_and_with_what() -> None:
    status = judged(look(node(7), pod(7, running(30))))
    assert (status.active_release, status.active_package) == (7, PACKAGE)
    assert (status.variant, status.execution_provider) == ("int8", "CPUExecutionProvider")
    assert status.since == NOW - 20
    assert status.device == "lot-1/node-1"


def test_a_refusal_is_told_with_the_device_s_own_reason() -> None:
    told = report(state=State.FAILED, reason=Reason.GOLDEN_FAILED, detail="off by 1")
    status = judged(look(node(7), pod(7, preparing(BACK_OFF, ended(10, told), 1))))
    assert (status.state, status.reason, status.detail) == (
        State.FAILED,
        Reason.GOLDEN_FAILED,
        "off by 1",
    )
    assert status.active_release == 0


def test_a_refusal_while_the_pod_before_answers_is_a_way_back() -> None:
    told = report(state=State.FAILED, reason=Reason.GOLDEN_FAILED)
    seen = look(node(6, 7), pod(6, running(900)), pod(7, preparing(BACK_OFF, ended(10, told), 3)))
    status = judged(seen)
    assert (status.state, status.active_release) == (State.ROLLED_BACK, 6)


def test_what_may_right_itself_is_no_failure_until_the_pod_had_long_enough() -> None:
    told = report(state=State.DOWNLOADING, reason=Reason.DOWNLOAD_FAILED, detail="refused")
    status = preparing(BACK_OFF, ended(12, told), 9)
    assert judged(look(node(7), pod(7, status))).state is State.DOWNLOADING
    late = judged(look(node(7), pod(7, status, age_s=601)))
    assert (late.state, late.reason) == (State.FAILED, Reason.DOWNLOAD_FAILED)


def test_a_pod_that_waits_for_its_window_has_not_failed_however_long_that_takes() -> None:
    says = "waits for its download window until 22:00"
    told = report(state=State.DOWNLOADING, reason=Reason.DOWNLOAD_WINDOW, detail=says)
    waits = preparing({"running": {}}, ended(12, told), 1)
    status = judged(look(node(7), pod(7, waits, age_s=40_000)))
    assert (status.state, status.reason) == (State.DOWNLOADING, Reason.DOWNLOAD_WINDOW)
    assert status.detail == says


def test_a_pod_whose_window_has_opened_has_its_time_from_then_on() -> None:
    opened = preparing({"running": {}}, ended(12, report(state=State.DOWNLOADING)), 2)
    assert judged(look(node(7), pod(7, opened, age_s=40_000))).state is State.DOWNLOADING


def test_a_prepare_that_crashes_counts_after_a_second_try() -> None:
    once = preparing(BACK_OFF, ended(1, "Traceback: no memory of it"), 0)
    assert judged(look(node(7), pod(7, once))).state is State.DOWNLOADING
    twice = preparing(BACK_OFF, ended(1, "Traceback: no memory of it"), 1)
    status = judged(look(node(7), pod(7, twice)))
    assert (status.state, status.reason) == (State.FAILED, Reason.INTERNAL)
    assert "Traceback" in status.detail


def test_too_little_memory_is_told_as_such() -> None:
    killed = preparing(BACK_OFF, ended(137, "", "OOMKilled"), 1)
    status = judged(look(node(7), pod(7, killed)))
    assert (status.state, status.reason, status.raw) == (
        State.FAILED,
        Reason.LOAD_FAILED,
        "OOMKilled",
    )


@pytest.mark.parametrize(
    ("word", "said", "state"),
    [
        ("ErrImagePull", "not found", State.DOWNLOADING),
        ("ImagePullBackOff", "Back-off pulling image: not found", State.FAILED),
        ("ImagePullBackOff", "Back-off: 403 Forbidden", State.FAILED),
        ("ImagePullBackOff", "Back-off: dial tcp: i/o timeout", State.DOWNLOADING),
        ("InvalidImageName", "couldn't parse", State.FAILED),
    ],
)
def test_an_image_that_will_not_come_has_failed_and_one_that_may_come_has_not(
    word: str, said: str, state: State
) -> None:
    waiting = {"waiting": {"reason": word, "message": said}}
    status = judged(look(node(7), pod(7, preparing(waiting))))
    assert (status.state, status.reason, status.raw) == (state, Reason.DOWNLOAD_FAILED, word)
    assert status.detail == said


def test_a_pod_that_no_node_takes_fails_when_it_waited_long_enough() -> None:
    waiting = {
        "phase": "Pending",
        "conditions": [
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": "Insufficient memory",
            }
        ],
    }
    assert judged(look(node(7), pod(7, waiting))).state is State.PENDING
    status = judged(look(node(7), pod(7, waiting, age_s=700)))
    assert (status.state, status.reason) == (State.FAILED, Reason.HARDWARE_MISMATCH)
    assert "Insufficient memory" in status.detail


def test_a_runtime_that_crashes_has_failed() -> None:
    status = running(None, restarts=2, lastState=ended(1, "bad model"))
    found = judged(look(node(7), pod(7, status)))
    assert (found.state, found.reason) == (State.FAILED, Reason.RUNTIME_CRASHED)
    assert found.detail == "bad model"


def test_a_node_that_the_cluster_lost_is_unreachable_and_not_failed() -> None:
    status = judged(look(node(7, ready=False), pod(7, running(900))))
    assert (status.state, status.reason, status.raw) == (
        State.UNREACHABLE,
        Reason.NOT_SEEN,
        "NodeNotReady",
    )
    assert status.since == NOW - 3600


def test_a_node_that_was_lost_a_moment_ago_is_given_time() -> None:
    assert judged(look(node(7, ready=False, ago_s=10), pod(7, running(900)))).state is State.HEALTHY


def test_asked_about_an_older_release_a_device_is_superseded() -> None:
    seen = look(node(6, 7), pod(6, running(900)), pod(7, running(30)))
    status = judged(seen, 6)
    assert (status.state, status.active_release) == (State.SUPERSEDED, 7)


def test_while_two_answer_a_plan_is_told_of_the_older_one() -> None:
    seen = look(node(6, 7), pod(6, running(900)), pod(7, running(30)))
    assert judged(seen).active_release == 6
    assert judged(seen, 7).active_release == 7


def test_the_release_before_is_let_go_only_once_the_new_one_has_proved_itself() -> None:
    def older(status: dict[str, Any]) -> tuple[int, ...]:
        seen = look(node(5, 6, 7), pod(6, running(900)), pod(7, status))
        return superseded_by(seen, judged(seen, 7))

    assert older(running(30)) == (5, 6)
    assert older(running(3)) == ()
    assert older(preparing({"running": {}})) == ()


def test_a_refused_release_that_was_taken_off_again_is_still_told() -> None:
    failed = DeviceStatus(
        device="lot-1/node-1",
        state=State.FAILED,
        release=7,
        reason=Reason.GOLDEN_FAILED,
        detail="off by 1",
    )
    kept = {names.refused_key("plates"): write_refused(failed)}
    seen = look(node(6, annotations=kept), pod(6, running(900)))
    status = judged(seen)
    assert (status.release, status.state, status.active_release) == (7, State.ROLLED_BACK, 6)
    assert judged(seen, 7).reason == Reason.GOLDEN_FAILED
    assert judged(seen, 6).state is State.HEALTHY


@given(st.text(max_size=200))
def test_an_annotation_of_any_text_is_read_without_an_error(text: str) -> None:
    read_refused(text)
    read_time(text)


def test_a_pod_that_was_evicted_does_not_hide_its_successor() -> None:
    gone = pod(7, {"phase": "Failed", "reason": "Evicted"}, age_s=100)
    assert judged(look(node(7), gone)).state is State.PENDING
    assert judged(look(node(7), gone, pod(7, running(30)))).state is State.HEALTHY


def test_a_pod_that_is_ending_neither_counts_nor_answers() -> None:
    ending = pod(7, running(900), deletionTimestamp=stamp(1))
    status = judged(look(node(7), ending))
    assert (status.state, status.active_release) == (State.PENDING, 0)


def test_a_daemon_set_s_pod_that_waits_belongs_to_the_node_it_waits_for() -> None:
    waiting = pod(7, {"phase": "Pending"})
    field = {"key": "metadata.name", "operator": "In", "values": ["node-1"]}
    terms = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    waiting["spec"] = {
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
    }
    assert read_pod(waiting).node == "node-1"


def test_a_cluster_is_as_healthy_as_its_replicas() -> None:
    def cluster(*pods: dict[str, Any]) -> DeviceStatus:
        seen = Look(device="lot-1", given=(6, 7), pods=tuple(read_pod(p) for p in pods), replicas=2)
        return judged(seen, 7)

    assert cluster(pod(7, running(30))).state is State.PENDING
    assert cluster(pod(7, running(30)), pod(7, running(30))).state is State.HEALTHY
    assert cluster(pod(7, running(30)), pod(7, preparing({"running": {}}))).state is State.VERIFYING
    told = report(state=State.FAILED, reason=Reason.GOLDEN_FAILED)
    bad = pod(7, preparing(BACK_OFF, ended(10, told), 1))
    assert cluster(pod(6, running(900)), pod(6, running(900)), bad).state is State.ROLLED_BACK


def test_a_cluster_that_cannot_be_reached_is_told_with_the_reason() -> None:
    status = unreachable("lot-1/node-1", 7, "cluster 'lot-1' cannot be reached", "DISCONNECTED")
    assert (status.state, status.release, status.raw) == (State.UNREACHABLE, 7, "DISCONNECTED")


def test_documents_of_another_version_or_without_a_status_are_read() -> None:
    assert read_pod({}).release == 0
    assert read_node({}).is_ready is False
    assert read_pod({"metadata": {"labels": {names.RELEASE: "seven"}}}).release == 0

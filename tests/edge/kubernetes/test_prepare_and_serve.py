"""The two programs of a pod, with the real updater and the real runtime."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from device import free_port
from edge_packages import Publisher
from pod_support import Pod, get

from edge_components.contract.state import Reason, State

REQUEST = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 0, 0, 0]}]}


def wait(condition: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def test_a_prepared_release_answers_and_its_soak_ends_healthy(pod: Pod) -> None:
    package = pod.package(2.0)
    folder = pod.deliver(3, package, soak_s=0.2)
    code, report = pod.prepare(folder, "--release", "3", "--package", package.digest)
    assert (code, report.state, report.release, report.active_release) == (
        0,
        State.VERIFYING,
        3,
        0,
    )
    assert (report.package, report.variant) == (package.digest, "fp32")
    port = free_port()
    runtime = pod.serve(port, EDGE_POD_DEVICE="node-1", EDGE_POD_HOST="127.3.2.1")
    url = f"http://127.3.2.1:{port}"
    try:
        wait(lambda: get(f"{url}/v2/health/ready") is not None, "the runtime is not ready")
        answer = get(f"{url}/v2/models/plates/infer", REQUEST)
        assert answer["outputs"][0]["data"][0] == 2.0
        wait(lambda: get(f"{url}/edgectl/report")["state"] == "healthy", "it soaks for ever")
        told = get(f"{url}/edgectl/report")
        assert (told["active_release"], told["active_package"]) == (3, package.digest)
    finally:
        runtime.send_signal(signal.SIGTERM)
        assert runtime.wait(20) == 0


def test_a_golden_check_that_fails_is_refused_with_the_reason_in_the_termination_message(
    pod: Pod,
) -> None:
    code, report = pod.prepare(pod.deliver(2, pod.package(3.0, golden=5.0)), "--release", "2")
    assert (code, report.state, report.reason, report.release) == (
        10,
        State.FAILED,
        Reason.GOLDEN_FAILED,
        2,
    )
    assert pod.serve(free_port()).wait(20) == 1


@pytest.mark.slow
def test_another_release_than_the_pod_s_is_refused_though_it_is_signed(pod: Pod) -> None:
    code, report = pod.prepare(pod.deliver(2, pod.package()), "--release", "3")
    assert (code, report.reason) == (10, Reason.BAD_PACKAGE)
    assert "release 2 was delivered" in report.detail


@pytest.mark.slow
def test_another_package_than_the_pod_s_is_refused(pod: Pod) -> None:
    folder = pod.deliver(2, pod.package())
    code, report = pod.prepare(folder, "--package", "sha256:" + "0" * 64)
    assert (code, report.reason) == (10, Reason.DIGEST_MISMATCH)


@pytest.mark.slow
def test_a_release_of_a_stranger_is_refused(pod: Pod) -> None:
    code, report = pod.prepare(pod.deliver(2, pod.package(), signer=Publisher()), "--release", "2")
    assert (code, report.reason, report.release) == (10, Reason.UNTRUSTED_PUBLISHER, 2)


@pytest.mark.slow
def test_a_folder_without_a_release_may_have_one_at_the_next_try(pod: Pod) -> None:
    empty = pod.folder / "empty"
    empty.mkdir()
    code, report = pod.prepare(empty, "--release", "2")
    assert (code, report.reason, report.release) == (12, Reason.DOWNLOAD_FAILED, 2)
    assert pod.prepare(pod.deliver(2, pod.package()), "--release", "2")[0] == 0
    assert pod.prepare(pod.deliver(2, pod.package()), "--release", "2")[0] == 0


@pytest.mark.slow
def test_a_node_that_keeps_a_ledger_takes_no_older_release_but_the_one_before(
    tmp_path: Path,
) -> None:
    publisher = Publisher()
    cache = tmp_path / "cache"
    pods = {n: Pod(tmp_path / f"pod-{n}", publisher=publisher) for n in (1, 2, 3)}
    package = pods[1].package()

    def run(pod: Pod, number: int) -> tuple[int, str]:
        code, report = pod.prepare(
            pod.deliver(number, package), "--node-cache", str(cache), "--release", str(number)
        )
        return code, report.reason

    assert run(pods[2], 2) == (0, "")
    assert run(pods[3], 3) == (0, "")
    assert run(Pod(tmp_path / "again", publisher=publisher), 2) == (0, "")
    assert run(pods[1], 1) == (10, Reason.RELEASE_NOT_NEWER)


@pytest.mark.slow
def test_a_runtime_that_is_killed_in_its_soak_says_so_when_it_is_started_again(pod: Pod) -> None:
    assert pod.prepare(pod.deliver(1, pod.package(), soak_s=600))[0] == 0
    port = free_port()
    url = f"http://127.0.0.1:{port}/edgectl/report"
    first = pod.serve(port)
    wait(lambda: (get(url) or {}).get("detail") == "soaking", "it does not soak")
    first.kill()
    first.wait(20)
    second = pod.serve(port)
    try:
        wait(lambda: (get(url) or {}).get("active_release") == 1, "it does not come back")
        assert (get(url)["state"], get(url)["reason"]) == ("failed", "runtime-crashed")
    finally:
        second.kill()
        second.wait(20)

"""A core device that is killed, cut off or started late."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

from aws_site import CoreDevice, Site

HELLO = "com.example.Hello"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _version(core: CoreDevice) -> str:
    state = json.loads(core.read("config/state.json"))
    return str(state["components"].get(HELLO, {}).get("version"))


def test_after_a_kill_the_components_run_again_and_nothing_of_before_is_left(site: Site) -> None:
    script = "echo $$ >> $HERE/pids; exec sleep 600"
    site.component(HELLO, "1.0.0", {"Run": {"Script": script}})
    core = site.device()
    site.result("core-1", site.deploy("core-1", 1, {HELLO: "1.0.0"}))
    first = int(site.until(lambda: core.read("pids").split())[0])
    core.kill()
    assert _alive(first)
    core.start()
    site.until(lambda: len(core.read("pids").split()) == 2)
    site.until(lambda: not _alive(first))
    site.until(lambda: core.health()[-1]["trigger"] == "NUCLEUS_LAUNCH")


def test_a_kill_during_the_download_is_resumed_by_the_same_job(site: Site) -> None:
    site.component(HELLO, "1.0.0", {"Startup": "echo up >> $HERE/said"}, files={"a": b"x" * 1_000})
    core = site.device()
    site.bucket.gate = lambda _path: core.kill() if core.process else None
    job_id = site.deploy("core-1", 1, {HELLO: "1.0.0"})
    site.until(lambda: core.process is not None and core.process.poll() is not None)
    site.bucket.gate = lambda _path: None
    assert site.cloud.jobs.get("core-1", job_id).status == "IN_PROGRESS"
    core.start()
    assert site.result("core-1", job_id)[0] == "SUCCEEDED"
    assert core.read("said").split() == ["up"]


def test_a_kill_in_the_middle_of_the_switch_is_resumed_and_can_still_be_rolled_back(
    site: Site,
) -> None:
    site.component(HELLO, "1.0.0", {"Startup": "echo good >> $HERE/said"})
    # The first start of version 2 hangs until the device is killed, later ones fail.
    script = "echo new >> $HERE/said; [ -e $HERE/again ] && exit 1; touch $HERE/again; sleep 600"
    site.component(HELLO, "2.0.0", {"Startup": {"Script": script}})
    core = site.device()
    site.result("core-1", site.deploy("core-1", 1, {HELLO: "1.0.0"}))
    job_id = site.deploy("core-1", 2, {HELLO: "2.0.0"})
    site.until(lambda: "new" in core.read("said"))
    core.kill()
    assert _version(core) == "2.0.0"
    core.start()
    status, details = site.result("core-1", job_id)
    assert (status, details["detailed-deployment-status"]) == ("FAILED", "FAILED_ROLLBACK_COMPLETE")
    assert _version(core) == "1.0.0"
    assert core.read("said").split()[-1] == "good"


def test_a_result_is_told_when_the_connection_is_back(site: Site) -> None:
    site.component(
        HELLO, "1.0.0", {"Startup": "touch $HERE/begun; until [ -e $HERE/go ]; do sleep 0.1; done"}
    )
    core = site.device()
    job_id = site.deploy("core-1", 1, {HELLO: "1.0.0"})
    site.until((core.root / "begun").exists)
    port = site.broker.port
    site.broker.stop()
    (core.root / "go").touch()
    site.until(lambda: "SUCCESSFUL" in core.read("logs/greengrass.log"))
    assert site.cloud.jobs.get("core-1", job_id).status == "IN_PROGRESS"
    site.broker = _broker(site, port)
    assert site.result("core-1", job_id)[0] == "SUCCEEDED"


def _broker(site: Site, port: int) -> Any:
    from edgectl_aws_greengrass.emulator.broker.server import Broker  # noqa: PLC0415

    found = Broker(site.cloud, site.authority.server_context(), port=port)
    found.start()
    return found


def test_a_data_plane_that_is_down_delays_a_deployment_and_does_not_fail_it(site: Site) -> None:
    site.component(HELLO, "1.0.0", {"Startup": "echo up >> $HERE/said"}, files={"a": b"x"})
    path = f"/artifacts/{HELLO}/1.0.0/a"
    site.bucket.refusals[path] = 503
    core = site.device()
    job_id = site.deploy("core-1", 1, {HELLO: "1.0.0"})
    site.until(lambda: len(site.bucket.asked) >= 2)
    site.bucket.refusals.clear()
    assert site.result("core-1", job_id)[0] == "SUCCEEDED"
    assert core.read("said").split() == ["up"]


def test_a_device_that_starts_late_takes_the_job_that_waits(site: Site) -> None:
    site.component(HELLO, "1.0.0", {"Startup": "true"})
    job_id = site.deploy("core-1", 1, {HELLO: "1.0.0"})
    site.device()
    assert site.result("core-1", job_id)[0] == "SUCCEEDED"


def test_ending_the_nucleus_ends_its_components_with_their_shutdown(site: Site) -> None:
    site.component(
        HELLO,
        "1.0.0",
        {
            "Run": {"Script": "echo $$ > $HERE/pid; exec sleep 600"},
            "Shutdown": {"Script": "echo bye > $HERE/bye"},
        },
    )
    core = site.device()
    site.result("core-1", site.deploy("core-1", 1, {HELLO: "1.0.0"}))
    pid = int(site.until(lambda: core.read("pid").strip()))
    core.stop()
    assert core.process is not None
    assert core.process.returncode == 0
    assert core.read("bye") == "bye\n"
    assert not _alive(pid)


def test_a_configuration_file_without_endpoints_is_a_usage_error(site: Site) -> None:
    core = CoreDevice(site, "core-9")
    core.config.write_text("system: {thingName: core-9}\nservices: {}\n")
    core.start()
    assert core.process is not None
    assert core.process.wait(30) == 2
    assert "'aws.greengrass.NucleusLite'" in core.read("console.log")


def test_a_dependency_that_dies_takes_its_dependents_through_a_restart(site: Site) -> None:
    base = "com.example.Base"
    script = "echo $$ >> $HERE/pids; exec sleep 600"
    site.component(base, "1.0.0", {"Run": {"Script": script}})
    site.component(
        HELLO, "1.0.0", {"Startup": {"Script": "echo up >> $HERE/said"}}, needs={base: "*"}
    )
    core = site.device()
    site.result("core-1", site.deploy("core-1", 1, {HELLO: "1.0.0"}))
    os.kill(int(core.read("pids").split()[0]), signal.SIGKILL)
    site.until(lambda: core.read("said").split() == ["up", "up"])
    assert len(core.read("pids").split()) == 2

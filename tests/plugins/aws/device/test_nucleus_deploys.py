"""A core device as a process: deployments by job and by shadow, to their good or bad end."""

from __future__ import annotations

import json
import sys
from typing import Any

from aws_site import Site

HELLO = "com.example.Hello"
BASE = "com.example.Base"


def _writes(text: str) -> dict[str, Any]:
    return {"Startup": {"Script": f"echo {text} >> $HERE/said"}}


def test_a_job_brings_a_component_up_and_is_told(site: Site) -> None:
    site.component(
        HELLO,
        "1.0.0",
        {
            "Setenv": {"WHO": "{configuration:/who}"},
            "Install": "cp {artifacts:path}/data.txt {work:path}/data.txt",
            "Startup": {"Script": 'echo "$WHO on {iot:thingName}" > $HERE/said'},
        },
        files={"data.txt": b"content"},
        configuration={"who": "nobody"},
    )
    change = {"version": "1.0.0", "configurationUpdate": {"merge": {"who": "somebody"}}}
    job_id = site.deploy("core-1", 1, {HELLO: change})
    core = site.device()
    assert site.result("core-1", job_id) == (
        "SUCCEEDED",
        {"detailed-deployment-status": "SUCCESSFUL"},
    )
    assert core.read("said") == "somebody on core-1\n"
    assert core.read(f"work/{HELLO}/data.txt") == "content"
    site.until(lambda: core.states().get(HELLO) == "RUNNING")
    last = core.health()[-1]
    assert last["trigger"] == "THING_GROUP_DEPLOYMENT"
    assert last["deploymentInformation"]["status"] == "SUCCEEDED"
    statuses = [each.status for each in site.cloud.jobs.history]
    assert statuses == ["IN_PROGRESS", "SUCCEEDED"]


def test_dependencies_are_resolved_started_first_and_restarted_with(site: Site) -> None:
    site.component(BASE, "1.0.0", _writes("base-1"))
    site.component(BASE, "1.4.0", _writes("base-1.4"))
    site.component(BASE, "2.0.0", _writes("base-2"))
    site.component(HELLO, "1.0.0", _writes("hello"), needs={BASE: ">=1.0.0 <2.0.0"})
    core = site.device()
    site.result("core-1", site.deploy("core-1", 1, {HELLO: "1.0.0"}))
    assert core.read("said").split() == ["base-1.4", "hello"]
    site.result("core-1", site.deploy("core-1", 2, {HELLO: "1.0.0", BASE: "1.0.0"}))
    assert core.read("said").split()[2:] == ["base-1", "hello"]


def test_a_component_that_is_not_named_any_more_is_stopped_and_told_gone(site: Site) -> None:
    site.component(
        HELLO, "1.0.0", {**_writes("up"), "Shutdown": {"Script": "echo down >> $HERE/said"}}
    )
    site.component(BASE, "1.0.0", _writes("base"))
    core = site.device()
    site.result("core-1", site.deploy("core-1", 1, {HELLO: "1.0.0", BASE: "1.0.0"}))
    site.result("core-1", site.deploy("core-1", 2, {BASE: "1.0.0"}))
    said = core.read("said").split()
    assert sorted(said[:2]) == ["base", "up"]
    assert said[2:] == ["down"]
    site.until(lambda: core.states()[HELLO] == "FINISHED")
    gone = [each for each in core.health()[-1]["components"] if each["componentName"] == HELLO]
    assert gone[0]["fleetConfigArns"] == []


def test_other_groups_components_stay_until_the_thing_leaves_the_group(site: Site) -> None:
    site.component(HELLO, "1.0.0", _writes("hello"))
    site.component(BASE, "1.0.0", _writes("base"))
    core = site.device()
    site.cloud.things.memberships["core-1"] = ["parking", "monitoring"]
    site.result("core-1", site.deploy("core-1", 1, {BASE: "1.0.0"}, group="monitoring"))
    site.result("core-1", site.deploy("core-1", 1, {HELLO: "1.0.0"}))
    site.until(lambda: core.states() and {HELLO, BASE} <= set(core.states()))
    site.cloud.things.memberships["core-1"] = ["parking"]
    site.component(HELLO, "1.1.0", _writes("hello"))
    site.result("core-1", site.deploy("core-1", 2, {HELLO: "1.1.0"}))
    site.until(lambda: core.states()[BASE] == "FINISHED")
    assert json.loads(core.read("config/state.json"))["components"].keys() == {HELLO}


def test_a_subdeployment_stands_for_its_parent(site: Site) -> None:
    site.component(HELLO, "1.0.0", _writes("one"))
    site.component(HELLO, "2.0.0", _writes("two"))
    core = site.device()
    site.cloud.things.memberships["core-1"] = ["parking", "parking-canary"]
    site.result("core-1", site.deploy("core-1", 1, {HELLO: "1.0.0"}))
    job_id = site.deploy(
        "core-1", 1, {HELLO: "2.0.0"}, group="parking-canary", onBehalfOf="parking"
    )
    assert site.result("core-1", job_id)[0] == "SUCCEEDED"
    assert core.read("said").split() == ["one", "two"]


def test_a_startup_that_fails_three_times_is_rolled_back(site: Site) -> None:
    site.component(HELLO, "1.0.0", _writes("good"))
    site.component(
        HELLO,
        "2.0.0",
        {"Startup": {"Script": "echo bad >> $HERE/said; exit 11"}},
    )
    core = site.device()
    site.result("core-1", site.deploy("core-1", 1, {HELLO: "1.0.0"}))
    status, details = site.result("core-1", site.deploy("core-1", 2, {HELLO: "2.0.0"}))
    assert status == "FAILED"
    assert details == {
        "detailed-deployment-status": "FAILED_ROLLBACK_COMPLETE",
        "deployment-failure-cause": f"Service {HELLO} in broken state after deployment",
        "deployment-error-stack": "[DEPLOYMENT_FAILURE, COMPONENT_UPDATE_ERROR, COMPONENT_BROKEN]",
        "deployment-error-types": "[USER_COMPONENT_ERROR]",
    }
    assert core.read("said").split() == ["good", "bad", "bad", "bad", "good"]
    state = json.loads(core.read("config/state.json"))
    assert state["components"][HELLO]["version"] == "1.0.0"

    def told() -> Any:
        return core.health()[-1].get("deploymentInformation", {}).get("statusDetails", {})

    site.until(lambda: told().get("errorStack", [""])[-1] == "COMPONENT_BROKEN")


def test_a_failed_first_deployment_leaves_the_device_without_the_component(site: Site) -> None:
    site.component(HELLO, "1.0.0", {"Startup": {"Script": "exit 1"}})
    core = site.device()
    status, details = site.result("core-1", site.deploy("core-1", 1, {HELLO: "1.0.0"}))
    assert (status, details["detailed-deployment-status"]) == ("FAILED", "FAILED_ROLLBACK_COMPLETE")
    assert json.loads(core.read("config/state.json"))["components"] == {}


def test_without_rollback_the_broken_component_stays_and_the_device_is_unhealthy(
    site: Site,
) -> None:
    site.component(HELLO, "1.0.0", {"Startup": {"Script": "exit 1"}})
    core = site.device()
    job_id = site.deploy("core-1", 1, {HELLO: "1.0.0"}, failureHandlingPolicy="DO_NOTHING")
    details = site.result("core-1", job_id)[1]
    assert details["detailed-deployment-status"] == "FAILED_ROLLBACK_NOT_REQUESTED"
    site.until(lambda: core.states().get(HELLO) == "BROKEN")
    assert core.health()[-1]["overallDeviceStatus"] == "UNHEALTHY"


def test_a_startup_over_its_time_is_a_failure(site: Site) -> None:
    site.component(HELLO, "1.0.0", {"Startup": {"Script": "sleep 60", "Timeout": "1"}})
    core = site.device()
    job_id = site.deploy("core-1", 1, {HELLO: "1.0.0"}, failureHandlingPolicy="DO_NOTHING")
    assert site.result("core-1", job_id)[0] == "FAILED"
    site.until(lambda: core.states().get(HELLO) == "BROKEN")
    broken = [each for each in core.health()[-1]["components"] if each["componentName"] == HELLO]
    assert broken[0]["componentStatusDetails"]["statusCodes"] == ["STARTUP_TIMEOUT"]


def test_a_run_that_crashes_is_restarted_and_breaks_after_the_third_time(site: Site) -> None:
    site.component(HELLO, "1.0.0", {"Run": {"Script": "echo x >> $HERE/said; sleep 1; exit 3"}})
    core = site.device()
    assert site.result("core-1", site.deploy("core-1", 1, {HELLO: "1.0.0"}))[0] == "SUCCEEDED"
    site.until(lambda: core.states().get(HELLO) == "BROKEN")
    assert core.read("said").split() == ["x", "x", "x"]


def test_a_version_that_does_not_exist_changes_nothing(site: Site) -> None:
    site.device()
    status, details = site.result("core-1", site.deploy("core-1", 1, {HELLO: "9.0.0"}))
    assert (status, details["detailed-deployment-status"]) == ("FAILED", "FAILED_NO_STATE_CHANGE")
    assert "NO_AVAILABLE_COMPONENT_VERSION" in details["deployment-error-stack"]
    assert HELLO in details["deployment-failure-cause"]


def test_a_tampered_artifact_is_refused(site: Site) -> None:
    site.component(HELLO, "1.0.0", _writes("x"), files={"model.onnx": b"good"})
    site.bucket.objects[f"/artifacts/{HELLO}/1.0.0/model.onnx"] = b"evil"
    core = site.device()
    details = site.result("core-1", site.deploy("core-1", 1, {HELLO: "1.0.0"}))[1]
    assert details["deployment-error-stack"].endswith("ARTIFACT_CHECKSUM_MISMATCH]")
    assert not core.read("said")
    assert not core.read(f"packages/artifacts/{HELLO}/1.0.0/model.onnx")


def test_a_bucket_that_denies_is_a_permission_error(site: Site) -> None:
    site.component(HELLO, "1.0.0", _writes("x"), files={"model.onnx": b"good"})
    site.bucket.refusals[f"/artifacts/{HELLO}/1.0.0/model.onnx"] = 403
    site.device()
    details = site.result("core-1", site.deploy("core-1", 1, {HELLO: "1.0.0"}))[1]
    assert "S3_HEAD_OBJECT_ACCESS_DENIED" in details["deployment-error-stack"]
    assert details["deployment-error-types"] == "[DEPENDENCY_ERROR, PERMISSION_ERROR]"


def test_a_full_disk_fails_before_the_download(site: Site) -> None:
    site.component(HELLO, "1.0.0", _writes("x"), files={"model.onnx": b"x" * 100_000})
    site.device(options=["--disk-bytes", str(1 << 20)])
    details = site.result("core-1", site.deploy("core-1", 1, {HELLO: "1.0.0"}))[1]
    assert details["detailed-deployment-status"] == "FAILED_NO_STATE_CHANGE"
    assert details["deployment-error-stack"].endswith("DISK_SPACE_CRITICAL]")
    assert details["deployment-error-types"] == "[DEVICE_ERROR]"
    assert ("GET", f"/artifacts/{HELLO}/1.0.0/model.onnx") not in site.bucket.asked


def test_a_disk_can_become_full_and_free_again(site: Site) -> None:
    site.component(HELLO, "1.0.0", _writes("x"), files={"model.onnx": b"x" * 100_000})
    core = site.device()
    site.until(core.health)
    (core.root / "disk-bytes").write_text("1000000")
    details = site.result("core-1", site.deploy("core-1", 1, {HELLO: "1.0.0"}))[1]
    assert details["deployment-error-stack"].endswith("DISK_SPACE_CRITICAL]")
    (core.root / "disk-bytes").unlink()
    assert site.result("core-1", site.deploy("core-1", 2, {HELLO: "1.0.0"}))[0] == "SUCCEEDED"


def test_components_get_the_roles_credentials_when_token_exchange_is_deployed(site: Site) -> None:
    exchange = "aws.greengrass.TokenExchangeService"
    script = (
        f"'{sys.executable}' -c 'import os, urllib.request as u;"
        ' uri = os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"];'
        ' token = os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN"];'
        ' ask = lambda t: u.urlopen(u.Request(uri, headers={"Authorization": t})).read().decode();'
        " print(ask(token))' > $HERE/said; true"
    )
    site.component(exchange, "2.0.3", {})
    site.component(HELLO, "1.0.0", {"Startup": {"Script": script}}, needs={exchange: "*"})
    core = site.device()
    assert site.result("core-1", site.deploy("core-1", 1, {HELLO: "1.0.0"}))[0] == "SUCCEEDED"
    assert json.loads(core.read("said")) == {
        "AccessKeyId": "ASIATEST",
        "SecretAccessKey": "secret",
        "Token": "token",
        "Expiration": "2099-01-01T00:00:00Z",
    }


def test_a_store_at_its_limit_fails_the_deployment(site: Site) -> None:
    site.component(HELLO, "1.0.0", _writes("x"), files={"model.onnx": b"x" * 100_000})
    site.device(componentStoreMaxSizeBytes=50_000)
    details = site.result("core-1", site.deploy("core-1", 1, {HELLO: "1.0.0"}))[1]
    assert "100000 bytes needed" in details["deployment-failure-cause"]


def test_configuration_lasts_is_merged_and_reset(site: Site) -> None:
    site.component(
        HELLO,
        "1.0.0",
        {"Startup": {"Script": "echo '{configuration:/a}{configuration:/b}' >> $HERE/said"}},
        configuration={"a": "1", "b": "1"},
    )
    core = site.device()

    def deploy(number: int, update: dict[str, Any]) -> None:
        change = {"version": "1.0.0", "configurationUpdate": update}
        site.result("core-1", site.deploy("core-1", number, {HELLO: change}))

    deploy(1, {"merge": {"a": "2", "b": "2"}})
    deploy(2, {"merge": {"a": "3"}})
    deploy(3, {"reset": ["/a"]})
    assert core.read("said").split() == ["22", "32", "12"]


def test_the_same_components_again_restart_nothing(site: Site) -> None:
    site.component(HELLO, "1.0.0", _writes("up"))
    core = site.device()
    site.result("core-1", site.deploy("core-1", 1, {HELLO: "1.0.0"}))
    assert site.result("core-1", site.deploy("core-1", 2, {HELLO: "1.0.0"}))[0] == "SUCCEEDED"
    assert core.read("said").split() == ["up"]


def test_a_bootstrap_runs_once_for_a_version_and_may_restart_the_nucleus(site: Site) -> None:
    script = "echo boot >> $HERE/said; exit 100"
    site.component(HELLO, "1.0.0", {"Bootstrap": {"Script": script}, **_writes("up")})
    core = site.device()
    assert site.result("core-1", site.deploy("core-1", 1, {HELLO: "1.0.0"}))[0] == "SUCCEEDED"
    assert core.read("said").split() == ["boot", "up"]


def test_a_bootstrap_that_fails_changes_nothing(site: Site) -> None:
    site.component(HELLO, "1.0.0", {"Bootstrap": {"Script": "exit 7"}, **_writes("up")})
    core = site.device()
    details = site.result("core-1", site.deploy("core-1", 1, {HELLO: "1.0.0"}))[1]
    assert details["deployment-error-stack"].endswith("COMPONENT_BOOTSTRAP_ERROR]")
    assert not core.read("said")


def test_a_thing_is_deployed_to_by_its_shadow(site: Site) -> None:
    site.component(HELLO, "1.0.0", _writes("up"))
    core = site.device()
    arn = "arn:aws:greengrass:eu-west-1:123456789012:configuration:thing/core-1:1"
    document = {**site.document(1, {HELLO: "1.0.0"}), "configurationArn": arn}
    desired = {"fleetConfig": json.dumps(document), "desiredStatus": "DEPLOYED"}
    name = "AWSManagedGreengrassV2Deployment"
    payload = json.dumps({"state": {"desired": desired}}).encode()
    site.cloud.shadows.update("core-1", name, payload)

    def reported() -> Any:
        return json.loads(site.cloud.shadows.get("core-1", name))["state"].get("reported", {})

    site.until(lambda: reported().get("status") == "SUCCEEDED")
    assert reported()["fleetConfigurationArnForStatus"] == arn
    assert reported()["statusDetails"] == {"detailedStatus": "SUCCESSFUL"}
    assert core.read("said").split() == ["up"]


def test_a_job_that_is_cancelled_during_the_download_changes_nothing(site: Site) -> None:
    site.component(HELLO, "1.0.0", _writes("x"), files={"model.onnx": b"x" * 1_000})
    site.component(BASE, "1.0.0", _writes("base"))
    core = site.device()
    jobs = site.cloud.jobs

    def cancel(_path: str) -> None:
        jobs.cancel("core-1", "job-deployment-parking-1")
        site.until(lambda: "was cancelled" in core.read("logs/greengrass.log"))

    site.bucket.gate = cancel
    job_id = site.deploy("core-1", 1, {HELLO: "1.0.0"})
    assert site.result("core-1", job_id)[0] == "CANCELED"
    assert site.result("core-1", site.deploy("core-1", 2, {BASE: "1.0.0"}))[0] == "SUCCEEDED"
    assert core.read("said").split() == ["base"]


def test_a_long_document_is_fetched_whole(site: Site) -> None:
    site.component(HELLO, "1.0.0", _writes("up"))
    whole = site.document(1, {HELLO: "1.0.0"})
    site.cloud.greengrass.configurations[whole["deploymentId"]] = json.dumps(whole).encode()
    core = site.device()
    short = {**whole, "components": {}, "requiredCapabilities": ["LARGE_CONFIGURATION"]}
    site.cloud.jobs.add("core-1", "job-1", short)
    assert site.result("core-1", "job-1")[0] == "SUCCEEDED"
    assert core.read("said").split() == ["up"]

"""A virtual edgeAgent at a hub: deployments are carried out and reported."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from azure_devices import Runner, Service, eventually, manifest, module, shell

from edgectl_azure_iot_edge.emulator.edge.agent import AgentPace
from edgectl_azure_iot_edge.emulator.edge.restarts import Pace
from edgectl_azure_iot_edge.emulator.images import ImageContent

SLEEP = shell("echo began; exec sleep 1000")


def status(service: Service, code: int, device: str = "d1") -> Any:
    """Return what is reported once the deployment that is wanted ended with a code."""

    def look() -> Any:
        twin = service.twin(device, "$edgeAgent")["properties"]
        reported = twin["reported"]
        if reported["lastDesiredVersion"] != twin["desired"]["$version"]:
            return None
        return reported if reported["lastDesiredStatus"]["code"] == code else None

    return eventually(look)


def runs(service: Service, name: str, wanted: str = "running") -> Any:
    def look() -> Any:
        found = service.reported("d1")["modules"][name]
        return found if found["runtimeStatus"] == wanted else None

    return eventually(look)


def test_a_deployment_is_carried_out_and_reported(devices: Runner, service: Service) -> None:
    image = devices.push("app", SLEEP)
    devices.start()
    eventually(lambda: service.reported("d1").get("lastDesiredStatus", {}).get("code") == 417)
    service.deploy("d1", manifest({"app": module(image, env={"A": {"value": "1"}})}))
    reported = status(service, 200)
    app = reported["modules"]["app"]
    assert app["runtimeStatus"] == "running"
    assert app["settings"]["imageHash"].startswith("sha256:")
    assert app["env"] == {"A": {"value": "1"}}
    assert reported["systemModules"]["edgeHub"]["runtimeStatus"] == "running"
    assert reported["systemModules"]["edgeAgent"]["settings"]["image"] == "mcr.example/agent:1.5"
    identity = service.call("GET", "devices/d1/modules/app")
    assert identity["managedBy"].lower() == "iotedge"
    service.deploy("d1", manifest({}))
    assert status(service, 200)["modules"] == {}
    assert "app" not in devices.running["d1"][0].engine.containers()
    kept = {entry["moduleId"] for entry in service.call("GET", "devices/d1/modules")}
    assert kept == {"$edgeAgent", "$edgeHub"}


def test_a_deployment_that_is_none_is_400_and_changes_nothing(
    devices: Runner, service: Service
) -> None:
    image = devices.push("app", SLEEP)
    devices.start()
    service.deploy("d1", manifest({"app": module(image)}))
    status(service, 200)
    broken = module(image)
    broken["settings"]["createOptions"] = "{"
    service.deploy("d1", manifest({"app": broken}))
    reported = status(service, 400)
    assert reported["lastDesiredStatus"]["description"] == "Agent configuration format is invalid."
    assert reported["modules"]["app"]["runtimeStatus"] == "running"


def test_an_agent_that_leaves_stops_its_modules_and_says_406(
    devices: Runner, service: Service
) -> None:
    image = devices.push("app", SLEEP)
    device = devices.start()
    service.deploy("d1", manifest({"app": module(image)}))
    status(service, 200)
    devices.stop()
    reported = service.reported("d1")
    assert reported["lastDesiredStatus"] == {"code": 406, "description": "Agent is not running"}
    assert reported["modules"]["app"]["runtimeStatus"] == "unknown"
    assert device.engine.containers()["app"].state == "exited"


def test_a_slow_pull_is_a_500_that_passes(devices: Runner, service: Service) -> None:
    image = devices.push("app", SLEEP)
    devices.faults(pull_delay_s=2.0)
    devices.start(pull_wait_s=0.3)
    service.deploy("d1", manifest({"app": module(image)}))
    reported = status(service, 500)
    assert "The operation was canceled" in reported["lastDesiredStatus"]["description"]
    assert "app" not in reported["modules"]
    assert status(service, 200)["modules"]["app"]["runtimeStatus"] == "running"


def test_an_image_that_is_not_there_fails_as_docker_says(devices: Runner, service: Service) -> None:
    devices.start()
    service.deploy("d1", manifest({"app": module(f"{devices.registry.host}/none:1")}))
    description = status(service, 500)["lastDesiredStatus"]["description"]
    assert "Could not pull image" in description
    assert "not found" in description


def test_a_full_disk_fails_the_pull(devices: Runner, service: Service) -> None:
    image = devices.push("app", SLEEP)
    devices.faults(disk_bytes=10)
    devices.start()
    service.deploy("d1", manifest({"app": module(image)}))
    description = status(service, 500)["lastDesiredStatus"]["description"]
    assert "no space left on device" in description
    devices.faults()
    status(service, 200)


def test_pulls_that_fail_too_often_wedge_the_device_until_another_version_comes(
    devices: Runner, service: Service
) -> None:
    devices.start()
    env = {"CoolOffTimeUnitInSeconds": {"value": "0"}, "MaxRestartCount": {"value": "2"}}
    content = manifest({"app": module(f"{devices.registry.host}/late:1")}, agent_env=env)
    service.deploy("d1", content)
    wedged = "Step previously failed in deployment"
    eventually(lambda: wedged in service.reported("d1")["lastDesiredStatus"]["description"])
    devices.push("late", SLEEP)
    before = service.reported("d1")["$version"]
    devices.running["d1"][0].agent.round()
    assert service.reported("d1")["$version"] == before
    env["nudge"] = {"value": "1"}
    service.deploy(
        "d1",
        manifest(
            content["modulesContent"]["$edgeAgent"]["properties.desired"]["modules"], agent_env=env
        ),
    )
    status(service, 200)


def test_a_wedged_device_goes_on_when_its_agent_is_told_to_start_anew(
    devices: Runner, service: Service
) -> None:
    devices.start()
    env = {"CoolOffTimeUnitInSeconds": {"value": "0"}, "MaxRestartCount": {"value": "2"}}
    service.deploy(
        "d1", manifest({"app": module(f"{devices.registry.host}/later:1")}, agent_env=env)
    )
    wedged = "Step previously failed in deployment"
    eventually(lambda: wedged in service.reported("d1")["lastDesiredStatus"]["description"])
    devices.push("later", SLEEP)
    restart = {"schemaVersion": "1.0", "id": "edgeAgent"}
    assert service.method("d1", "$edgeAgent", "RestartModule", restart)["status"] == 200
    status(service, 200)


def test_a_module_that_crashes_is_restarted_and_counted(devices: Runner, service: Service) -> None:
    image = devices.push("app", shell("exit 3"))
    devices.start()
    service.deploy("d1", manifest({"app": module(image)}))

    def look() -> Any:
        found = service.reported("d1")["modules"]["app"]
        return found if found["restartCount"] >= 2 else None

    app = eventually(look)
    assert app["exitCode"] == 3
    assert service.reported("d1")["lastDesiredStatus"]["code"] == 200


def test_a_module_that_is_never_restarted_stays_failed_or_stopped(
    devices: Runner, service: Service
) -> None:
    good, bad = devices.push("good", shell("exit 0")), devices.push("bad", shell("exit 1"))
    devices.start()
    service.deploy(
        "d1",
        manifest(
            {
                "good": module(good, restartPolicy="never"),
                "bad": module(bad, restartPolicy="never"),
            }
        ),
    )
    assert runs(service, "good", "stopped")["restartCount"] == 0
    assert runs(service, "bad", "failed")["restartCount"] == 0


def test_a_module_killed_after_its_start_is_seen_in_backoff(
    devices: Runner, service: Service
) -> None:
    image = devices.push("app", SLEEP)
    devices.faults(crash_after_s={"app": 0.2})
    devices.start(pace=AgentPace(cycle_s=0.3, restarts=Pace(unit_s=60.0)))
    service.deploy("d1", manifest({"app": module(image)}))
    app = runs(service, "app", "backoff")
    assert app["exitCode"] == 137


def test_modules_start_in_their_order_and_stop_when_it_is_wanted(
    devices: Runner, service: Service
) -> None:
    image = devices.push("app", SLEEP)
    device = devices.start()
    wanted = {
        "second": module(image, startupOrder=2),
        "first": module(image, startupOrder=1),
        "off": module(image, status="stopped"),
    }
    service.deploy("d1", manifest(wanted))
    status(service, 200)
    made = device.engine.containers()
    assert made["first"].started_at < made["second"].started_at
    assert made["off"].state == "created"
    wanted["first"]["status"] = "stopped"
    service.deploy("d1", manifest(wanted))
    status(service, 200)
    assert runs(service, "first", "stopped")
    assert device.engine.containers()["second"].started_at == made["second"].started_at


def test_direct_methods_of_the_agent(devices: Runner, service: Service) -> None:
    image = devices.push("app", SLEEP)
    device = devices.start()
    service.deploy("d1", manifest({"app": module(image)}))
    status(service, 200)
    assert service.method("d1", "$edgeAgent", "ping")["status"] == 200
    request: dict[str, Any] = {"schemaVersion": "1.0", "items": [{"id": "app"}]}
    printed = [{"id": "app", "payload": "began\n"}]
    eventually(
        lambda: service.method("d1", "$edgeAgent", "GetModuleLogs", request)["payload"] == printed
    )
    before = device.engine.containers()["app"].started_at
    restart = {"schemaVersion": "1.0", "id": "app"}
    assert service.method("d1", "$edgeAgent", "RestartModule", restart)["status"] == 200
    assert device.engine.containers()["app"].started_at > before
    restart["id"] = "none"
    refused = service.method("d1", "$edgeAgent", "RestartModule", restart)
    assert (refused["status"], "not found" in refused["payload"]["message"]) == (500, True)
    assert service.method("d1", "$edgeAgent", "Sing")["status"] == 400


def test_a_device_goes_on_without_its_hub_and_after_a_restart(
    devices: Runner, service: Service
) -> None:
    image = devices.push("app", SLEEP)
    devices.start()
    service.deploy("d1", manifest({"app": module(image)}))
    status(service, 200)
    devices.stop()
    devices.faults(network_cut=True)
    device = devices.start()
    eventually(lambda: device.engine.containers()["app"].state == "running")
    assert service.reported("d1")["lastDesiredStatus"]["code"] == 406
    devices.faults()
    status(service, 200)


def test_a_clock_that_is_wrong_is_refused_by_the_hub(
    devices: Runner, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "edgectl_azure_iot_edge.emulator.edge.agent")
    devices.faults(skew_s=-100_000.0)
    devices.start()
    service.deploy("d1", manifest({}))
    eventually(lambda: ": 401 " in caplog.text)
    assert "lastDesiredStatus" not in service.reported("d1")
    devices.faults()
    status(service, 200)


def test_a_module_sees_its_environment_binds_and_identity(
    devices: Runner, service: Service
) -> None:
    script = (
        "cat /etc/edgectl/device.toml; echo data > /var/lib/edgectl/out; env;"
        " cat /opt/own.txt; touch /etc/edgectl/no || echo readonly; exec sleep 1000"
    )
    content = ImageContent(
        files={"opt/own.txt": b"of the image\n"},
        config={"Entrypoint": ["sh", "-c"], "Cmd": [script], "Env": ["FROM_IMAGE=1", "BOTH=image"]},
    )
    image = devices.push("app", content)
    etc = devices.place("d1") / "root" / "etc" / "edgectl"
    etc.mkdir(parents=True)
    (etc / "device.toml").write_text("mine\n")
    device = devices.start()
    options = {
        "Env": ["BOTH=options", "FROM_OPTIONS=1"],
        "HostConfig": {
            "Binds": ["/etc/edgectl:/etc/edgectl:ro", "/var/lib/edgectl:/var/lib/edgectl"]
        },
    }
    service.deploy("d1", manifest({"app": module(image, options=options)}))
    status(service, 200)
    text = eventually(
        lambda: (log := device.engine.log("app").decode()) and "readonly" in log and log
    )
    lines = text.splitlines()
    assert "mine" in lines
    assert "of the image" in lines
    assert {"FROM_IMAGE=1", "BOTH=options", "FROM_OPTIONS=1", "IOTEDGE_MODULEID=app"} <= set(lines)
    out = devices.place("d1") / "root" / "var" / "lib" / "edgectl" / "out"
    assert out.read_text() == "data\n"

"""What a container on a virtual node sees, and what becomes of it."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest
from node_support import NodeSite, condition, ended, state

from edgectl.api import append_layer
from edgectl_gke_edge.emulator.images import push_image


def test_volumes_stand_at_their_mount_paths_and_the_root_is_read_only(site: NodeSite) -> None:
    site.create(
        "configmaps",
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}},
    )
    secret = base64.b64encode(b"hidden").decode()
    site.create(
        "secrets",
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"p": secret}},
    )
    field = {"path": "labels", "fieldRef": {"fieldPath": "metadata.name"}}
    volumes = [
        {"name": "config", "configMap": {"name": "c"}},
        {"name": "secret", "secret": {"secretName": "s", "items": [{"key": "p", "path": "x/y"}]}},
        {"name": "down", "downwardAPI": {"items": [field]}},
        {
            "name": "both",
            "projected": {
                "sources": [{"configMap": {"name": "c"}}, {"downwardAPI": {"items": [field]}}]
            },
        },
        {"name": "work", "emptyDir": {}},
    ]
    paths = {"config": "/etc/app", "secret": "/secret", "down": "/down", "both": "/both"}
    mounts = [{"name": n, "mountPath": p} for n, p in {**paths, "work": "/data/dir"}.items()]
    script = (
        "cat /etc/app/a /secret/x/y /down/labels /both/a /both/labels; echo; id -u; "
        "echo 2 > /data/dir/out && cat /data/dir/out; "
        "touch /etc/app/b || echo config is fixed; touch /z || echo root is fixed"
    )
    container = {
        "volumeMounts": mounts,
        "securityContext": {"readOnlyRootFilesystem": True, "runAsUser": 4242},
    }
    pod = site.once("p", script, container=container, volumes=volumes)
    assert ended(pod)["exitCode"] == 0
    lines = [line for line in site.log("p").splitlines() if "touch:" not in line]
    assert lines == ["1hiddenp1p", "4242", "2", "config is fixed", "root is fixed"]


@pytest.mark.slow
def test_what_init_containers_leave_in_a_shared_folder_is_there_for_the_container(
    site: NodeSite,
) -> None:
    mount = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    inits = [
        site.container("sleep 0.2; echo one >> /v/order", **mount) | {"name": "first"},
        site.container("echo two >> /v/order", **mount) | {"name": "second"},
    ]
    main = site.container("cat /v/order > /dev/termination-log", **mount)
    volumes = [{"name": "v", "emptyDir": {}}]
    spec = site.spec(main, initContainers=inits, volumes=volumes, restartPolicy="Never")
    site.pod("p", spec)
    pod = site.until_phase("p", "Succeeded", "Failed")
    assert ended(pod)["message"] == "one\ntwo\n"
    assert [ended(pod, n, init=True)["reason"] for n in ("first", "second")] == ["Completed"] * 2


def test_an_init_container_that_fails_for_good_fails_the_pod_with_its_message(
    site: NodeSite,
) -> None:
    init = site.container("echo broken > /dev/termination-log; exit 10") | {"name": "first"}
    spec = site.spec(site.container("true"), initContainers=[init], restartPolicy="Never")
    site.pod("p", spec)
    pod = site.until_phase("p", "Failed")
    told = ended(pod, "first", init=True)
    assert (told["exitCode"], told["message"]) == (10, "broken\n")
    assert state(pod)["state"]["waiting"]["reason"] == "PodInitializing"
    assert condition(pod, "Initialized") == "False"


@pytest.mark.slow
def test_without_a_message_the_end_of_the_log_is_told_where_that_is_asked_for(
    site: NodeSite,
) -> None:
    policy = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    pod = site.once("p", "echo lost its way; exit 3", container=policy)
    assert ended(pod)["message"] == "lost its way\n"


@pytest.mark.slow
def test_a_container_that_ends_again_and_again_is_started_again_with_back_off(
    site: NodeSite,
) -> None:
    site.pod("p", site.spec(site.container("exit 7")))

    def backs_off() -> bool:
        now = state(site.get("pods", "p"))
        waits = now["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff"
        return waits and now["restartCount"] >= 2

    site.until(backs_off, "it does not back off")
    now = state(site.get("pods", "p"))
    assert now["lastState"]["terminated"]["exitCode"] == 7
    assert site.events("BackOff")


@pytest.mark.slow
def test_a_program_that_is_not_there_is_a_start_error(site: NodeSite) -> None:
    spec = site.spec(
        {"name": "main", "image": site.image, "command": ["/no/such/program"]},
        restartPolicy="Never",
    )
    site.pod("p", spec)
    told = ended(site.until_phase("p", "Failed"))
    assert (told["reason"], told["exitCode"]) == ("StartError", 128)
    assert "/no/such/program" in told["message"]


@pytest.mark.slow
def test_a_container_that_takes_more_memory_than_it_may_is_killed(site: NodeSite) -> None:
    script = "exec python3 -c 'x = bytearray(200 << 20); import time; time.sleep(60)'"
    limits = {"resources": {"limits": {"memory": "64Mi"}}}
    pod = site.once("p", script, container=limits)
    assert (ended(pod)["reason"], ended(pod)["exitCode"]) == ("OOMKilled", 137)


def test_root_is_refused_where_the_pod_says_that_it_must_not_be(site: NodeSite) -> None:
    site.pod("p", site.spec(site.container("true"), securityContext={"runAsNonRoot": True}))

    def told() -> str:
        waiting = state(site.get("pods", "p"))["state"].get("waiting", {})
        return waiting["message"] if waiting.get("reason") == "CreateContainerConfigError" else ""

    assert "runAsNonRoot" in site.until(told, "it is started")


@pytest.mark.slow
def test_an_image_that_is_missing_is_waited_for_and_pulled_once_it_is_there(
    site: NodeSite,
) -> None:
    image = f"{site.registry.host}/test/later:1"
    container = {"name": "main", "image": image, "command": ["sh", "-c", "sleep 600"]}
    site.pod("p", site.spec(container))

    def reason() -> str:
        waiting = state(site.get("pods", "p"))["state"].get("waiting", {})
        return str(waiting.get("reason", ""))

    site.until(lambda: reason() in ("ErrImagePull", "ImagePullBackOff"), "it is not told")
    assert any("not found" in text for text in site.events("Failed"))
    push_image(site.registry.host, "test/later", "1", {})
    site.until_ready("p")


@pytest.mark.slow
def test_a_container_s_variables_come_from_pod_config_map_and_each_other(site: NodeSite) -> None:
    site.create(
        "configmaps",
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"K": "v"}},
    )
    env = [
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "KEY", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "K"}}},
        {"name": "ALL", "value": "$(NODE)/$(KEY)"},
    ]
    pod = site.once("p", "echo $ALL $IP > /dev/termination-log", container={"env": env})
    node, address = pod["spec"]["nodeName"], pod["status"]["podIP"]
    assert ended(pod)["message"] == f"{node}/v {address}\n"
    assert address.startswith(site.block.network)


def test_logs_are_read_through_the_api_server_whole_and_in_part(site: NodeSite) -> None:
    site.pod(
        "p", site.spec(site.container("echo a; echo b; sleep 0.5; echo c"), restartPolicy="Never")
    )
    site.until_phase("p", "Running", "Succeeded")
    assert site.log("p", follow="true") == "a\nb\nc\n"
    assert site.log("p", tailLines=1) == "c\n"
    stamped = site.log("p", timestamps="true").splitlines()
    assert stamped[0].endswith("Z a")
    assert site.log("p", container="none").find("container none is not valid") >= 0


def needed_by(program: str) -> dict[str, Path]:
    """Return a program and the libraries that it is linked with, by their paths in an image."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    paths = [word for word in listed.split() if word.startswith("/")]
    return {path.lstrip("/"): Path(path).resolve() for path in [program, *paths]}


@pytest.mark.slow
def test_an_image_of_its_own_is_the_whole_root(site: NodeSite, tmp_path: Path) -> None:
    files = {**needed_by("/bin/sh"), **needed_by("/bin/ls"), "only/here": tmp_path / "here"}
    (tmp_path / "here").write_text("x")
    target = f"{site.registry.host}/test/whole:1"
    digest = append_layer("scratch", files, target, environment={"PATH": "/bin"}).digest
    image = f"{site.registry.host}/test/whole@{digest}"
    script = "ls / > /dev/termination-log; cd /root"
    container = {"name": "main", "image": image, "command": ["sh", "-c", script]}
    site.pod("p", site.spec(container, restartPolicy="Never"))
    told = ended(site.until_phase("p", "Succeeded", "Failed"))
    seen = set(told["message"].split())
    assert {"bin", "only", "proc", "dev", "tmp"} <= seen
    assert not {"root", "home", "var"} & seen
    assert told["exitCode"] == 2

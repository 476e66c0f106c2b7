"""What a kubelet decides, without a container."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl_gke_edge.emulator.nodes.crowd import FAILS, pretended_status
from edgectl_gke_edge.emulator.nodes.kubelet.backoff import BackOff
from edgectl_gke_edge.emulator.nodes.kubelet.environment import expand
from edgectl_gke_edge.emulator.nodes.kubelet.images import (
    Image,
    PullError,
    image_command,
    parse_reference,
)
from edgectl_gke_edge.emulator.nodes.kubelet.logs import parse_line
from edgectl_gke_edge.emulator.nodes.kubelet.network import Addresses, NodeNetwork
from edgectl_gke_edge.emulator.nodes.kubelet.probes import Streak, timing_of
from edgectl_gke_edge.emulator.nodes.kubelet.rootfs import Mount, Root, plan
from edgectl_gke_edge.emulator.nodes.kubelet.status import Ended, Facts, pod_phase, qos_class
from edgectl_gke_edge.emulator.nodes.proxy import backends
from edgectl_gke_edge.emulator.nodes.quantities import parse_quantity
from edgectl_gke_edge.emulator.nodes.scheduler import Room, choose
from edgectl_gke_edge.emulator.nodes.selection import (
    named_nodes,
    node_fits,
    selects,
    tolerates,
)

Obj = dict[str, Any]


@pytest.mark.parametrize(
    ("text", "number"), [("500m", "0.5"), ("1Gi", "1073741824"), ("2", "2"), ("1e3", "1000")]
)
def test_quantities_mean_numbers(text: str, number: str) -> None:
    assert str(parse_quantity(text).normalize().__format__("f")) == number


def test_what_is_no_quantity_is_refused() -> None:
    with pytest.raises(ValueError, match="'1Q' is not a quantity"):
        parse_quantity("1Q")


def test_selectors_ask_for_labels_and_expressions() -> None:
    selector = {
        "matchLabels": {"a": "1"},
        "matchExpressions": [
            {"key": "b", "operator": "In", "values": ["x", "y"]},
            {"key": "c", "operator": "DoesNotExist"},
        ],
    }
    assert selects(selector, {"a": "1", "b": "y"})
    assert not selects(selector, {"a": "1", "b": "z"})
    assert not selects(selector, {"a": "1", "b": "y", "c": ""})
    assert selects({}, {})
    assert not selects(None, {})


def test_a_pod_s_node_is_named_by_labels_or_by_its_name() -> None:
    node = {"metadata": {"name": "n1", "labels": {"zone": "a", "size": "12"}}}
    field = {"key": "metadata.name", "operator": "In", "values": ["n1"]}
    sized = {"key": "size", "operator": "Gt", "values": ["9"]}

    def affinity(**term: Any) -> Obj:
        required = {"nodeSelectorTerms": [term]}
        key = "requiredDuringSchedulingIgnoredDuringExecution"
        return {"affinity": {"nodeAffinity": {key: required}}}

    assert node_fits({"nodeSelector": {"zone": "a"}}, node)
    assert not node_fits({"nodeSelector": {"zone": "b"}}, node)
    assert node_fits(affinity(matchFields=[field], matchExpressions=[sized]), node)
    assert not node_fits(affinity(matchFields=[{**field, "values": ["n2"]}]), node)
    assert not node_fits(affinity(), node)


def test_a_toleration_covers_its_key_and_effect_and_an_empty_one_all() -> None:
    taint = {"key": "k", "value": "v", "effect": "NoSchedule"}
    assert tolerates([{"key": "k", "value": "v", "effect": "NoSchedule"}], taint)
    assert tolerates([{"operator": "Exists"}], taint)
    assert not tolerates([{"key": "k", "value": "w"}], taint)
    assert not tolerates([{"key": "k", "operator": "Exists", "effect": "NoExecute"}], taint)


def test_the_emptiest_node_with_room_gets_the_pod_and_the_rest_is_explained() -> None:
    def node(name: str, cpu: str) -> Obj:
        allocatable = {"cpu": cpu, "pods": "10"}
        return {"metadata": {"name": name}, "status": {"allocatable": allocatable}}

    def pod(cpu: str, on: str = "") -> Obj:
        container = {"resources": {"requests": {"cpu": cpu}}}
        where = {"nodeName": on} if on else {}
        return {"metadata": {"name": "p"}, "spec": {"containers": [container], **where}}

    nodes = [node("a", "2"), node("b", "2"), node("c", "500m")]
    room = Room()
    room.change(None, pod("1"))
    room.change(pod("1"), pod("1", "a"))
    assert choose(pod("1"), nodes, room.used) == ("b", "")
    why_not = "0/3 nodes are available: 3 Insufficient cpu."
    assert choose(pod("3"), nodes, room.used) == ("", why_not)
    room.change(pod("1", "a"), None)
    assert choose(pod("1"), nodes, room.used) == ("a", "")


def test_nodes_that_a_pod_names_are_known_without_looking_at_all_nodes() -> None:
    def spec(*terms: Obj) -> Obj:
        required = {"nodeSelectorTerms": list(terms)}
        affinity = {"requiredDuringSchedulingIgnoredDuringExecution": required}
        return {"affinity": {"nodeAffinity": affinity}}

    def named(*names: str) -> Obj:
        return {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [*names]}]}

    labelled = {"matchExpressions": [{"key": "kind", "operator": "Exists"}]}
    assert named_nodes({}) is None
    assert named_nodes(spec(named("a"), named("b"))) == {"a", "b"}
    assert named_nodes(spec(named("a") | labelled)) == {"a"}
    assert named_nodes(spec(named("a"), labelled)) is None


def test_references_in_values_are_replaced_where_they_are_known() -> None:
    values = {"A": "1", "B": "2"}
    assert expand("$(A)-$(B)-$(C)-$$(A)", values) == "1-2-$(C)-$(A)"


@given(st.text(alphabet="$(){}AB ", max_size=30))
def test_what_holds_no_reference_stays_as_it_is(text: str) -> None:
    plain = text.replace("$", "")
    assert expand(plain, {"A": "x"}) == plain


def test_image_names_are_taken_apart_as_engines_do() -> None:
    found = parse_reference("localhost:5000/a/b:1@sha256:" + "0" * 64)
    assert (found.host, found.repository, found.is_digest) == ("localhost:5000", "a/b", True)
    plain = parse_reference("python")
    assert (plain.host, plain.repository, plain.wanted) == (
        "registry-1.docker.io",
        "library/python",
        "latest",
    )
    with pytest.raises(PullError, match="invalid reference format"):
        parse_reference("localhost:5000/Upper:1")


def test_a_command_replaces_entry_point_and_arguments_of_the_image() -> None:
    image = Image(reference="i", digest="d", folder="f", config={"Entrypoint": ["e"], "Cmd": ["c"]})
    assert image_command(image, {}) == ["e", "c"]
    assert image_command(image, {"args": ["x"]}) == ["e", "x"]
    assert image_command(image, {"command": ["y"]}) == ["y"]


def test_waits_double_up_to_their_limit_and_the_first_restart_is_at_once() -> None:
    back = BackOff()
    assert [back.wait_s(n) for n in range(1, 8)] == [0, 10, 20, 40, 80, 160, 300]


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 4), st.integers(1, 4))
def test_a_probe_s_verdict_needs_so_many_answers_in_a_row(
    answers: list[bool], success: int, failure: int
) -> None:
    timing = timing_of({"successThreshold": success, "failureThreshold": failure})
    streak = Streak()
    for index, ok in enumerate(answers):
        streak = streak.then(ok=ok)
        verdict = streak.verdict(timing)
        if verdict is not None:
            needed = success if verdict else failure
            assert answers[index + 1 - needed : index + 1] == [verdict] * needed


def test_log_lines_keep_their_text_and_half_lines_stay_half() -> None:
    assert parse_line(b"T stdout F a b") == ("T", b"a b\n")
    assert parse_line(b"T stderr P half") == ("T", b"half")


def facts(name: str, code: int | None = None, **more: Any) -> Facts:
    ended = None if code is None else Ended(code=code, reason="x")
    return Facts(name=name, image="i", ended=ended, **more)


def test_a_pod_s_phase_follows_its_containers() -> None:
    never = {"restartPolicy": "Never"}
    assert pod_phase(never, [facts("i", 1, is_init=True), facts("m")]) == "Failed"
    assert pod_phase({}, [facts("i", 1, is_init=True), facts("m")]) == "Pending"
    assert pod_phase(never, [facts("m", 0)]) == "Succeeded"
    assert pod_phase(never, [facts("m", 0), facts("n", 2)]) == "Failed"
    assert pod_phase({"restartPolicy": "OnFailure"}, [facts("m", 2)]) == "Running"
    assert pod_phase({}, [facts("m", 0)]) == "Running"


def test_a_pod_s_class_follows_requests_and_limits() -> None:
    same = {"cpu": "1", "memory": "1Gi"}
    assert qos_class({"containers": [{}]}) == "BestEffort"
    assert qos_class({"containers": [{"resources": {"requests": {"cpu": "1"}}}]}) == "Burstable"
    assert qos_class({"containers": [{"resources": {"limits": same}}]}) == "Guaranteed"


def test_a_pod_keeps_its_address_and_a_free_one_waits_longest() -> None:
    addresses = Addresses(NodeNetwork(prefix="127.9.9"))
    first = addresses.take("a", "")
    assert addresses.take("a", "") == first
    addresses.release("a")
    assert addresses.take("b", "") != first
    assert addresses.take("c", first) == first


def test_only_what_has_a_mount_below_is_put_together_anew(tmp_path: Path) -> None:
    for name in ("etc/app", "usr/bin"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "etc/hosts").touch()
    volume = tmp_path / "volume"
    volume.mkdir()
    steps = plan(
        Root(
            image=str(tmp_path),
            over_host=False,
            mounts=(Mount(source=str(volume), target="/etc/app/conf", readonly=True),),
        )
    )
    assert ["bind-ro", str(tmp_path / "usr"), "usr"] in steps
    assert ["bind-ro", str(tmp_path / "etc/hosts"), "etc/hosts"] in steps
    assert ["bind-ro", str(volume), "etc/app/conf"] in steps
    assert ["bind-ro", str(tmp_path / "etc"), "etc"] not in steps
    made = [step[-1] for step in steps]
    assert made.index("etc") < made.index("etc/app") < made.index("etc/app/conf")


def test_a_local_service_leads_to_ready_pods_of_its_node_only() -> None:
    def pod(node: str, ready: str, address: str) -> Obj:
        return {
            "metadata": {"name": address, "namespace": "n", "labels": {"a": "1"}},
            "spec": {
                "nodeName": node,
                "containers": [{"ports": [{"name": "http", "containerPort": 9}]}],
            },
            "status": {"podIP": address, "conditions": [{"type": "Ready", "status": ready}]},
        }

    service = {"metadata": {"namespace": "n"}, "spec": {"selector": {"a": "1"}}}
    port = {"port": 80, "targetPort": "http"}
    pods = [pod("x", "True", "1"), pod("x", "False", "2"), pod("y", "True", "3")]
    assert backends(service, port, pods, "x") == [("1", 9), ("3", 9)]
    service["spec"]["internalTrafficPolicy"] = "Local"
    assert backends(service, port, pods, "x") == [("1", 9)]


def test_a_pod_of_the_crowd_runs_or_fails_as_it_is_annotated() -> None:
    pod: Obj = {
        "metadata": {"name": "p", "uid": "u"},
        "spec": {
            "initContainers": [{"name": "prepare", "image": "i"}],
            "containers": [{"name": "m", "image": "i"}],
        },
    }
    assert pretended_status(pod)["phase"] == "Running"
    pod["metadata"]["annotations"] = {FAILS: "why"}
    status = pretended_status(pod)
    assert status["phase"] == "Pending"
    assert status["initContainerStatuses"][0]["state"]["terminated"]["message"] == "why"

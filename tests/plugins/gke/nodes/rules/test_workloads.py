"""What controllers decide, without an API server: properties over made-up states."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from edgectl_gke_edge.emulator.nodes.controllers import (
    daemonset,
    deployment,
    disruption,
    endpoints,
    job,
)
from edgectl_gke_edge.emulator.nodes.controllers.garbage import finished
from edgectl_gke_edge.emulator.nodes.controllers.lifecycle import eviction_in_s
from edgectl_gke_edge.emulator.nodes.controllers.replicaset import surplus
from edgectl_gke_edge.emulator.nodes.podfacts import template_hash, timestamp

Obj = dict[str, Any]
TEMPLATE: Obj = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": []}}
NEW = template_hash(TEMPLATE)


def make_set(**spec: Any) -> Obj:
    return {
        "metadata": {"name": "d", "namespace": "n", "uid": "u", "generation": 2},
        "spec": {"template": TEMPLATE, "selector": {"matchLabels": {"app": "x"}}, **spec},
    }


def make_node(name: str, *taints: str, **labels: str) -> Obj:
    found = [{"key": key, "effect": "NoExecute"} for key in taints]
    return {"metadata": {"name": name, "labels": labels}, "spec": {"taints": found}}


def make_pod(node: str, revision: str = NEW, *, ready: bool = True, **more: Any) -> Obj:
    conditions = [
        {"type": "Ready", "status": str(ready), "lastTransitionTime": "2020-01-01T00:00:00Z"}
    ]
    return {
        "metadata": {
            "name": f"{node}-{revision}",
            "uid": f"{node}-{revision}",
            "labels": {daemonset.HASH: revision},
        },
        "spec": {"nodeName": node},
        "status": {"phase": "Running", "conditions": conditions, **more},
    }


def test_each_node_that_fits_gets_one_pod_and_others_lose_theirs() -> None:
    one = make_set(template={**TEMPLATE, "spec": {"nodeSelector": {"on": "1"}, "containers": []}})
    nodes = [make_node("a", on="1"), make_node("b"), make_node("c", on="1")]
    pods = [make_pod("b"), make_pod("c")]
    found = daemonset.plan(one, nodes, pods)
    assert found.create == ("a",)
    assert "b" in [pod["spec"]["nodeName"] for pod in found.delete]


def test_a_silent_node_keeps_its_pod_because_daemonsets_tolerate_that() -> None:
    nodes = [make_node("a", "node.kubernetes.io/unreachable"), make_node("b", "other")]
    found = daemonset.plan(make_set(), nodes, [make_pod("a"), make_pod("b")])
    assert [pod["spec"]["nodeName"] for pod in found.delete] == ["b"]
    assert found.create == ()


@given(
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=12),
    st.integers(1, 5),
)
def test_a_rolling_update_never_takes_more_pods_that_work_than_it_may(
    pods: list[tuple[bool, bool]], allowed: int
) -> None:
    rolling = {"maxUnavailable": allowed, "maxSurge": 0}
    one = make_set(updateStrategy={"rollingUpdate": rolling})
    nodes = [make_node(f"n{i}") for i in range(len(pods))]
    there = [
        make_pod(f"n{i}", NEW if is_new else "old", ready=ready)
        for i, (is_new, ready) in enumerate(pods)
    ]
    found = daemonset.plan(one, nodes, there)
    idle = sum(not ready for _, ready in pods)
    gone = [pod for pod in found.delete if pod["status"]["conditions"][0]["status"] == "True"]
    assert len(gone) <= max(allowed - idle, 0)
    assert all(pod["metadata"]["labels"][daemonset.HASH] == "old" for pod in found.delete)


@given(st.lists(st.booleans(), min_size=1, max_size=8))
def test_with_surge_an_old_pod_goes_only_after_the_new_one_works(new_ready: list[bool]) -> None:
    one = make_set(updateStrategy={"rollingUpdate": {"maxSurge": "100%", "maxUnavailable": 0}})
    nodes = [make_node(f"n{i}") for i in range(len(new_ready))]
    old = [make_pod(f"n{i}", "old") for i in range(len(new_ready))]
    new = [make_pod(f"n{i}", ready=ready) for i, ready in enumerate(new_ready)]
    found = daemonset.plan(one, nodes, [*old, *new])
    gone = {pod["spec"]["nodeName"] for pod in found.delete}
    assert gone == {f"n{i}" for i, ready in enumerate(new_ready) if ready}


class Rollout:
    """A Deployment whose pods come up, or not, as told."""

    def __init__(self, wanted: int, surge: int, missing: int, broken: int = 0) -> None:
        rolling = {"maxSurge": surge, "maxUnavailable": missing}
        self.deployment: Obj = {
            "metadata": {"name": "d", "generation": 1},
            "spec": {"replicas": wanted, "strategy": {"rollingUpdate": rolling}},
        }
        self.old, self.new = (
            self.make("old", wanted, max(wanted - broken, 0)),
            self.make("new", 0, 0),
        )

    def make(self, name: str, size: int, available: int) -> Obj:
        status = {"replicas": size, "availableReplicas": available}
        return {"metadata": {"name": name}, "spec": {"replicas": size}, "status": status}

    def step(self) -> None:
        sizes = deployment.scale(self.deployment, self.new, [self.old]).sizes
        for one in (self.old, self.new):
            size = sizes[one["metadata"]["name"]]
            one["spec"]["replicas"] = one["status"]["replicas"] = size
            one["status"]["availableReplicas"] = min(one["status"]["availableReplicas"], size)

    def come_up(self, count: int) -> None:
        status = self.new["status"]
        status["availableReplicas"] = min(status["availableReplicas"] + count, status["replicas"])


@given(
    st.integers(1, 8),
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(0, 8),
    st.lists(st.integers(0, 3), min_size=1, max_size=30),
)
def test_a_rollout_keeps_its_bounds_whatever_comes_up_when(
    wanted: int, surge: int, missing: int, broken: int, ups: list[int]
) -> None:
    rollout = Rollout(wanted, surge, missing, broken)
    most, fewest = deployment.bounds(rollout.deployment)
    # What was broken before may be replaced; what works is not taken below the bound.
    fewest = min(fewest, rollout.old["status"]["availableReplicas"])
    for count in ups:
        rollout.step()
        sizes = [one["status"]["replicas"] for one in (rollout.old, rollout.new)]
        available = sum(one["status"]["availableReplicas"] for one in (rollout.old, rollout.new))
        assert sum(sizes) <= most
        assert available >= fewest
        rollout.come_up(count)


@given(st.integers(1, 8), st.integers(0, 3), st.integers(0, 3))
def test_a_rollout_whose_pods_come_up_ends(wanted: int, surge: int, missing: int) -> None:
    rollout = Rollout(wanted, surge, missing)
    for _ in range(3 * wanted + 3):
        rollout.step()
        rollout.come_up(wanted)
    assert rollout.new["status"]["availableReplicas"] == wanted
    assert rollout.old["status"]["replicas"] == 0


def make_job(**spec: Any) -> Obj:
    return {"metadata": {"name": "j"}, "spec": {"template": {"spec": {}}, **spec}}


def over(phase: str) -> Obj:
    return {"metadata": {}, "spec": {}, "status": {"phase": phase}}


def test_a_job_is_failed_after_one_try_more_than_its_limit() -> None:
    one = make_job(backoffLimit=2, completions=1)
    assert job.judge(one, [over("Failed")] * 2).create == 1
    assert job.judge(one, [over("Failed")] * 3).reason == "BackoffLimitExceeded"


def test_a_job_runs_so_many_pods_at_a_time_until_enough_have_ended_well() -> None:
    one = make_job(completions=3, parallelism=2)
    assert job.judge(one, []).create == 2
    assert job.judge(one, [over("Succeeded")] * 2).create == 1
    assert job.judge(one, [over("Succeeded")] * 2 + [over("Running")]).create == 0
    assert job.judge(one, [over("Succeeded")] * 3).finished == "Complete"


def test_pods_that_serve_least_go_first() -> None:
    pods = [make_pod("a"), make_pod("b", ready=False), {**make_pod("c"), "spec": {}}]
    names = [pod["metadata"]["name"] for pod in surplus(pods, 1)]
    assert names == [f"c-{NEW}", f"b-{NEW}"]


def test_only_so_many_finished_pods_are_kept_the_oldest_go() -> None:
    pods = [
        {**over("Succeeded"), "metadata": {"name": str(n), "creationTimestamp": f"2026-01-0{n}"}}
        for n in (3, 1, 2)
    ]
    assert [pod["metadata"]["name"] for pod in finished(pods, most=1)] == ["1", "2"]


def test_a_pod_leaves_a_silent_node_when_it_tolerates_it_no_longer() -> None:
    taint = {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}
    tolerates = {"key": taint["key"], "operator": "Exists"}

    def after(*tolerations: Obj) -> float | None:
        return eviction_in_s({"spec": {"tolerations": list(tolerations)}}, taint)

    assert after() == 0
    assert after({**tolerates, "tolerationSeconds": 300}) == 300
    assert after(tolerates) is None


def test_a_budget_lets_only_so_many_pods_go() -> None:
    budget = {
        "metadata": {},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {daemonset.HASH: NEW}}},
    }
    pods = [make_pod("a"), make_pod("b"), make_pod("c", ready=False)]
    status = disruption.budget_status(budget, pods)
    assert (status["currentHealthy"], status["disruptionsAllowed"]) == (2, 1)


def test_a_crash_counts_against_the_progress_of_a_deployment_only_after_its_time() -> None:
    one = {**make_set(replicas=1, progressDeadlineSeconds=60)}
    new = Rollout(1, 1, 0).make("new", 1, 0)
    first = deployment.status_of(one, new, [new])
    told = {**one, "status": first}
    later = deployment.status_of(told, new, [new])
    progressing = next(c for c in later["conditions"] if c["type"] == "Progressing")
    assert progressing["reason"] == "ReplicaSetUpdated"
    old = "2020-01-01T00:00:00Z"
    told["status"]["conditions"] = [{**c, "lastUpdateTime": old} for c in first["conditions"]]
    late = deployment.status_of(told, new, [new])
    assert "ProgressDeadlineExceeded" in [c["reason"] for c in late["conditions"]]
    assert old < timestamp()


def test_a_slice_has_no_more_endpoints_than_a_real_one() -> None:
    service = {
        "metadata": {"name": "s", "namespace": "n", "uid": "u"},
        "spec": {"selector": {"app": "x"}},
    }
    pods = [make_pod(f"node-{number:03}", podIP="127.0.0.1") for number in range(101)]
    for pod in pods:
        pod["metadata"] |= {"namespace": "n", "labels": {"app": "x"}}
    found = endpoints.slice_of(service, pods)["endpoints"]
    assert [one["nodeName"] for one in found] == [f"node-{number:03}" for number in range(100)]
    assert len(endpoints.slice_of(service, pods[:100])["endpoints"]) == 100

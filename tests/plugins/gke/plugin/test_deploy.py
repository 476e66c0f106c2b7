"""What giving, observing and taking back do in clusters, and which calls they make."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lightkube.resources.apps_v1 import DaemonSet, Deployment
from lightkube.resources.core_v1 import ConfigMap, Namespace, Node, ResourceQuota, Service
from lightkube.types import PatchType

from edgectl import api
from edgectl.api import (
    AuthError,
    ConflictError,
    DeviceReport,
    LimitError,
    NotFoundError,
    PlanError,
    Provider,
    Reason,
    RegistryError,
    State,
    ThrottledError,
    UnreachableError,
)
from edgectl.package.keys import SigningKey
from edgectl.package.sign import sign_package, sign_release
from edgectl.testing.conformance.base import build_tiny_package
from edgectl_gke_edge import names
from edgectl_gke_edge._sdk import wire

NO_SOAK = api.DeviceSettings(soak_s=0.0)


class Line:
    """One application on its way to a target."""

    def __init__(
        self, provider: Provider, target: api.Target, site: Any, key: SigningKey, folder: Path
    ) -> None:
        self.provider, self.target, self.site = provider, target, site
        self._key, self._folder = key, folder
        self.application = f"line-{target.name}"
        self.namespace = names.namespace_of(self.application, None)
        found = provider.inventory(api.InventoryRequest(target=target))
        self.devices = tuple(device.id for device in found)

    def release(self, number: int) -> tuple[api.Package, api.Release]:
        package = build_tiny_package(self.application, f"{number}.0.0", self._folder, self._key)
        document = api.ReleaseDocument(
            application=self.application,
            number=number,
            version=package.version,
            package=package.digest,
            settings=NO_SOAK,
        )
        signature = sign_package(package.layout, package.digest, self._key)
        return package, sign_release(document, signature, self._key)

    def give(self, number: int, *devices: str) -> api.DeployResult:
        package, release = self.release(number)
        request = {"target": self.target, "package": package, "release": release}
        self.provider.package(api.PackageRequest(**request))
        wanted = devices or self.devices
        return self.provider.deploy(api.DeployRequest(**request, devices=wanted))

    def states(self, number: int | None) -> dict[str, api.DeviceStatus]:
        request = api.ObserveRequest(
            target=self.target, application=self.application, release=number
        )
        return {status.device: status for status in self.provider.observe(request)}

    def settle(self, number: int) -> dict[str, api.DeviceStatus]:
        self.site.act(self.application)
        states = self.states(number)
        self.site.act(self.application)
        return states

    def labels(self, device: str) -> dict[int, str]:
        cluster, _, node = device.partition("/")
        found = self.site.clients[cluster].get(Node, node)
        return names.releases_on(found.metadata.labels or {}, self.application)

    def sets(self, cluster: str) -> list[str]:
        found = self.site.clients[cluster].list(DaemonSet, namespace=self.namespace)
        return sorted(one.metadata.name for one in found)


@pytest.fixture
def line(
    provider: Provider, target: api.Target, site: Any, key: SigningKey, tmp_path: Path
) -> Line:
    return Line(provider, target, site, key, tmp_path)


@pytest.fixture
def line_with(
    open_plugin: Callable[..., Provider],
    target: api.Target,
    site: Any,
    key: SigningKey,
    tmp_path: Path,
) -> Callable[..., Line]:
    """Open the line with other settings."""
    return lambda **config: Line(open_plugin(**config), target, site, key, tmp_path)


def test_a_second_wave_writes_one_label_a_node_and_a_second_deploy_nothing(
    line: Line, asked: Any
) -> None:
    first, *rest = line.devices
    line.give(1, first)
    line.give(1, *rest)
    asked.clear()
    assert line.give(1, first).unchanged == (first,)
    assert asked.writes() == []
    line.provider.withdraw(
        api.WithdrawRequest(
            target=line.target, application=line.application, release=1, devices=(first,)
        )
    )
    asked.clear()
    line.give(1, first)
    assert [method for method, _ in asked.writes()] == ["PATCH"]


def test_looking_costs_two_requests_a_cluster_however_many_devices(line: Line, asked: Any) -> None:
    line.give(1)
    line.settle(1)
    asked.clear()
    line.states(None)
    assert sum(asked.values()) == 2 * len(line.site.servers)
    assert asked.writes() == []


@pytest.mark.slow
def test_status_writes_nothing_and_a_rollout_lets_the_release_before_go(line: Line) -> None:
    line.give(1)
    line.settle(1)
    line.give(2)
    line.site.act(line.application)
    device = line.devices[0]
    line.states(None)
    assert list(line.labels(device)) == [1, 2]
    assert line.states(2)[device].state is State.HEALTHY
    assert list(line.labels(device)) == [2]


@pytest.mark.slow
def test_a_release_that_is_refused_leaves_the_one_before_answering(line: Line) -> None:
    line.give(1)
    line.settle(1)
    line.site.fails[2] = DeviceReport(
        state=State.FAILED, reason=Reason.GOLDEN_FAILED, detail="off by 1"
    )
    line.give(2)
    line.site.act(line.application)
    status = line.states(2)[line.devices[0]]
    assert (status.state, status.reason, status.active_release) == (
        State.ROLLED_BACK,
        "golden-failed",
        1,
    )
    assert list(line.labels(line.devices[0])) == [1, 2]


@pytest.mark.slow
def test_where_two_pods_cannot_share_the_release_before_ends_and_comes_back(
    line_with: Callable[..., Line],
) -> None:
    line = line_with(handover="replace")
    device = line.devices[0]
    line.give(1, device)
    line.settle(1)
    line.site.fails[2] = DeviceReport(state=State.FAILED, reason=Reason.GOLDEN_FAILED)
    line.give(2, device)
    assert list(line.labels(device)) == [2]
    line.site.act(line.application)
    assert line.states(2)[device].state is State.FAILED
    assert list(line.labels(device)) == [1]
    line.site.act(line.application)
    status = line.states(2)[device]
    assert (status.state, status.reason, status.active_release) == (
        State.ROLLED_BACK,
        "golden-failed",
        1,
    )
    line.site.fails.clear()
    assert line.give(3, device).assigned == (device,)
    line.site.act(line.application)
    assert line.states(3)[device].state is State.HEALTHY


@pytest.mark.slow
def test_old_releases_are_collected_but_for_the_one_before(line: Line) -> None:
    for number in (1, 2, 3, 4):
        line.give(number)
        line.settle(number)
    kept = [f"{names.slug(line.application)}-r{number}-x86-64-cpu" for number in (3, 4)]
    assert line.sets("lot-1") == kept or line.sets("lot-1") == [
        f"{names.slug(line.application)}-r2-x86-64-cpu",
        *kept,
    ]


def test_a_cluster_that_cannot_be_reached_is_remembered_and_stops_nobody(line: Line) -> None:
    line.give(1)
    line.settle(1)
    line.site.servers["lot-2"].cut()
    away = line.devices[-1]
    found = [d.id for d in line.provider.inventory(api.InventoryRequest(target=line.target))]
    assert found == list(line.devices)
    result = line.give(2)
    assert away not in (*result.assigned, *result.unchanged)
    line.site.act(line.application)
    states = line.states(2)
    assert states[away].state is State.UNREACHABLE
    assert states[line.devices[0]].state is State.HEALTHY
    package, _ = line.release(2)
    notes = line.provider.preview(
        api.PreviewRequest(target=line.target, package=package, release=2)
    ).notes
    assert "cluster 'lot-2' cannot be reached" in notes


def test_devices_do_not_vanish_where_the_cluster_that_remembers_them_is_lost(
    line: Line, open_plugin: Callable[..., Provider]
) -> None:
    line.give(1)
    line.settle(1)
    line.site.servers["lot-1"].cut()
    states = line.states(1)
    assert set(states) == set(line.devices)
    assert states[line.devices[0]].state is State.UNREACHABLE
    assert states[line.devices[-1]].state is State.HEALTHY
    fresh = open_plugin(timeout_s=3.0)
    question = api.ObserveRequest(target=line.target, application=line.application, release=1)
    with pytest.raises(UnreachableError, match="'lot-1' cannot be reached"):
        list(fresh.observe(question))


@pytest.mark.slow
def test_the_key_that_pods_trust_is_set_once_and_never_changed_by_a_deploy(
    line: Line, tmp_path: Path
) -> None:
    line.give(1)
    trust = names.trust_name(line.application)
    client = line.site.clients["lot-1"]
    before = client.get(ConfigMap, trust, namespace=line.namespace).data
    (tmp_path / "publisher.pub").write_text("-----BEGIN PUBLIC KEY-----\nother\n")
    line.give(2)
    assert client.get(ConfigMap, trust, namespace=line.namespace).data == before


def test_fields_of_another_manager_are_a_conflict_that_names_it(line: Line) -> None:
    line.give(1)
    name = names.slug(line.application)
    spec = {"ports": [{"port": 8080, "name": "http", "targetPort": 9999}]}
    line.site.clients["lot-1"].patch(
        Service,
        name,
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec},
        namespace=line.namespace,
        patch_type=PatchType.APPLY,
        field_manager="another-team",
        force=True,
    )
    package, _ = line.release(2)
    request = api.PreviewRequest(target=line.target, package=package, release=2)
    with pytest.raises(ConflictError, match='"another-team" has') as caught:
        line.provider.preview(request)
    assert caught.value.vendor_code == "FieldManagerConflict"


def test_a_first_plan_goes_through_where_a_training_has_made_the_namespace(line: Line) -> None:
    ours = {"name": line.namespace, "labels": {names.MANAGED_BY: names.FIELD_MANAGER}}
    line.site.clients["lot-1"].create(Namespace.from_dict({"metadata": ours}))
    package, _ = line.release(1)
    request = api.PreviewRequest(target=line.target, package=package, release=1)
    assert line.provider.preview(request).files


@pytest.mark.slow
def test_a_namespace_that_edgectl_did_not_make_is_left_alone(line: Line) -> None:
    line.site.clients["lot-1"].create(Namespace.from_dict({"metadata": {"name": line.namespace}}))
    package, _ = line.release(1)
    request = api.PreviewRequest(target=line.target, package=package, release=1)
    with pytest.raises(ConflictError, match="that edgectl did not make"):
        line.provider.preview(request)


@pytest.mark.slow
def test_removing_the_application_removes_what_is_ours_and_nothing_else(line: Line) -> None:
    line.give(1)
    line.settle(1)
    client = line.site.clients["lot-1"]
    theirs = ConfigMap.from_dict({"metadata": {"name": "theirs", "namespace": line.namespace}})
    client.create(theirs)
    request = api.WithdrawRequest(target=line.target, application=line.application)
    assert line.provider.withdraw(request).devices == line.devices
    assert line.sets("lot-1") == []
    left = {one.metadata.name for one in client.list(ConfigMap, namespace=line.namespace)}
    assert left - {"kube-root-ca.crt"} == {"theirs", names.trust_name(line.application)}
    assert list(client.list(Service, namespace=line.namespace)) == []
    assert line.provider.withdraw(request).devices == ()


def test_pods_that_the_cluster_would_not_let_in_are_told_before_a_node_is_given_them(
    line: Line,
) -> None:
    line.give(1)
    quota = {"metadata": {"name": "small"}, "spec": {"hard": {"requests.cpu": "100m"}}}
    line.site.clients["lot-1"].create(ResourceQuota.from_dict(quota), namespace=line.namespace)
    with pytest.raises(LimitError, match="quota 'small' of cluster 'lot-1' is exceeded"):
        line.give(2)
    assert list(line.labels(line.devices[0])) == [1]


def test_a_right_that_is_missing_is_named(line: Line) -> None:
    line.site.servers["lot-1"].deny("patch", "nodes")
    with pytest.raises(AuthError, match="`patch` of `nodes` is not allowed in cluster 'lot-1'"):
        line.give(1)
    line.site.servers["lot-1"].allow_again()
    assert set(line.give(1).assigned) == set(line.devices[:2])


def test_a_right_to_watch_that_is_missing_is_named(line: Line) -> None:
    line.states(None)
    line.site.servers["lot-1"].deny("watch", "pods")
    with pytest.raises(AuthError, match=r"`watch` of `pods` in namespace .* is not allowed"):
        line.states(None)
    line.site.servers["lot-1"].allow_again()


@pytest.mark.slow
def test_overload_that_ends_is_waited_for(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    def at_once(attempt: int, most: int, method: str, status: int | None, after: str) -> Any:
        del attempt, most, method, after
        return 0.0 if status == 429 else None

    monkeypatch.setattr(wire, "pause_before_retry", at_once)
    line.give(1)
    line.site.servers["lot-1"].faults.overloaded = 2
    assert line.states(None).keys() == set(line.devices)
    assert line.site.servers["lot-1"].faults.overloaded == 0


def test_a_token_that_ended_is_told_with_what_to_do(
    site: Any, open_plugin: Callable[..., Provider], target: api.Target, tmp_path: Path
) -> None:
    site.write_kubeconfig(tmp_path / "ended", dict.fromkeys(site.servers, "ended"))
    provider = open_plugin(kubeconfig=str(tmp_path / "ended"))
    with pytest.raises(AuthError, match="does not take the credentials") as caught:
        list(provider.inventory(api.InventoryRequest(target=target)))
    assert "kubeconfig" in caught.value.hint


@pytest.mark.slow
def test_a_kubeconfig_that_cannot_be_used_is_told_with_its_path(
    open_plugin: Callable[..., Provider], target: api.Target, tmp_path: Path
) -> None:
    for text in (None, "clusters: 3", "a: ["):
        if text is not None:
            (tmp_path / "broken").write_text(text)
        provider = open_plugin(kubeconfig="broken")
        with pytest.raises(api.ProjectError, match="broken"):
            list(provider.inventory(api.InventoryRequest(target=target)))


@pytest.mark.slow
def test_no_cluster_at_all_that_answers_is_an_error(
    line: Line, open_plugin: Callable[..., Provider]
) -> None:
    for server in line.site.servers.values():
        server.cut()
    fresh = open_plugin(timeout_s=3.0)
    with pytest.raises(UnreachableError, match="cannot be reached"):
        list(fresh.inventory(api.InventoryRequest(target=line.target)))
    question = api.CoordinateRequest(
        target=line.target, application=line.application, key="lease", read_only=True
    )
    with pytest.raises(UnreachableError, match="share their leases") as caught:
        fresh.coordinate(question)
    assert "coordination_cluster" in caught.value.hint


def test_a_runtime_image_that_is_not_there_is_told_when_a_release_is_packaged(
    line_with: Callable[..., Line], site: Any
) -> None:
    line = line_with(runtime={"image": f"{site.registry.host}/edge/none:1"})
    with pytest.raises(RegistryError, match=r"runtime.s image .* cannot be used") as caught:
        line.give(1)
    assert "runtime.image" in caught.value.hint


@pytest.mark.slow
def test_a_cluster_can_be_the_device(line_with: Callable[..., Line]) -> None:
    line = line_with(workload="deployment")
    assert line.devices == ("lot-1", "lot-2")
    assert line.give(1).assigned == ("lot-1", "lot-2")
    assert line.give(1).unchanged == ("lot-1", "lot-2")
    assert {s.state for s in line.settle(1).values()} == {State.HEALTHY}
    line.site.stuck.add(2)
    line.give(2, "lot-1")
    line.site.act(line.application)
    status = line.states(2)["lot-1"]
    assert (status.state, status.active_release) == (State.ROLLED_BACK, 1)
    request = api.WithdrawRequest(target=line.target, application=line.application)
    assert line.provider.withdraw(request).devices == ("lot-1", "lot-2")
    found = line.site.clients["lot-1"].list(Deployment, namespace=line.namespace)
    assert list(found) == []


@pytest.mark.slow
def test_a_release_taken_back_from_a_cluster_brings_the_one_before(
    line_with: Callable[..., Line],
) -> None:
    line = line_with(workload="deployment")
    line.give(1)
    line.settle(1)
    line.site.quiet = True
    line.give(2, "lot-1")
    request = api.WithdrawRequest(target=line.target, application=line.application, release=2)
    assert line.provider.withdraw(request).devices == ("lot-1",)
    found = line.site.clients["lot-1"].get(
        Deployment, names.slug(line.application), namespace=line.namespace
    )
    assert found.metadata.labels[names.RELEASE] == "1"


def test_a_device_that_is_no_node_of_a_cluster_cannot_be_added(line: Line, key: SigningKey) -> None:
    def enroll(name: str) -> None:
        line.provider.enroll(
            api.EnrollRequest(
                target=line.target,
                application=line.application,
                name=name,
                hardware="x86-64-cpu",
                publisher_key=key.public_pem,
            )
        )

    with pytest.raises(NotFoundError, match="has no cluster 'nowhere'"):
        enroll("nowhere/node")
    with pytest.raises(NotFoundError, match="has no node 'nobody'"):
        enroll("lot-1/nobody")
    with pytest.raises(PlanError, match="names no node"):
        enroll("lot-1")


@pytest.mark.slow
def test_a_target_without_node_labels_cannot_lose_a_node(
    provider: Provider, site: Any, unique: str
) -> None:
    site.add_node("lot-1", f"x-{unique}", {})
    everything = api.Target(name="all", provider="gke", selector={"clusters": ["lot-1"]})
    try:
        with pytest.raises(PlanError, match="takes every node"):
            provider.retire(api.RetireRequest(target=everything, device=f"lot-1/x-{unique}"))
    finally:
        site.clients["lot-1"].delete(Node, f"x-{unique}")


def test_doctor_names_each_right_that_is_missing(line: Line) -> None:
    line.site.servers["lot-1"].deny("create", "daemonsets")
    found = line.provider.check(api.CheckRequest(targets=(line.target,)))
    wrong = [finding for finding in found if not finding.ok]
    assert [(one.name, one.detail) for one in wrong] == [
        ("cluster lot-1", "not allowed: create daemonsets.apps")
    ]


@pytest.mark.slow
def test_throttling_that_does_not_end_is_told(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "pause_before_retry", lambda *_: None)
    line.site.servers["lot-1"].faults.overloaded = 1
    with pytest.raises(ThrottledError, match="asked to slow down") as caught:
        line.states(None)
    assert caught.value.vendor_code == "TooManyRequests"

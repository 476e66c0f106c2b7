"""Giving releases: what is written into the hub, what stays as it was, what is refused."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgectl import api
from edgectl.api import ConflictError, LimitError, PlanError, Provider, State

X = {
    "type": "docker",
    "status": "running",
    "restartPolicy": "always",
    "settings": {"image": "other:1"},
}


def modules_of(site: Any, device: str) -> set[str]:
    desired = site.hub.registry.entry(device, "$edgeAgent").twin.desired.values
    return set(desired["modules"])


def tags_of(site: Any, device: str) -> dict[str, Any]:
    found: dict[str, Any] = site.hub.registry.device(device).twin.tags
    return found


def deployments(site: Any, fleet: Any) -> set[str]:
    return {n for n in site.hub.configurations.all if n.startswith(f"edgectl-{fleet.target.name}_")}


def test_a_release_is_a_layer_and_a_tag(site: Any, fleet: Any, shop: Any) -> None:
    fleet.add("one", "two")
    shop.give(1, "one")
    states = shop.settle(1)
    assert {name: status.state for name, status in states.items()} == {"one": State.HEALTHY}
    assert states["one"].raw == "Applied:200"
    assert modules_of(site, fleet.device("one")) == {"camera", shop.module}
    assert modules_of(site, fleet.device("two")) == {"camera"}
    tag = tags_of(site, fleet.device("one"))["edgectl"][shop.application.replace("-", "_")]
    assert (tag["release"], tag["before"], tag["target"]) == (1, 0, fleet.target.name)
    assert "edgectl" not in tags_of(site, fleet.device("two"))


def test_the_same_again_writes_nothing(site: Any, fleet: Any, shop: Any) -> None:
    fleet.add("one", "two")
    shop.give(1, "one", "two")
    shop.settle(1)
    assert site.writes(lambda: shop.give(1, "one", "two")) == {}


def test_a_wave_costs_one_write_a_device_and_no_configuration_call_after_the_first(
    site: Any, fleet: Any, shop: Any
) -> None:
    fleet.add("one", "two", "three")
    shop.give(1, "one")
    made = site.made(lambda: shop.give(1, "two", "three"))
    assert {n: c for n, c in made.items() if n.startswith("hub.") and "Query" not in n} == {
        "hub.UpdateTwin": 2
    }


def test_a_rollout_that_was_begun_elsewhere_goes_on_without_the_package(
    site: Any, fleet: Any, shop: Any, open_plugin: Callable[..., Provider], tmp_path: Path
) -> None:
    fleet.add("one", "two")
    shop.give(1, "one")
    known = msgspec.structs.replace(shop.package(), layout=tmp_path / "empty", size_bytes=0)
    target, other = fleet.target, open_plugin()
    other.preview(api.PreviewRequest(target=target, package=known, release=1))
    release, devices = shop.release(1), (fleet.device("two"),)
    other.package(api.PackageRequest(target=target, package=known, release=release))
    request = api.DeployRequest(target=target, package=known, release=release, devices=devices)
    assert other.deploy(request).assigned == devices
    with pytest.raises(api.PackageError, match="not in the local store"):
        other.preview(api.PreviewRequest(target=target, package=known, release=2))


def test_deployments_of_others_stay_as_they_were(site: Any, fleet: Any, shop: Any) -> None:
    fleet.add("one")
    foreign = f"lights-{fleet.unique}"
    site.configure(
        foreign,
        content={"modulesContent": {"$edgeAgent": {"properties.desired.modules.light": X}}},
        targetCondition=f"tags.site = '{fleet.unique}'",
        priority=50,
    )
    before = {n: site.hub.configurations.get(n) for n in (fleet.base, foreign)}
    notes = shop.preview()
    assert notes == (
        f"stays as it is: deployment '{foreign}' on 1 devices",
        f"stays as it is: deployment '{fleet.base}' on 1 devices",
    )
    shop.give(1, "one")
    shop.settle(1)
    assert modules_of(site, fleet.device("one")) == {"camera", "light", shop.module}
    assert {n: site.hub.configurations.get(n) for n in before} == before


def test_old_deployments_are_collected_but_for_the_one_to_go_back_to(
    site: Any, fleet: Any, shop: Any
) -> None:
    fleet.add("one", "two")
    shop.give(1, "two")
    for number in range(2, 6):
        shop.give(number, "one", version=f"{number}.0.0")
        shop.settle(number)
    kept = {name.rpartition("-r")[2] for name in deployments(site, fleet)}
    # 1: "two" carries it. 3: "one" had it before 4, when 5 was made. 4 and 5: newest.
    assert kept == {"1", "3", "4", "5"}


def test_a_deployment_of_this_name_with_other_content_is_refused(
    site: Any, fleet: Any, shop: Any
) -> None:
    fleet.add("one")
    name = f"edgectl-{fleet.target.name}_{shop.application}-r1"
    content = {"modulesContent": {"$edgeAgent": {f"properties.desired.modules.{shop.module}": X}}}
    site.configure(name, content=content)
    with pytest.raises(ConflictError, match="other content"):
        shop.give(1, "one")


def test_a_runtime_image_whose_tag_moved_does_not_stop_a_rollout(
    site: Any, fleet: Any, shop: Any, open_plugin: Callable[..., Provider]
) -> None:
    fleet.add("one", "two")
    image = f"{site.registry_host}/team/runtime:latest"
    api.append_layer("scratch", {"a": b"1"}, image)
    shop.provider = open_plugin(runtime={"image": image})
    shop.give(1, "one")
    api.append_layer("scratch", {"a": b"2"}, image)
    shop.provider = open_plugin(runtime={"image": image, "startup_order": 100})
    assert shop.give(1, "two").assigned == (fleet.device("two"),)


def test_a_baked_release_has_an_image_of_its_own(
    site: Any, fleet: Any, shop: Any, open_plugin: Callable[..., Provider]
) -> None:
    fleet.add("one")
    shop.provider = open_plugin(runtime={"bake": True})
    shop.give(1, "one")
    desired = site.hub.registry.entry(fleet.device("one"), "$edgeAgent").twin.desired.values
    shop.settle(1)
    desired = site.hub.registry.entry(fleet.device("one"), "$edgeAgent").twin.desired.values
    image = desired["modules"][shop.module]["settings"]["image"]
    assert image.startswith(f"{site.registry_host}/edgectl/{shop.application}@sha256:")


def test_a_missing_runtime_image_is_told_with_what_to_do(
    fleet: Any, shop: Any, open_plugin: Callable[..., Provider]
) -> None:
    fleet.add("one")
    shop.provider = open_plugin(prefix="elsewhere")
    with pytest.raises(api.NotFoundError, match="has no image") as caught:
        shop.give(1, "one")
    assert "runtime.image" in caught.value.hint


def test_a_twin_that_somebody_writes_meanwhile_is_read_again(
    site: Any, fleet: Any, shop: Any
) -> None:
    fleet.add("one", "two")
    shop.give(1, "one")
    # What was read of "two" is out of date now: its ETag is another.
    patch = {"tags": {"shelf": "4"}}
    site.hub.registry.patch_twin(fleet.device("two"), None, patch, None)
    assert shop.give(1, "two").assigned == (fleet.device("two"),)
    assert tags_of(site, fleet.device("two"))["shelf"] == "4"


def test_a_device_that_somebody_gave_a_newer_release_is_not_taken_back(
    site: Any, fleet: Any, shop: Any, open_plugin: Callable[..., Provider]
) -> None:
    fleet.add("one")
    shop.give(1, "one")
    key = shop.application.replace("-", "_")
    newer = {"tags": {"edgectl": {key: {"release": 9}}}}
    site.hub.registry.patch_twin(fleet.device("one"), None, newer, None)
    shop.provider = open_plugin(units=3)
    with pytest.raises(ConflictError, match="release 9 meanwhile"):
        shop.give(2, "one", version="2.0.0")
    assert shop.states(1) == {}


def test_rivals_that_make_the_same_deployment_both_get_through(
    fleet: Any, shop: Any, open_plugin: Callable[..., Provider]
) -> None:
    fleet.add("one", "two")
    shop.give(1, "one")
    package, release = shop.package("2.0.0"), shop.release(2, "2.0.0")
    target = fleet.target
    shop.provider.package(api.PackageRequest(target=target, package=package, release=release))
    sides = [open_plugin(units=n) for n in (2, 3)]
    start = threading.Barrier(2)
    results = []

    def deploy(side: Provider, name: str) -> None:
        start.wait(20)
        request = api.DeployRequest(
            target=target, package=package, release=release, devices=(fleet.device(name),)
        )
        results.append(side.deploy(request))

    threads = [
        threading.Thread(target=deploy, args=pair)
        for pair in zip(sides, ("one", "two"), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(d for result in results for d in result.assigned) == [
        fleet.device("one"),
        fleet.device("two"),
    ]


# --- what a plan refuses


def test_the_101st_deployment_is_refused_with_what_to_collect(
    site: Any, fleet: Any, shop: Any
) -> None:
    fleet.add("one")
    edge = {"modulesContent": {"$edgeAgent": {"properties.desired.modules.x": X}}}
    free = 100 - len(site.hub.configurations.all)
    for number in range(free):
        site.configure(f"filler-{number}-{fleet.unique}", content=edge)
    with pytest.raises(LimitError, match="100 deployments and holds at most 100") as caught:
        shop.preview()
    assert f"'filler-0-{fleet.unique}'" in caught.value.hint


def test_a_full_hub_takes_a_release_that_collects_one_of_ours(
    site: Any, fleet: Any, shop: Any
) -> None:
    fleet.add("one")
    for number in range(1, 4):
        shop.give(number, "one", version=f"{number}.0.0")
        shop.settle(number)
    shop.provider.observe(api.ObserveRequest(target=fleet.target, application=shop.application))
    edge = {"modulesContent": {"$edgeAgent": {"properties.desired.modules.x": X}}}
    for number in range(100 - len(site.hub.configurations.all)):
        site.configure(f"filler-{number}-{fleet.unique}", content=edge)
    shop.preview(4, "4.0.0")
    shop.give(4, "one", version="4.0.0")
    assert shop.settle(4)["one"].state is State.HEALTHY


def test_devices_without_a_base_deployment_are_refused(site: Any, fleet: Any, shop: Any) -> None:
    site.hub.configurations.delete(fleet.base, "*")
    fleet.add("one", start=False)
    with pytest.raises(PlanError, match="no base deployment") as caught:
        shop.preview()
    assert "docs/providers/azure.md" in caught.value.hint


def test_a_device_that_was_set_up_by_hand_is_refused(site: Any, fleet: Any, shop: Any) -> None:
    site.hub.configurations.delete(fleet.base, "*")
    fleet.add("one", start=False)
    desired = {
        "schemaVersion": "1.1",
        "runtime": {"type": "docker", "settings": {}},
        "systemModules": {},
        "modules": {},
    }
    entry = site.hub.registry.entry(fleet.device("one"), "$edgeAgent")
    site.hub.registry.set_desired(entry, desired)
    with pytest.raises(PlanError, match="were set up one by one"):
        shop.preview()


def test_a_base_deployment_above_ours_is_refused(
    site: Any, fleet: Any, shop: Any, open_plugin: Callable[..., Provider]
) -> None:
    fleet.add("one")
    shop.provider = open_plugin(priority=5)
    with pytest.raises(PlanError, match="has priority 10, a layer on it needs a higher one than 6"):
        shop.preview()


def test_a_module_of_this_name_in_anothers_deployment_is_refused(
    site: Any, fleet: Any, shop: Any
) -> None:
    fleet.add("one")
    key = f"properties.desired.modules.{shop.module}"
    site.configure(
        f"other-{fleet.unique}",
        content={"modulesContent": {"$edgeAgent": {key: X}}},
        targetCondition=f"tags.site = '{fleet.unique}'",
        priority=5000,
    )
    site.hub.background.assign()
    with pytest.raises(PlanError, match="which edgectl did not make"):
        shop.preview()


@pytest.mark.parametrize("condition", ["tags.site = = 'x'", "tags.site LIKE 'x'"])
def test_a_malformed_condition_is_refused_with_the_hubs_words(
    fleet: Any, shop: Any, condition: str
) -> None:
    fleet.add("one")
    target = api.Target(name="odd", provider="azure", selector={"condition": condition})
    request = api.PreviewRequest(target=target, package=shop.package(), release=1)
    with pytest.raises(PlanError, match="cannot read the target condition"):
        shop.provider.preview(request)


def test_a_report_that_would_not_fit_is_refused(site: Any, fleet: Any, shop: Any) -> None:
    edge, *_ = fleet.add("one", start=False)
    modules = {f"m{n}": {"runtimeStatus": "running", "env": "x" * 1000} for n in range(31)}
    site.hub.registry.report(edge.device, "$edgeAgent", {"modules": modules})
    with pytest.raises(LimitError, match="reports would have about"):
        shop.preview()


def test_a_target_of_unlike_accelerators_is_refused(site: Any, fleet: Any, shop: Any) -> None:
    edge, *_ = fleet.add("one", "two")
    patch = {"tags": {"edgectl_hardware": "jetson-orin"}}
    site.hub.registry.patch_twin(edge.device, None, patch, None)
    with pytest.raises(PlanError, match="need other containers"):
        shop.preview()


# --- taking back


def test_a_release_is_taken_back_from_who_has_not_begun(site: Any, fleet: Any, shop: Any) -> None:
    edge, *_ = fleet.add("one", "two")
    shop.give(1, "one", "two")
    shop.settle(1)
    edge.quiet = True
    shop.give(2, "one", "two", version="2.0.0")
    shop.until(lambda states: states["two"].state is State.HEALTHY, 2)
    request = api.WithdrawRequest(target=fleet.target, application=shop.application, release=2)
    assert shop.provider.withdraw(request).devices == (edge.device,)
    site.hub.background.assign()
    edge.quiet = False
    assert shop.settle(1)["one"].state is State.HEALTHY
    assert shop.settle(2).keys() == {"two"}


def test_the_application_is_taken_from_everybody_and_its_deployments_go(
    site: Any, fleet: Any, shop: Any
) -> None:
    fleet.add("one", "two")
    shop.give(1, "one", "two")
    shop.settle(1)
    request = api.WithdrawRequest(target=fleet.target, application=shop.application)
    gone = (fleet.device("one"), fleet.device("two"))
    assert shop.provider.withdraw(request).devices == gone
    assert deployments(site, fleet) == set()
    site.hub.background.assign()
    assert modules_of(site, fleet.device("one")) == {"camera"}
    assert shop.provider.withdraw(request).devices == ()

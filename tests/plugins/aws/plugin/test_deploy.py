"""Giving releases to groups and things: parts, what others put there, and doing nothing twice."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from edgectl import api
from edgectl.api import NotFoundError, Pace, Provider, State
from edgectl_aws_greengrass.render import part_name

THEIRS = {
    "com.example.camera": {
        "componentVersion": "2.1.0",
        "configurationUpdate": {"merge": '{"fps": 30}', "reset": ["/old"]},
    }
}


def latest(site: Any, arn: str) -> dict[str, Any]:
    """Return the present deployment of a target, whole."""
    client = site.client("greengrassv2")
    listed = client.list_deployments(targetArn=arn, historyFilter="LATEST_ONLY")["deployments"]
    found: dict[str, Any] = client.get_deployment(deploymentId=listed[0]["deploymentId"])
    return found


def versions(deployment: dict[str, Any]) -> dict[str, str]:
    return {name: c["componentVersion"] for name, c in deployment["components"].items()}


def groups(site: Any) -> set[str]:
    pages = site.client("iot").get_paginator("list_thing_groups")
    return {
        group["groupName"]
        for page in pages.paginate(namePrefixFilter="edgectl-")
        for group in page["thingGroups"]
    }


def put_theirs(site: Any, target_arn: str, **more: str) -> None:
    """Deploy what another team has, with its recipe in the account."""
    client = site.client("greengrassv2")
    recipe = (
        b'{"RecipeFormatVersion":"2020-01-25","ComponentName":"com.example.camera",'
        b'"ComponentVersion":"2.1.0","Manifests":[{"Platform":{"os":"linux"},'
        b'"Lifecycle":{"Run":"true"}}]}'
    )
    with contextlib.suppress(client.exceptions.ConflictException):
        client.create_component_version(inlineRecipe=recipe)
    arn = site.cloud.arn("greengrass", "components:com.example.camera:versions:2.1.0")
    while client.describe_component(arn=arn)["status"]["componentState"] != "DEPLOYABLE":
        pass
    client.create_deployment(
        targetArn=target_arn,
        deploymentName="camera",
        components=THEIRS | {n: {"componentVersion": v} for n, v in more.items()},
    )


def test_everybody_at_once_is_a_revision_of_the_group_itself(
    site: Any, fleet: Any, shop: Any
) -> None:
    fleet.add("a", "b")
    before = groups(site)
    shop.give(1, "a", "b")
    assert {s.state for s in shop.settle(1).values()} == {State.HEALTHY}
    deployment = latest(site, fleet.group_arn)
    assert versions(deployment)[f"edgectl.{shop.application}"] == "1.0.0"
    assert deployment["deploymentPolicies"]["failureHandlingPolicy"] == "ROLLBACK"
    assert deployment["tags"]["edgectl:made-by"] == "edgectl"
    assert groups(site) == before


def test_some_are_a_part_until_everybody_has_it(site: Any, fleet: Any, shop: Any) -> None:
    fleet.add("a", "b", "c")
    before = groups(site)
    assert shop.give(1, "a").assigned == (fleet.thing("a"),)
    assert shop.settle(1).keys() == {"a"}
    (part,) = groups(site) - before
    assert shop.give(1, "b").assigned == (fleet.thing("b"),)
    assert groups(site) - before == {part}
    assert shop.settle(1).keys() == {"a", "b"}
    shop.give(1, "c")
    assert {s.state for s in shop.settle(1).values()} == {State.HEALTHY}
    assert shop.states(1).keys() == {"a", "b", "c"}
    assert groups(site) == before
    assert f"edgectl.{shop.application}" in versions(latest(site, fleet.group_arn))


def test_a_later_wave_leaves_the_time_since_which_earlier_devices_are_healthy(
    fleet: Any, shop: Any
) -> None:
    fleet.add("a", "b")
    shop.give(1, "a")
    since = shop.settle(1)["a"].since
    shop.give(1, "b")
    assert shop.settle(1)["a"].since == since


def test_what_another_team_put_there_stays_in_parts_and_in_the_group(
    site: Any, fleet: Any, shop: Any
) -> None:
    fleet.add("a", "b")
    put_theirs(site, fleet.group_arn)
    shop.give(1, "a")
    shop.settle(1)
    part = fleet.cores[fleet.thing("a")].taken[-1]["components"]
    assert part["com.example.camera"]["version"] == "2.1.0"
    shop.give(1, "b")
    deployment = latest(site, fleet.group_arn)
    kept = deployment["components"]["com.example.camera"]
    assert kept["componentVersion"] == "2.1.0"
    assert kept["configurationUpdate"] == THEIRS["com.example.camera"]["configurationUpdate"]


def test_another_teams_revision_that_keeps_ours_keeps_devices_healthy(
    site: Any, fleet: Any, shop: Any
) -> None:
    fleet.add("a", "b")
    shop.give(1, "a", "b")
    shop.settle(1)
    for core in fleet.cores.values():
        core.quiet = True
    put_theirs(site, fleet.group_arn, **versions(latest(site, fleet.group_arn)))
    assert {s.state for s in shop.states(1).values()} == {State.HEALTHY}
    assert shop.give(1, "a", "b").unchanged == (fleet.thing("a"), fleet.thing("b"))


def test_another_teams_revision_that_drops_ours_is_mended_by_the_next_deploy(
    site: Any, fleet: Any, shop: Any
) -> None:
    fleet.add("a", "b")
    shop.give(1, "a", "b")
    shop.settle(1)
    put_theirs(site, fleet.group_arn)
    assert shop.give(1, "a", "b").assigned == (fleet.thing("a"), fleet.thing("b"))
    found = versions(latest(site, fleet.group_arn))
    assert found.keys() >= {"com.example.camera", f"edgectl.{shop.application}"}


def test_the_same_again_makes_no_call_that_changes_anything(
    site: Any, fleet: Any, shop: Any
) -> None:
    fleet.add("a", "b", "c")
    shop.give(1, "a")
    shop.settle(1)
    assert site.writes(lambda: shop.give(1, "a")) == {}
    shop.give(1, "a", "b", "c")
    shop.settle(1)
    assert site.writes(lambda: shop.give(1, "a", "b", "c")) == {}


def test_a_model_only_release_moves_only_the_model(site: Any, fleet: Any, shop: Any) -> None:
    fleet.add("a")
    shop.give(1, "a")
    shop.settle(1)
    before = versions(latest(site, fleet.group_arn))
    shop.give(2, "a", version="2.0.0")
    after = versions(latest(site, fleet.group_arn))
    assert {name for name in after if after[name] != before[name]} == {
        f"edgectl.{shop.application}"
    }


def test_who_failed_is_not_given_it_again_and_says_why(fleet: Any, shop: Any) -> None:
    core, *_ = fleet.add("a", "b")
    stack = "[DEPLOYMENT_FAILURE, ARTIFACT_DOWNLOAD_ERROR, DISK_SPACE_CRITICAL]"
    core.fails[1] = ("FAILED_NO_STATE_CHANGE", stack, "No space left on device")
    shop.give(1, "a")
    status = shop.settle(1)["a"]
    assert (status.state, status.reason) == (State.FAILED, "disk-full")
    assert status.detail == "No space left on device"
    assert status.raw == "FAILED:FAILED_NO_STATE_CHANGE"
    assert shop.give(1, "a").unchanged == (fleet.thing("a"),)


def test_a_devices_own_reason_is_told(fleet: Any, shop: Any) -> None:
    core, *_ = fleet.add("a", "b")
    core.fails[1] = ("FAILED_ROLLBACK_COMPLETE", "[COMPONENT_BROKEN]", "Service in broken state")
    core.report(shop.application, 1, "", state=State.FAILED, reason="golden-failed")
    shop.give(1, "a")
    status = shop.settle(1)["a"]
    assert (status.state, status.reason) == (State.FAILED, "golden-failed")


def test_going_back_is_a_new_release_for_those_who_have_the_bad_one(
    site: Any, fleet: Any, shop: Any
) -> None:
    fleet.add("a", "b")
    shop.give(1, "a", "b")
    shop.settle(1)
    before = groups(site)
    shop.give(2, "a", version="2.0.0")
    shop.settle(2)
    shop.give(3, "a")
    assert shop.settle(3)["a"].active_package == shop.package().digest
    assert shop.states(2)["a"].state is State.SUPERSEDED
    last = shop.states()
    assert {name: s.release for name, s in last.items()} == {"a": 3, "b": 1}
    assert len(groups(site) - before) == 1


def test_a_quiet_device_becomes_unreachable(
    open_plugin: Callable[..., Provider], fleet: Any, shop: Any
) -> None:
    (core,) = fleet.add("a", start=False)
    del core
    shop.give(1, "a")
    assert shop.states(1)["a"].state is State.PENDING
    shop.provider = open_plugin(unreachable_after_s=0.001)
    status = shop.states(1)["a"]
    assert (status.state, status.reason) == (State.UNREACHABLE, "not-seen")


def test_the_rollouts_numbers_are_delegated_to_the_job(site: Any, fleet: Any, shop: Any) -> None:
    fleet.add("a")
    shop.give(1, "a", pace=Pace(failure_percent=10, min_devices=2, timeout_s=600))
    job = latest(site, fleet.group_arn)["iotJobConfiguration"]
    assert job["abortConfig"]["criteriaList"][0]["thresholdPercentage"] == 10
    assert job["timeoutConfig"] == {"inProgressTimeoutInMinutes": 11}


def test_devices_of_another_target_are_refused(fleet: Any, shop: Any) -> None:
    fleet.add("a")
    with pytest.raises(NotFoundError, match="has no 'z-group"):
        shop.give(1, "z")


def test_a_thing_group_that_is_not_ours_is_not_used(site: Any, fleet: Any, shop: Any) -> None:
    fleet.add("a", "b")
    name = part_name(shop.application, fleet.target.name, 1)
    site.client("iot").create_thing_group(thingGroupName=name)
    with pytest.raises(api.ConflictError, match="edgectl did not make it"):
        shop.give(1, "a")


def test_things_are_deployed_to_one_by_one_and_keep_what_they_have(
    site: Any, fleet: Any, shop: Any
) -> None:
    fleet.add("a", "b", start=False)
    arns = {name: site.cloud.arn("iot", f"thing/{fleet.thing(name)}") for name in "ab"}
    put_theirs(site, arns["a"])
    things = [fleet.thing("a"), fleet.thing("b")]
    fleet.target = api.Target(name="both", provider="aws", selector={"things": things})
    assert shop.give(1, "a").assigned == (fleet.thing("a"),)
    found = versions(latest(site, arns["a"]))
    assert found.keys() >= {"com.example.camera", f"edgectl.{shop.application}"}
    assert shop.states(1).keys() == {"a"}
    assert site.writes(lambda: shop.give(1, "a")) == {}
    result = shop.give(1, "a", "b")
    assert (result.assigned, result.unchanged) == ((fleet.thing("b"),), (fleet.thing("a"),))


def test_removing_the_application_leaves_what_others_have(site: Any, fleet: Any, shop: Any) -> None:
    fleet.add("a", "b")
    put_theirs(site, fleet.group_arn)
    shop.give(1, "a", "b")
    shop.settle(1)
    request = api.WithdrawRequest(target=fleet.target, application=shop.application)
    back = shop.provider.withdraw(request).devices
    assert set(back) == {fleet.thing("a"), fleet.thing("b")}
    assert versions(latest(site, fleet.group_arn)) == {"com.example.camera": "2.1.0"}
    assert site.writes(lambda: shop.provider.withdraw(request)) == {}


def test_calling_off_leaves_what_has_begun(fleet: Any, shop: Any) -> None:
    fleet.add("a")
    fleet.add("b", "c", start=False)
    shop.give(1, "a", "b")
    request = api.WithdrawRequest(target=fleet.target, application=shop.application, release=1)
    while shop.states(1)["a"].state is not State.HEALTHY:
        pass
    assert shop.provider.withdraw(request).devices == (fleet.thing("b"),)
    assert shop.states(1).keys() == {"a"}
    assert shop.provider.withdraw(request).devices == ()
    assert shop.give(1, "a", "b").assigned == (fleet.thing("b"),)


def test_a_plan_names_what_stays_and_changes_nothing(site: Any, fleet: Any, shop: Any) -> None:
    fleet.add("a")
    put_theirs(site, fleet.group_arn)
    request = api.PreviewRequest(target=fleet.target, package=shop.package(), release=1)
    notes: list[str] = []
    assert site.writes(lambda: notes.extend(shop.provider.preview(request).notes)) == {}
    assert notes == ["stays as it is: com.example.camera 2.1.0"]

"""Deployments: what stays, what is ours, who is given what; and the names of what we make."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl.api import Pace, Release, ReleaseDocument
from edgectl_aws_greengrass import render as rd
from edgectl_aws_greengrass.config import AwsConfig, JobConfig

CONFIG = AwsConfig(bucket="models")
NAMES = st.text(min_size=1, max_size=60)
THEIRS: dict[str, Any] = {
    "com.example.camera": {
        "componentVersion": "2.1.0",
        "configurationUpdate": {"merge": '{"fps": 30}', "reset": ["/old"]},
        "runWith": {"posixUser": "cam"},
    },
    "aws.greengrass.Nucleus": {"componentVersion": "2.14.0"},
}


def ours(number: int = 7) -> dict[str, Any]:
    return dict(rd.own_components(CONFIG, "plates", number, "0.1.0"))


def release(number: int = 7, version: str = "1.4.0") -> Release:
    document = ReleaseDocument(
        application="plates", number=number, version=version, package=f"sha256:{'a' * 64}"
    )
    return Release(document=document, envelope=b"", signature=b"")


def test_what_others_put_there_stays_as_it_is() -> None:
    merged = rd.merge({**THEIRS, **ours(6)}, ours(7))
    assert {name: merged[name] for name in THEIRS} == THEIRS
    assert merged["edgectl.plates"]["componentVersion"] == "7.0.0"
    assert list(merged) == sorted(merged)


def test_ours_is_pinned_and_begins_with_its_own_defaults() -> None:
    component = ours()["edgectl.plates"]
    assert component == {"componentVersion": "7.0.0", "configurationUpdate": {"reset": [""]}}


def test_a_runtime_that_stays_is_not_told_to_begin_anew() -> None:
    merged = rd.merge(ours(6), ours(7))
    assert merged["edgectl.edge-runtime"] == {"componentVersion": "0.1.0"}
    assert "configurationUpdate" in merged["edgectl.plates"]
    newer = dict(rd.own_components(CONFIG, "plates", 8, "0.2.0"))
    assert "configurationUpdate" in rd.merge(merged, newer)["edgectl.edge-runtime"]


def test_a_user_is_named_only_where_one_is_set() -> None:
    config = AwsConfig(bucket="models", posix_user="edge:edge")
    component = rd.own_components(config, "plates", 7, "0.1.0")["edgectl.plates"]
    assert component["runWith"] == {"posixUser": "edge:edge"}


def test_removing_an_application_takes_the_runtime_that_nobody_else_needs() -> None:
    assert rd.without({**THEIRS, **ours()}, CONFIG, "plates") == THEIRS
    other = {"edgectl.faces": {"componentVersion": "1.0.0"}}
    left = rd.without({**THEIRS, **ours(), **other}, CONFIG, "plates")
    assert left.keys() == {*THEIRS, "edgectl.faces", "edgectl.edge-runtime"}


def test_others_are_all_but_ours_and_the_runtime() -> None:
    assert rd.others({**THEIRS, **ours()}, CONFIG, "plates") == THEIRS


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ("", "0.2.0"),
        ("0.1.0", "0.2.0"),
        ("0.3.0", "0.3.0"),
        ("0.10.0", "0.10.0"),
        ("0.2.0-dev.habc", "0.2.0"),
        ("not a version", "0.2.0"),
    ],
)
def test_a_fleets_runtime_is_never_taken_back(there: str, expected: str) -> None:
    present = {"edgectl.edge-runtime": {"componentVersion": there}} if there else {}
    assert rd.newer_runtime(present, "edgectl.edge-runtime", "0.2.0") == expected


def plan(wanted: list[str], **given_: Any) -> rd.Giving:
    facts: dict[str, Any] = {
        "had": (),
        "members": ("a", "b", "c"),
        "group_has_it": False,
        "narrowed": False,
    }
    return rd.plan_giving(wanted, **(facts | given_))


def test_some_of_a_group_are_a_part_and_all_of_it_is_the_group() -> None:
    assert plan(["a"]) == rd.Giving(assigned=("a",), unchanged=(), whole=False)
    assert plan(["a", "b", "c"]).whole
    assert plan(["c"], had={"a", "b"}) == rd.Giving(assigned=("c",), unchanged=(), whole=True)


def test_who_has_it_is_left_alone() -> None:
    assert plan(["a", "b", "a"], had={"a"}) == rd.Giving(
        assigned=("b",), unchanged=("a",), whole=False
    )
    assert plan(["a", "b", "c"], had={"a", "b", "c"}) == rd.Giving(
        assigned=(), unchanged=("a", "b", "c"), whole=False
    )


def test_a_group_that_has_it_gets_no_second_revision() -> None:
    given_ = plan(["a", "b", "c"], had={"b", "c"}, group_has_it=True)
    assert given_ == rd.Giving(assigned=("a",), unchanged=("b", "c"), whole=False)


def test_a_target_that_is_narrowed_never_touches_the_group() -> None:
    assert not plan(["a", "b", "c"], narrowed=True).whole


def test_somebody_who_joined_meanwhile_keeps_the_group_as_it_is() -> None:
    assert not plan(["a", "b", "c"], members=("a", "b", "c", "new")).whole


@given(wanted=st.lists(st.sampled_from("abcde")), had=st.sets(st.sampled_from("abcde")))
def test_everybody_who_is_wanted_is_told_once(wanted: list[str], had: set[str]) -> None:
    given_ = plan(wanted, had=had)
    assert sorted((*given_.assigned, *given_.unchanged)) == sorted(set(wanted))
    assert not set(given_.assigned) & had


@given(application=NAMES, target=NAMES, number=st.integers(1, 10**15))
def test_names_of_deployments_and_parts_are_read_back(
    application: str, target: str, number: int
) -> None:
    name = rd.deployment_name(application, target, number)
    assert rd.named_release(name, application) == number
    assert rd.named_release(name, application + "x") is None
    group = rd.part_name(application, target, number)
    assert re.fullmatch(r"[a-zA-Z0-9:_-]{1,128}", group)
    assert group.startswith(rd.part_prefix(application, target))


def test_targets_that_look_alike_have_parts_of_their_own() -> None:
    assert rd.part_name("a", "b c", 1) != rd.part_name("a", "b-c", 1)
    assert rd.part_name("a-b", "c", 1) != rd.part_name("a", "b-c", 1)


@pytest.mark.parametrize("name", ["", "edgectl/plates", "their deployment", "edgectl/plates/t/r0"])
def test_a_deployment_of_somebody_else_is_named_after_nothing(name: str) -> None:
    assert rd.named_release(name, "plates") is None


@given(number=st.integers(1, 10**15), version=st.text(max_size=30))
def test_a_record_is_read_back_from_its_key(number: int, version: str) -> None:
    made = release(number, version)
    record = rd.read_record(rd.record_key("edgectl", made), 5.0)
    assert record is not None
    assert (record.number, record.version) == (number, version)
    assert (record.package, record.content) == (made.package, made.document.content_digest())


@given(numbers=st.lists(st.integers(1, 10**15), min_size=2, max_size=5, unique=True))
def test_keys_in_order_are_releases_newest_first(numbers: list[int]) -> None:
    keys = sorted(rd.record_key("edgectl", release(number)) for number in numbers)
    read = [record.number for key in keys if (record := rd.read_record(key, None)) is not None]
    assert read == sorted(numbers, reverse=True)


def test_the_rollouts_policy_is_the_net_below_it() -> None:
    pace = Pace(failure_percent=12.345, min_devices=3, timeout_s=1800)
    assert rd.job_configuration(JobConfig(), pace) == {
        "abortConfig": {
            "criteriaList": [
                {
                    "failureType": "FAILED",
                    "action": "CANCEL",
                    "thresholdPercentage": 12.35,
                    "minNumberOfExecutedThings": 3,
                }
            ]
        },
        "timeoutConfig": {"inProgressTimeoutInMinutes": 31},
    }


def test_the_projects_own_job_settings_come_first() -> None:
    job = JobConfig(maximum_per_minute=50, in_progress_timeout_min=20)
    assert rd.job_configuration(job, Pace(timeout_s=1800)) == {
        "jobExecutionsRolloutConfig": {"maximumPerMinute": 50},
        "timeoutConfig": {"inProgressTimeoutInMinutes": 20},
    }
    assert rd.job_configuration(JobConfig(), None) is None


def test_devices_are_asked_to_go_back_by_themselves() -> None:
    policies = rd.deployment_policies(JobConfig())
    assert policies["failureHandlingPolicy"] == "ROLLBACK"

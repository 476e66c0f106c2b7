"""Several targets in one command: side by side, in order, with one verdict each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest

BAD = '{{devices: 6, behaviours: {{"{device}": {{end: {end}, versions: ["2"]}}}}}}'
TWO = """\
  lots: {{provider: memory, selector: {{ids: [device-0001, device-0002, device-0003]}}}}
  roads: {{provider: memory, selector: {{ids: [device-0004, device-0005, device-0006]}}{more}}}
"""
UNREACHABLE = "  selfhosted: {url: 'http://127.0.0.1:9', token: t}\n"


def two(site: Any, more: str = "", **options: str) -> None:
    """Build the project with two targets on one provider."""
    site.build(**options)
    rewrite(site, more)


def rewrite(site: Any, more: str = "") -> None:
    file = site.folder / "edgectl.yaml"
    text = file.read_text().replace("  all: {provider: memory}\n", TWO.format(more=more))
    file.write_text(text)


def with_unreachable(site: Any) -> None:
    """Let the second target be on a hub that nobody answers for."""
    file = site.folder / "edgectl.yaml"
    text = file.read_text().replace("roads: {provider: memory,", "roads: {provider: selfhosted,")
    file.write_text(text + UNREACHABLE)


def results(site: Any, *arguments: str, code: int = 0) -> dict[str, Any]:
    done = site.run("-o", "json", "deploy", "--poll", "0.05", *arguments, code=code)
    return {row["target"]: row for row in json.loads(done.stdout)}


def test_each_target_has_its_own_verdict_and_the_gravest_decides(site: Any) -> None:
    two(site)
    site.run("deploy", "--poll", "0.05")
    site.build(version="2", scale=0.9, memory=BAD.format(device="device-0005", end="failed"))
    rewrite(site)
    found = results(site, code=6)
    assert found["lots"]["verdict"]["outcome"] == "healthy"
    assert found["roads"]["verdict"]["outcome"] == "rolled_back"


def test_a_provider_that_cannot_be_reached_does_not_stop_the_others(site: Any) -> None:
    two(site)
    with_unreachable(site)
    found = results(site, code=1)
    assert found["lots"]["verdict"]["outcome"] == "healthy"
    assert "roads" in found
    assert found["roads"]["error"]
    assert found["roads"].get("verdict") is None


def test_the_status_of_the_others_is_shown_when_a_provider_is_away(site: Any) -> None:
    two(site)
    with_unreachable(site)
    done = site.run("-o", "json", "status", code=1)
    assert [row["device"] for row in json.loads(done.stdout)] == [
        *("device-0001", "device-0002", "device-0003")
    ]
    assert "error: roads: " in done.stderr


def test_with_fail_fast_nothing_begins_when_a_target_cannot_be_planned(site: Any) -> None:
    two(site)
    with_unreachable(site)
    found = results(site, "--fail-fast", code=1)
    assert "because target 'roads' failed" in found["lots"]["error"]
    assert not [row for row in journal(site) if row["action"] == "rollout-begin"]


def test_with_fail_fast_a_failure_stops_the_others_where_they_are(site: Any) -> None:
    two(site, rollout="{waves: [1, 100%], soak: 0s}")
    site.run("deploy", "--poll", "0.05")
    slow = '"device-000[123]": {observations: 100000, versions: ["2"]}'
    bad = '"device-000[456]": {end: failed, versions: ["2"]}'
    memory = f"{{devices: 6, behaviours: {{{slow}, {bad}}}}}"
    site.build(version="2", scale=0.9, memory=memory, rollout="{waves: [1, 100%], soak: 0s}")
    rewrite(site)
    found = results(site, "--fail-fast", code=1)
    assert found["roads"]["verdict"]["outcome"] == "rolled_back"
    assert "because target 'roads' failed" in found["lots"]["error"]


def test_a_target_begins_when_the_one_before_it_is_healthy(site: Any) -> None:
    two(site, ", after: [lots]")
    done = site.run("deploy", "--poll", "0.05")
    assert done.stdout.count("healthy - 3 of 3") == 2
    lines = [row for row in journal(site) if row["action"].startswith("rollout-")]
    assert [(row["action"], row["target"]) for row in lines] == [
        ("rollout-begin", "lots"),
        ("rollout-end", "lots"),
        ("rollout-begin", "roads"),
        ("rollout-end", "roads"),
    ]


def journal(site: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(site.run("-o", "json", "journal", "show").stdout)
    return found


def test_a_target_does_not_begin_when_the_one_before_it_failed(site: Any) -> None:
    two(site, ", after: [lots]")
    site.run("deploy", "--poll", "0.05")
    site.build(version="2", scale=0.9, memory=BAD.format(device="device-0001", end="failed"))
    rewrite(site, ", after: [lots]")
    found = results(site, code=1)
    assert found["lots"]["verdict"]["outcome"] == "rolled_back"
    assert "comes after 'lots', which is not healthy" in found["roads"]["error"]
    rows = json.loads(site.run("-o", "json", "status", "-t", "roads").stdout)
    assert {row["active"] for row in rows} == {1}


def test_a_target_alone_is_refused_while_the_one_before_it_has_not_the_release(site: Any) -> None:
    two(site, ", after: [lots]")
    done = site.run("deploy", "-t", "roads", code=1)
    assert "3 of 3 devices are not healthy with release 1" in done.stderr
    assert "edgectl deploy -t lots -t roads" in done.stderr
    site.run("deploy", "-t", "lots", "--poll", "0.05")
    site.run("deploy", "-t", "roads", "--poll", "0.05")


def test_a_gate_that_needs_approval_holds_until_it_is_given(site: Any) -> None:
    two(site, ", after: [lots], gate: {approve: true, soak: 0.1s}")
    found = results(site)
    assert found["roads"]["waits_for"] == "approval"
    done = site.run("deploy", "-t", "roads", "--poll", "0.05")
    assert done.stdout == "roads: waits for approval\n"
    done = site.run("deploy", "-t", "roads", "--approve", "roads", "--poll", "0.05")
    assert done.stdout == "roads: healthy - 3 of 3 devices are healthy\n"
    assert "no target 'raods'" in site.run("deploy", "--approve", "raods", code=1).stderr


def test_while_a_gate_soaks_a_failure_closes_it(site: Any) -> None:
    two(site, ", after: [lots], gate: {soak: 8s}")
    with site.start("deploy", "--poll", "0.05") as running:
        running.wait_for("soaks before it begins")
        site.run("devices", "remove", "device-0001", "-t", "lots")
        site.run("devices", "add", "device-0001", "-t", "lots", "--hardware", "x86-64-cpu")
        code, rest = running.end()
    assert code == 1
    assert "1 of 3 devices are not healthy with release 1" in rest


# -- plans that are reviewed


def plan(site: Any, *arguments: str, code: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(site.run("-o", "json", "plan", *arguments, code=code).stdout)
    return found


def test_a_plan_keeps_its_schema(site: Any) -> None:
    two(site)
    schema = json.loads(site.run("schema", "plan").stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    found = plan(site)
    jsonschema.validate(found, schema)
    assert found["format"] == "edgectl.plan/v1"
    with_unreachable(site)
    found = plan(site, code=1)
    jsonschema.validate(found, schema)
    assert [one["target"] for one in found["refused"]] == ["roads"]


def test_the_detailed_exit_code_tells_whether_anything_would_change(site: Any) -> None:
    two(site)
    site.run("plan", "--detailed-exitcode", code=2)
    site.run("deploy", "--poll", "0.05")
    site.run("plan", "--detailed-exitcode")


def test_a_plan_in_markdown_has_a_row_a_target_and_device(site: Any) -> None:
    two(site)
    text = site.run("plan", "--markdown").stdout
    assert "| lots | memory | 3 | 3 |" in text
    assert text.count("| install |") == 6


def test_a_reviewed_plan_is_applied_as_it_is(site: Any, tmp_path: Path) -> None:
    two(site)
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(plan(site, "-t", "lots")))
    done = site.run("deploy", "--plan", str(file), "--poll", "0.05")
    assert done.stdout == "lots: healthy - 3 of 3 devices are healthy\n"


@pytest.mark.parametrize("change", ["device", "release", "hardware", "package"])
def test_a_reviewed_plan_is_refused_when_the_world_moved_on(
    site: Any, tmp_path: Path, change: str
) -> None:
    two(site)
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(plan(site)))
    if change == "device":
        site.run("devices", "remove", "device-0002", "-t", "lots")
        said = "lots: device 'device-0002' is gone"
    elif change == "release":
        site.run("deploy", "-t", "lots", "--poll", "0.05")
        said = "is_new was 'True', is 'False'"
    elif change == "hardware":
        text = (site.folder / "edgectl.yaml").read_text()
        text = text.replace("devices: 6", "devices: 6, hardware: raspberry-pi-4")
        (site.folder / "edgectl.yaml").write_text(text)
        said = "raspberry-pi-4"
    else:
        site.build(version="2", scale=0.9)
        rewrite(site)
        said = "version was '1', is '2'"
    before = len(journal(site))
    done = site.run("deploy", "--plan", str(file), code=1)
    assert "the world moved on since the plan was made" in done.stderr
    assert said in done.stderr
    assert not [row for row in journal(site)[before:] if row["action"] in {"deploy", "package"}]


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"format": "edgectl.plan/v9"}', "\x00"])
def test_a_file_that_is_no_plan_is_refused(site: Any, tmp_path: Path, content: str) -> None:
    two(site)
    (tmp_path / "x.json").write_text(content)
    done = site.run("deploy", "--plan", str(tmp_path / "x.json"), code=1)
    assert "is no plan" in done.stderr


def test_a_plan_says_itself_which_targets(site: Any, tmp_path: Path) -> None:
    two(site)
    (tmp_path / "x.json").write_text("{}")
    done = site.run("deploy", "--plan", str(tmp_path / "x.json"), "-t", "lots", code=2)
    assert "--plan says which targets" in done.stderr


# -- JUnit


def test_junit_has_a_case_a_device(site: Any, tmp_path: Path) -> None:
    two(site)
    site.run("deploy", "--poll", "0.05")
    site.build(version="2", scale=0.9, memory=BAD.format(device="device-0005", end="failed"))
    rewrite(site)
    site.run("deploy", "--poll", "0.05", "--junit", str(tmp_path / "a/junit.xml"), code=6)
    root = ET.parse(tmp_path / "a/junit.xml").getroot()
    suites = {suite.get("name"): suite for suite in root}
    assert (root.get("tests"), root.get("failures")) == ("6", "1")
    assert suites["lots"].get("failures") == "0"
    failed = suites["roads"].findall("testcase[failure]")
    assert [case.get("name") for case in failed] == ["device-0005"]
    assert failed[0].find("failure").get("message") == "failed: golden-failed"


def test_junit_tells_of_a_target_that_did_not_begin(site: Any, tmp_path: Path) -> None:
    two(site)
    with_unreachable(site)
    site.run("deploy", "--poll", "0.05", "--junit", str(tmp_path / "junit.xml"), code=1)
    suites = {suite.get("name"): suite for suite in ET.parse(tmp_path / "junit.xml").getroot()}
    assert suites["roads"].get("errors") == "1"
    assert suites["lots"].get("tests") == "3"

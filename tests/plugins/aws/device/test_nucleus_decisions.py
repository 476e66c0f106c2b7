"""What a core device decides without asking anybody: recipes, configuration, order, resolution."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl_aws_greengrass.emulator.nucleus import failures, resolution
from edgectl_aws_greengrass.emulator.nucleus.cloud import Answered
from edgectl_aws_greengrass.emulator.nucleus.configuration import merged, updated
from edgectl_aws_greengrass.emulator.nucleus.document import parse_document
from edgectl_aws_greengrass.emulator.nucleus.failures import DeploymentError
from edgectl_aws_greengrass.emulator.nucleus.interpolate import Places, fill
from edgectl_aws_greengrass.emulator.nucleus.ipc.authorization import MQTT_PROXY, allowed
from edgectl_aws_greengrass.emulator.nucleus.ipc.messages import Frame, Reader, encode
from edgectl_aws_greengrass.emulator.nucleus.plan import change, ordered
from edgectl_aws_greengrass.emulator.nucleus.recipe import parse_recipe
from edgectl_aws_greengrass.emulator.nucleus.settings import read_settings
from edgectl_aws_greengrass.emulator.nucleus.state import RootComponent

PLATFORM = {"os": "linux", "architecture": "aarch64", "runtime": "aws_nucleus_classic"}


def _recipe(**more: Any) -> bytes:
    return json.dumps({"ComponentName": "c", "ComponentVersion": "1.0.0", **more}).encode()


def test_the_first_manifest_that_fits_the_platform_is_taken() -> None:
    manifests = [
        {"Platform": {"os": "windows"}, "Lifecycle": {"Run": "no"}},
        {"Platform": {"os": "linux", "architecture": "amd64"}, "Lifecycle": {"Run": "no"}},
        {
            "Platform": {"os": "linux", "architecture": "/a.*64/", "runtime": "*"},
            "Lifecycle": {"Run": "yes"},
        },
        {"Lifecycle": {"Run": "late"}},
    ]
    assert parse_recipe(_recipe(Manifests=manifests), PLATFORM).steps["run"].script == "yes"


def test_a_recipe_without_a_manifest_for_the_platform_is_refused() -> None:
    with pytest.raises(DeploymentError, match="no manifest for"):
        parse_recipe(_recipe(Manifests=[{"Platform": {"os": "windows"}}]), PLATFORM)


KEYS = (
    "ComponentName", "ComponentVersion", "Manifests", "Lifecycle", "Platform", "Artifacts", "Uri",
    "Install",
)  # fmt: skip
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
    ),
)


@given(ANY_JSON)
def test_any_json_is_a_recipe_or_a_deployment_error(document: Any) -> None:
    try:
        parse_recipe(json.dumps(document).encode(), PLATFORM)
    except DeploymentError as exc:
        assert "RECIPE_PARSE_ERROR" in exc.codes


def test_steps_have_their_own_or_the_default_time() -> None:
    lifecycle = {
        "Install": {"Script": "i", "Timeout": "900"},
        "Startup": {"Script": "s", "RequiresPrivilege": "true", "Setenv": {"A": 1}},
        "Shutdown": "x",
        "Run": "r",
    }
    steps = parse_recipe(_recipe(Lifecycle=lifecycle), PLATFORM).steps
    assert {name: step.timeout_s for name, step in steps.items()} == {
        "install": 900.0,
        "startup": 120.0,
        "shutdown": 15.0,
        "run": None,
    }
    assert (steps["startup"].privileged, steps["startup"].setenv) == (True, {"A": "1"})


@pytest.mark.parametrize(
    ("current", "reset", "merge", "found"),
    [
        (None, [], None, {"a": {"x": 1, "y": 2}, "l": [1]}),
        ({"a": {"x": 9}}, [], None, {"a": {"x": 9, "y": 2}, "l": [1]}),
        ({"a": {"x": 9}}, ["/a/x"], {"l": [2, 3]}, {"a": {"x": 1, "y": 2}, "l": [2, 3]}),
        ({"own": 1}, [""], {"a": {"z": 3}}, {"a": {"x": 1, "y": 2, "z": 3}, "l": [1]}),
        ({"own": 1}, ["/own", "/none/there"], None, {"a": {"x": 1, "y": 2}, "l": [1]}),
    ],
)  # fmt: skip
def test_configuration_is_reset_then_merged_over_what_was(
    current: Any, reset: Any, merge: Any, found: Any
) -> None:
    assert updated(current, {"a": {"x": 1, "y": 2}, "l": [1]}, reset, merge) == found


VALUES = st.recursive(
    st.integers() | st.text(max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
MAPS = st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3)


@given(MAPS, MAPS)
def test_merging_twice_is_merging_once(base: Any, over: Any) -> None:
    once = merged(base, over)
    assert merged(once, over) == once


def test_variables_are_replaced_and_unknown_ones_stay() -> None:
    places = Places(
        artifacts=Path("/gg/artifacts/c"),
        unarchived=Path("/gg/unarchived/c"),
        work=Path("/gg/work/c"),
        root=Path("/gg"),
        thing="core-1",
        configuration={"a": {"b": "text", "n": {"x": 1}}},
    )
    text = (
        "{artifacts:path} {artifacts:decompressedPath} {work:path} {kernel:rootPath}"
        " {iot:thingName} {configuration:/a/b} {configuration:/a/n} {configuration:/none}"
        " {other:work:path} {gone:work:path} ${HOME} {x}"
    )
    other = Places(
        artifacts=Path("/o"), unarchived=Path("/o"), work=Path("/gg/work/other"), root=Path("/gg"),
        thing="core-1", configuration={},
    )  # fmt: skip
    assert fill(text, places, {"other": other}) == (
        "/gg/artifacts/c /gg/unarchived/c /gg/work/c /gg core-1 text"
        ' {"x":1} {configuration:/none} /gg/work/other {gone:work:path} ${HOME} {x}'
    )


GRAPHS = st.dictionaries(
    st.integers(0, 6), st.dictionaries(st.integers(0, 6), st.booleans(), max_size=3), max_size=7
).map(
    lambda raw: {
        f"c{name}": {f"c{other}": hard for other, hard in needs.items() if other < name}
        for name, needs in raw.items()
    }
)


@given(GRAPHS)
def test_components_start_after_what_they_need(graph: dict[str, dict[str, bool]]) -> None:
    found = ordered(graph, graph)
    assert sorted(found) == sorted(graph)
    for name, needs in graph.items():
        for other in set(needs) & set(graph):
            assert found.index(other) < found.index(name)


@given(GRAPHS, st.sets(st.sampled_from([f"c{number}" for number in range(7)])))
def test_what_restarts_takes_its_hard_dependents_with_it_and_nothing_else(
    graph: dict[str, dict[str, bool]], changed: set[str]
) -> None:
    old = dict.fromkeys(graph, 1)
    new = {name: 2 if name in changed else 1 for name in graph}
    found = change(old, new, graph, graph)
    touched = changed & set(graph)
    while True:
        more = {
            name
            for name, needs in graph.items()
            if any(hard and other in touched for other, hard in needs.items())
        }
        if more <= touched:
            break
        touched |= more
    assert set(found.start) == set(found.stop) == touched


def test_a_circle_is_an_error() -> None:
    with pytest.raises(DeploymentError, match="a -> b -> a"):
        ordered(["a", "b"], {"a": {"b": True}, "b": {"a": True}})


class Catalog:
    """Versions with their dependencies; answers with the newest that is exactly asked or any."""

    def __init__(self, needs: dict[tuple[str, str], dict[str, str]]) -> None:
        self.needs = needs
        self.asked: list[tuple[str, dict[str, str]]] = []

    def ask(self, name: str, requirements: dict[str, str]) -> Answered:
        self.asked.append((name, requirements))
        fits = [
            version
            for known, version in self.needs
            if known == name and all(want in {"*", version} for want in requirements.values())
        ]
        if not fits:
            raise DeploymentError(f"no {name}", "NO_AVAILABLE_COMPONENT_VERSION")
        entry = {
            other: {"VersionRequirement": want}
            for other, want in self.needs[name, max(fits)].items()
        }
        recipe = {
            "ComponentName": name,
            "ComponentVersion": max(fits),
            "ComponentDependencies": entry,
        }
        return Answered(arn="", name=name, version=max(fits), recipe=json.dumps(recipe).encode())


def _resolve(catalog: Catalog, roots: dict[str, str], others: Any = None) -> dict[str, str]:
    document = {
        "deploymentId": "d",
        "configurationArn": "arn:aws:greengrass:r:a:configuration:thinggroup/g:1",
        "components": {name: {"version": version} for name, version in roots.items()},
    }
    found = resolution.resolve(
        parse_document(json.dumps(document)),
        others or {},
        catalog.ask,
        lambda raw: parse_recipe(raw, PLATFORM),
    )
    return {name: chosen.recipe.version for name, chosen in found.items()}


def test_a_later_requirement_has_an_earlier_choice_made_again() -> None:
    catalog = Catalog(
        {
            ("a", "1"): {"base": "*"},
            ("b", "1"): {"base": "1"},
            ("base", "1"): {},
            ("base", "2"): {"extra": "*"},
            ("extra", "1"): {},
        }
    )
    assert _resolve(catalog, {"a": "1", "b": "1"}) == {"a": "1", "b": "1", "base": "1"}
    assert catalog.asked[-1] == ("base", {"a": "*", "b": "1"})


def test_other_targets_requirements_count_and_can_conflict() -> None:
    catalog = Catalog({("a", "1"): {}, ("a", "2"): {}})
    others = {"thinggroup/x": {"a": RootComponent(version="1", arn="")}}
    assert _resolve(catalog, {}, others) == {"a": "1"}
    with pytest.raises(DeploymentError, match="no a"):
        _resolve(catalog, {"a": "2"}, others)


def test_only_groups_of_the_device_and_the_thing_itself_count() -> None:
    document = {
        "deploymentId": "d",
        "configurationArn": "arn:aws:greengrass:r:a:configuration:thinggroup/mine:3",
        "components": {},
    }
    deployment = parse_document(json.dumps(document))
    groups: dict[str, dict[str, RootComponent]] = {
        "thinggroup/mine": {}, "thinggroup/other": {}, "thinggroup/left": {}, "thing/core-1": {},
    }  # fmt: skip
    kept = resolution.other_groups(groups, deployment, ["mine", "other"])
    assert set(kept) == {"thinggroup/other", "thing/core-1"}
    blind = resolution.other_groups(groups, deployment, None)
    assert set(blind) == {"thinggroup/other", "thinggroup/left", "thing/core-1"}


@pytest.mark.parametrize(
    ("more", "group"),
    [
        ({}, "thinggroup/mine"),
        ({"onBehalfOf": "parent"}, "thinggroup/parent"),
        ({"onBehalfOf": "thinggroup/parent"}, "thinggroup/parent"),
        ({"parentTargetArn": "arn:aws:iot:r:a:thinggroup/parent"}, "thinggroup/parent"),
    ],
)
def test_a_deployment_sets_its_targets_or_its_parents_components(
    more: dict[str, str], group: str
) -> None:
    arn = "arn:aws:greengrass:r:a:configuration:thinggroup/mine:3"
    document = {"deploymentId": "d", "configurationArn": arn, "components": {}, **more}
    assert parse_document(json.dumps(document)).group == group


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"deploymentId": "d"}', "null", '"x"'])
def test_what_is_no_deployment_document_is_said_so(text: str) -> None:
    with pytest.raises(DeploymentError) as found:
        parse_document(text)
    assert found.value.codes == ("DEPLOYMENT_DOCUMENT_NOT_VALID",)


def test_a_capability_that_is_missing_is_named() -> None:
    text = json.dumps({"requiredCapabilities": ["FLYING"], "deploymentId": "d"})
    with pytest.raises(DeploymentError, match="FLYING"):
        parse_document(text)


def test_details_of_a_job_fit_their_limit_and_have_no_line_breaks() -> None:
    error = DeploymentError("a\nb" * 1_000, "NETWORK_ERROR", detailed="FAILED_NO_STATE_CHANGE")
    details = failures.job_details(error)
    assert all(len(text) <= 1_024 and "\n" not in text for text in details.values())
    assert details["deployment-error-types"] == "[NETWORK_ERROR]"


def _access(resource: str) -> dict[str, Any]:
    policy = {"operations": ["aws.greengrass#PublishToIoTCore"], "resources": [resource]}
    return {"accessControl": {MQTT_PROXY: {"p": policy}}}


@pytest.mark.parametrize(
    ("resource", "thing", "expected"),
    [
        ("*", "", True),
        ("edgectl/*", "", True),
        ("edgectl/+/telemetry", "", True),
        ("edgectl/#", "", True),
        ("edgectl/core-1/telemetry", "", True),
        ("edgectl/core-2/telemetry", "", False),
        ("edgectl/{iot:thingName}/telemetry", "core-1", True),
        ("edgectl/{iot:thingName}/telemetry", "", False),
    ],
)
def test_access_control_covers_a_topic(resource: str, thing: str, expected: bool) -> None:
    publish, topic = "aws.greengrass#PublishToIoTCore", "edgectl/core-1/telemetry"
    assert allowed(_access(resource), MQTT_PROXY, publish, topic, thing) is expected
    assert not allowed({}, MQTT_PROXY, publish, "x", thing)
    assert not allowed(_access("*"), MQTT_PROXY, "aws.greengrass#SubscribeToIoTCore", "x", thing)


@given(
    st.lists(
        st.builds(
            Frame,
            type=st.integers(0, 7),
            stream=st.integers(0, 2**31 - 1),
            flags=st.integers(0, 3),
            headers=st.dictionaries(
                st.text("abc-", min_size=1, max_size=9), st.text(max_size=9), max_size=3
            ),
            payload=st.binary(max_size=60),
        ),
        max_size=4,
    ),
    st.integers(1, 40),
)
def test_ipc_messages_survive_any_cutting(frames: list[Frame], size: int) -> None:
    raw = b"".join(encode(frame) for frame in frames)
    reader = Reader()
    found = []
    for start in range(0, len(raw), size):
        found += reader.feed(raw[start : start + size])
    assert found == frames


def test_a_broken_checksum_is_an_error() -> None:
    raw = bytearray(encode(Frame(type=0, stream=1, payload=b"x")))
    raw[-5] ^= 1
    with pytest.raises(ValueError, match="hecksum"):
        Reader().feed(bytes(raw))


LITE = """
system: {thingName: t, rootPath: /gg, certificateFilePath: c, privateKeyPath: k, rootCaPath: r}
services:
  aws.greengrass.NucleusLite:
    configuration:
      {awsRegion: eu-west-1, iotRoleAlias: a, iotDataEndpoint: host, iotCredEndpoint: "host:9",
       greengrassDataPlanePort: "8444", mqtt: {port: 1}, platformOverride: {architecture: arm}}
"""


def test_the_file_of_nucleus_lite_is_read_as_well(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(LITE)
    found = read_settings(file)
    assert (found.data_port, found.mqtt_port, found.credentials_url) == (8444, 1, "https://host:9")
    assert found.nucleus == "aws.greengrass.NucleusLite"
    assert found.platform["architecture"] == "arm"

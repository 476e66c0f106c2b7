"""A pipeline's parts in the project file: what is taken, what errors say, what the schema has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edge_components.contract import pipeline as contract
from edge_components.contract.jsonio import canonical_json
from edge_components.contract.package import parse_pipeline
from edgectl.errors import ProjectError
from edgectl.project.load import Project, load_project
from edgectl.project.schema import project_schema
from edgectl.project.yamltree import parse_yaml

HEAD = """\
apiVersion: edgectl/v1
name: press
version: "1"
model: {path: m.onnx}
"""
PAGE = (Path(__file__).parents[3] / "docs" / "pipeline.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(pipeline:.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def load(tmp_path: Path) -> Any:
    def write(text: str) -> Project:
        (tmp_path / "edgectl.yaml").write_text(HEAD + text)
        return load_project(tmp_path)

    return write


@pytest.mark.parametrize("text", EXAMPLES)
def test_the_examples_of_the_page_are_projects_and_reach_the_device_as_they_are(
    load: Any, text: str
) -> None:
    project = load(text)
    jsonschema.validate(parse_yaml(HEAD + text).data, project_schema())
    assert parse_pipeline(canonical_json(project.pipeline)) == project.pipeline


def test_there_are_examples_of_most_parts() -> None:
    assert len(EXAMPLES) >= 5


def test_durations_are_seconds_on_the_device_also_within_a_part(load: Any) -> None:
    project = load("""\
pipeline:
  source: {kind: push, timeout: 1m}
  preprocess: [{user: {name: acme.x, timeout: 250ms}}, {window: {size: 4, max_gap: 2h}}]
  sink:
    kind: alarm
    name: hot
    when: value > 3
    min_interval: 90s
    post: {url: "http://alarm.site/", timeout: 2s}
""")
    pipeline = project.pipeline
    assert pipeline.source == contract.PushSource(timeout_s=60)
    user, window = pipeline.preprocess
    assert (user.timeout_s, window.max_gap_s) == (0.25, 7200)
    (alarm,) = pipeline.sinks
    assert (alarm.min_interval_s, alarm.post.timeout_s) == (90, 2)


def test_every_file_that_a_step_names_travels_in_the_package(load: Any) -> None:
    project = load("""\
pipeline:
  preprocess: [{text: {length: 8, method: vocabulary, vocabulary: data/words.txt}}]
  postprocess: [{top_k: {k: 2, labels: data/labels.txt}}]
""")
    assert sorted(project.assets) == ["labels.txt", "words.txt"]
    assert contract.asset_names(project.pipeline) == (
        "edgectl/assets/words.txt",
        "edgectl/assets/labels.txt",
    )


def test_two_files_of_one_name_are_refused(load: Any) -> None:
    with pytest.raises(ProjectError, match=r"two files named 'w.txt' are used as labels"):
        load("""\
pipeline:
  preprocess: [{text: {length: 8, method: vocabulary, vocabulary: a/w.txt}}]
  postprocess: [{argmax: {labels: b/w.txt}}]
""")


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("source: {kind: camra}", "pipeline.source.kind: unknown kind 'camra' (known here: camera"),
        ("source: {path: x}", "pipeline.source.kind: unknown kind None"),
        ("source: {kind: directory, pth: x}", "pipeline.source.pth: unknown key"),
        (
            "source: {kind: directory, path: x, poll_s: 1}",
            "pipeline.source.poll_s: unknown key, did you mean 'poll'?",
        ),
        ("source: {kind: directory, path: x, poll: soon}", "pipeline.source.poll: 'soon' is not"),
        ("source: {kind: camera}", "pipeline.source: names neither 'url' nor 'endpoint'"),
        (
            "source: {kind: camera, url: 'rtsp://me:secret@cam/'}",
            "pipeline.source: has a user in 'url'",
        ),
        ("source: {kind: push, timeout: 0s}", "pipeline.source.timeout: expected 'float' > 0"),
        ("queue: {policy: drop}", "pipeline.queue.policy: invalid enum value 'drop'"),
        ("sink: [{kind: stdout}, {kind: stdot}]", "pipeline.sink[1].kind: unknown kind 'stdot'"),
        (
            "sink: {kind: alarm, name: a, when: 'score >> 1'}",
            "pipeline.sink: a number or a text is expected in the condition, not '>'",
        ),
        (
            "sink: {kind: alarm, name: a, when: 'score > 1', votes: [3, 2]}",
            "pipeline.sink: asks for 3 votes of 2",
        ),
        (
            "sink: {kind: mqtt, url: 'mqtt://b', topic: 'a/#'}",
            "pipeline.sink.topic: expected 'str' matching regex",
        ),
        ("remote: {deadline: 1s}", "pipeline.remote: names neither 'url' nor 'endpoint'"),
        (
            "remote: {url: 'http://a'}\n  fallback: {url: 'http://b'}",
            "pipeline: has both 'remote' and 'fallback'",
        ),
        ("preprocess: [{window: {size: 0}}]", "pipeline.preprocess[0].window: "),
        ("preprocess: [{user: {name: 'os:system'}}]", "pipeline.preprocess[0].user: "),
        ("postprocess: [{window: 3}]", "pipeline.postprocess[0].window: unknown step"),
        (
            "preprocess: [{user: {name: a, timeout: never}}]",
            "pipeline.preprocess[0].user.timeout: 'never' is not a duration",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_key(load: Any, written: str, message: str) -> None:
    with pytest.raises(ProjectError) as caught:
        load(f"pipeline:\n  {written}\n")
    assert message in caught.value.message


@pytest.mark.parametrize(
    "written",
    [
        "source: {kind: camra}",
        "source: {kind: directory, path: x, poll_s: 1}",
        "sink: [{kind: stdot}]",
        "queue: {policy: drop}",
        "remote: {deadline: 1s, nonsense: 1}",
        "preprocess: [{window: {size: 3, stried: 1}}]",
    ],
)
def test_the_schema_refuses_it_too(written: str) -> None:
    text = f"{HEAD}pipeline:\n  {written}\n"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(parse_yaml(text).data, project_schema())

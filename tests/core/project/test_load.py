"""Loading a project: what is accepted, and what the errors say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edge_components.contract.pipeline import Argmax, Grayscale, Resize, Scale
from edgectl.errors import ProjectError
from edgectl.project.load import Project, load_project
from edgectl.project.schema import project_schema
from edgectl.project.yamltree import parse_yaml

GOOD = """\
apiVersion: edgectl/v1
name: parking-plates
version: 1.4.0
train:
  command: [python, train.py]
  inputs: {data: data/}
  outputs: {model: out/model.onnx, metrics: out/metrics.json}
model:
  path: out/model.onnx
  golden: data/golden.npz
  gates: {accuracy: ">= 0.95"}
  variants:
    - precision: fp32
    - precision: int8
      calibration: data/calibration.npz
      max_accuracy_drop: 0.01
pipeline:
  source: {kind: directory, path: /var/lib/plates/inbox}
  preprocess: [grayscale, {resize: [32, 32]}, {scale: 0.0039215686}]
  postprocess: [{argmax: {labels: labels.txt}}]
targets:
  lots-dc:
    provider: aws
    selector: {thing_group: parking-dc}
    hardware: jetson-xavier-nx
  lots-md:
    provider: selfhosted
    selector: {tags: {city: baltimore}}
rollout:
  waves: [1, 10%, 100%]
  soak: 2m
  concurrency: 50
  failure_threshold: {percent: 5, min_devices: 3}
  on_failure: rollback
providers:
  aws: {region: us-east-1, bucket: my-models}
  selfhosted: {url: "${HUB_URL}", token: "${HUB_TOKEN:-none}"}
"""


@pytest.fixture
def load(tmp_path: Path) -> Any:
    def write(text: str) -> Project:
        (tmp_path / "edgectl.yaml").write_text(text)
        return load_project(tmp_path)

    return write


def test_the_design_s_example_is_a_project(load: Any) -> None:
    project = load(GOOD)
    assert project.spec.version == "1.4.0"
    assert [str(size) for size in project.policy.waves] == ["1", "10%", "100%"]
    assert project.policy.soak_s == 120
    assert project.pipeline.preprocess == (
        Grayscale(),
        Resize(size=(32, 32)),
        Scale(factor=0.0039215686),
    )
    assert project.pipeline.postprocess == (Argmax(labels="edgectl/assets/labels.txt"),)
    assert project.assets == {"labels.txt": project.dir / "labels.txt"}
    assert project.target("lots-dc").hardware == "jetson-xavier-nx"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "version: 1.4.0",
            "version: 1.4",
            "edgectl.yaml:3: version: expected 'str', got 'float', found 1.4; put it in quotes",
        ),
        ("golden:", "goldn:", "edgectl.yaml:10: model.goldn: unknown key, did you mean 'golden'?"),
        (
            "provider: aws",
            "provider: [aws]",
            "edgectl.yaml:23: targets.lots-dc.provider: expected 'str', got 'array'",
        ),
        (
            "hardware: jetson-xavier-nx",
            "hardware: jetson",
            "edgectl.yaml:25: targets.lots-dc.hardware: 'jetson' is not a hardware profile",
        ),
        ("soak: 2m", "soak: 2 parsecs", "edgectl.yaml:31: rollout.soak: "),
        ("[1, 10%, 100%]", "[10, 1]", "edgectl.yaml:30: rollout.waves: "),
        (
            "{resize: [32, 32]}",
            "{resize: [32]}",
            "edgectl.yaml:19: pipeline.preprocess[1].resize: ",
        ),
        (
            "{scale: 0.0039215686}",
            "{scael: 1}",
            "edgectl.yaml:19: pipeline.preprocess[2].scael: unknown step",
        ),
        (
            "on_failure: rollback",
            'gates: {error_rate: "<= 1%", latency_p99: "<= 50"}',
            "edgectl.yaml:34: rollout.gates.latency_p99: '<= 50' is no gate for latency_p99",
        ),
        ("on_failure: rollback", "gates: {}", "edgectl.yaml:34: rollout.gates: there is no gate"),
        (
            "  soak: 2m\n",
            '  gates: {restarts: "<= 0"}\n',
            "edgectl.yaml:31: rollout.gates: gates are judged while a wave soaks",
        ),
        ("percent: 5,", "percent: 500,", "edgectl.yaml:33: rollout.failure_threshold.percent: "),
        (
            "- precision: int8",
            "- precision: fp32",
            "edgectl.yaml:12: model.variants: a precision is given twice",
        ),
        (
            "apiVersion: edgectl/v1",
            "apiVersion: edgectl/v9",
            (
                "edgectl.yaml:1: apiVersion: invalid enum value 'edgectl/v9', "
                "found 'edgectl/v9'; allowed: edgectl/v1"
            ),
        ),
        ("name: parking-plates", "name: Parking Plates", "edgectl.yaml:2: name: "),
        (
            "labels: labels.txt",
            "labels: ../../etc/passwd",
            "edgectl.yaml:20: pipeline.postprocess[0].labels: '../../etc/passwd' is outside",
        ),
        (
            'gates: {accuracy: ">= 0.95"}',
            "gates: {accuracy: 0.95}",
            "edgectl.yaml:11: model.gates.accuracy: expected 'str', got 'float', found 0.95",
        ),
        (
            'gates: {accuracy: ">= 0.95"}',
            'gates: {accuracy: "about 1"}',
            "edgectl.yaml:11: model.gates.accuracy: ",
        ),
        ("name: parking-plates", "name: p\nname: q", "edgectl.yaml:3: key 'name' is given twice"),
        ("version: 1.4.0\n", "", "edgectl.yaml:1: (the whole file): object missing required field"),
    ],
)
def test_an_error_names_file_line_and_key(load: Any, old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(ProjectError) as caught:
        load(GOOD.replace(old, new))
    assert caught.value.message.startswith(message)


def test_environment_is_expanded_in_providers_only_when_one_is_opened(
    load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = load(GOOD)
    with pytest.raises(
        ProjectError, match=r"edgectl.yaml:\d+: providers.selfhosted.url: .*HUB_URL"
    ):
        project.provider_config("selfhosted")
    monkeypatch.setenv("HUB_URL", "http://hub")
    assert project.provider_config("selfhosted") == {"url": "http://hub", "token": "none"}
    assert project.provider_config("aws") == {"region": "us-east-1", "bucket": "my-models"}


def test_an_unknown_target_lists_the_known(load: Any) -> None:
    with pytest.raises(ProjectError, match="no target 'x'") as caught:
        load(GOOD).target("x")
    assert caught.value.hint == "its targets: lots-dc, lots-md"


def test_targets_of_one_provider(load: Any) -> None:
    assert [t.name for t in load(GOOD).targets((), ("aws",))] == ["lots-dc"]
    with pytest.raises(ProjectError, match="no target of provider 'gke'"):
        load(GOOD).targets((), ("gke",))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("hardware: x", "after: [nowhere]", "targets.a.after: there is no target 'nowhere'"),
        ("hardware: x", "after: [a]", "no target can be first"),
        ("hardware: x", "gate: {soak: 1m}", "targets.a.gate: a gate needs `after`"),
        ("hardware: x", "after: [b], gate: {soak: soon}", "targets.a.gate.soak: "),
    ],
)
def test_an_order_that_cannot_be_kept_is_refused(
    load: Any, before: str, after: str, message: str
) -> None:
    head = GOOD.partition("targets:")[0]
    targets = "targets:\n  a: {provider: aws, hardware: x}\n  b: {provider: aws}\n"
    with pytest.raises(ProjectError, match=r"edgectl\.yaml:") as caught:
        load(head + targets.replace(before, after))
    assert message in caught.value.message


def test_a_circle_of_targets_is_named(load: Any) -> None:
    head = GOOD.partition("targets:")[0]
    targets = "targets:\n  a: {provider: aws, after: [b]}\n  b: {provider: aws, after: [a]}\n"
    with pytest.raises(ProjectError, match=r"no target can be first: '[ab]' after '[ab]' after"):
        load(head + targets)


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="there is no project file") as caught:
        load_project(tmp_path)
    assert "edgectl init" in caught.value.hint


def test_a_path_out_of_the_project_is_refused(load: Any) -> None:
    with pytest.raises(ProjectError, match=r"edgectl.yaml:10: model.golden: '../x' is outside"):
        load(GOOD).file("model.golden", "../x")


def test_the_schema_accepts_what_the_loader_accepts() -> None:
    schema = project_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(parse_yaml(GOOD).data, schema)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("golden:", "goldn:"),
        ("[grayscale, ", "[greyscale, "),
        ("{resize: [32, 32]}", "{resize: [32]}"),
        ("hardware: jetson-xavier-nx", "hardware: jetson"),
        ("percent: 5,", "percent: 500,"),
        ("on_failure: rollback", "on_failure: panic"),
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(load: Any, old: str, new: str) -> None:
    wrong = GOOD.replace(old, new)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(parse_yaml(wrong).data, project_schema())
    with pytest.raises(ProjectError):
        load(wrong)


def test_gates_are_read_in_the_order_of_their_measures(load: Any) -> None:
    gates = 'gates: {drift: "<= 0.25", error_rate: "<= 1%", latency_p99: "<= 1.5x"}'
    policy = load(GOOD.replace("on_failure: rollback", gates)).policy.gates
    written = ["error_rate <= 1%", "latency_p99 <= 1.5x", "drift <= 0.25"]
    assert [str(gate) for gate in policy.gates] == written
    assert (policy.on_missing, policy.min_samples) == ("pass", 100)

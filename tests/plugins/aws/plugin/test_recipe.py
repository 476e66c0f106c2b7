"""Recipes as devices get them: whole documents, reviewed in the diff, and their limits."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl.api import LimitError
from edgectl_aws_greengrass import recipe as rc

GOLDEN = Path(__file__).parent / "golden"
HEX = {name: character * 64 for name, character in zip(("a", "b", "c", "d"), "abcd", strict=True)}


def artifact(name: str, size: int = 10) -> rc.Artifact:
    return rc.Artifact(uri=f"s3://models/edgectl/blobs/sha256/{name}", size=size)


MODEL = rc.ModelComponent(
    publisher="edgectl",
    application="plates",
    number=7,
    package=f"sha256:{'e' * 64}",
    soak_s=30.5,
    release_file=HEX["a"],
    manifest_file=HEX["b"],
    signature_file=HEX["c"],
    runtime_requirement=">=0.1.0 <1.0.0",
    artifacts=tuple(artifact(name) for name in HEX.values()),
)
RUNTIME = rc.RuntimeComponent(
    publisher="edgectl",
    version="0.1.0",
    content=f"sha256:{'f' * 64}",
    python="/usr/bin/python3.11",
    installer=artifact(f"{HEX['a']}/install.py"),
    wheel=artifact(f"{HEX['b']}/edgectl_edge_components-0.1.0-py3-none-any.whl"),
    wheels=(artifact(f"{HEX['c']}/numpy-2.1.0-cp311-cp311-manylinux_2_28_aarch64.whl"),),
)


@pytest.mark.parametrize(
    ("name", "data"),
    [("model", rc.model_recipe(MODEL)), ("runtime", rc.runtime_recipe(RUNTIME))],
)
def test_recipe_is_the_golden_one(name: str, data: bytes) -> None:
    assert json.loads(data) == json.loads((GOLDEN / f"{name}.json").read_text())


def test_equal_input_gives_equal_bytes_that_begin_as_json() -> None:
    assert rc.model_recipe(MODEL) == rc.model_recipe(MODEL)
    assert rc.model_recipe(MODEL).startswith(b"{")


@pytest.mark.parametrize("data", [rc.model_recipe(MODEL), rc.runtime_recipe(RUNTIME)])
def test_recipe_keeps_what_nucleus_lite_asks_for(data: bytes) -> None:
    document = json.loads(data)
    for manifest in document["Manifests"]:
        assert manifest["Platform"]["runtime"] == "*"
        assert manifest["Platform"]["os"] == "linux"
        assert manifest["Lifecycle"].keys() <= {"Setenv", "install", "run", "startup"}
    text = data.decode()
    assert "Skipif" not in text
    assert "{dep:" not in text
    assert not any(value.startswith("/") for value in strings(document["Manifests"], "Platform"))


VARIABLES = {"{artifacts:path}", "{work:path}", "{kernel:rootPath}"}


@pytest.mark.parametrize("data", [rc.model_recipe(MODEL), rc.runtime_recipe(RUNTIME)])
def test_every_brace_in_a_script_is_a_variable_that_nucleus_lite_knows(data: bytes) -> None:
    for step in steps(data):
        assert set(re.findall(r"\{[^}]*\}", step["Script"])) <= VARIABLES


@pytest.mark.parametrize(("code", "ends"), [(0, 0), (10, 10), (11, 11)])
def test_a_failed_startup_ends_the_script_before_what_nucleus_lite_adds(
    tmp_path: Path, code: int, ends: int
) -> None:
    (script,) = {step["Script"] for step in steps(rc.model_recipe(MODEL))}
    program = tmp_path / "work" / "edgectl.edge-runtime" / "bin" / "edge-agent"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\necho "$@" > "{tmp_path}/said"\nexit {code}\n')
    program.chmod(0o755)
    filled = script.replace("{kernel:rootPath}", str(tmp_path)).replace("{artifacts:path}", "/a b")
    done = subprocess.run(["/bin/sh", "-c", f"{filled}\ntrue"], env={}, check=False)
    assert done.returncode == ends
    said = (tmp_path / "said").read_text()
    assert said.startswith("apply --from /a b ")
    assert said.endswith(f"--config {rc.DEVICE_CONFIG}\n")


def test_the_device_names_another_configuration_by_its_environment(tmp_path: Path) -> None:
    (script,) = {
        step["Script"] for step in steps(rc.runtime_recipe(RUNTIME)) if "serve" in str(step)
    }
    program = tmp_path / "bin" / "edge-agent"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    filled = script.replace("{work:path}", str(tmp_path))
    given = {"EDGECTL_DEVICE_CONFIG": "/etc/my device.toml"}
    said = subprocess.run(["/bin/sh", "-c", filled], env=given, check=True, capture_output=True)
    assert said.stdout == b"serve --config /etc/my device.toml\n"


def steps(data: bytes) -> list[dict[str, str]]:
    lifecycles = (manifest["Lifecycle"] for manifest in json.loads(data)["Manifests"])
    return [step for found in lifecycles for step in found.values() if "Script" in step]


def strings(manifests: list[dict[str, Any]], key: str) -> list[str]:
    return [value for manifest in manifests for value in manifest[key].values()]


def test_a_release_gates_the_deployment_by_startup_and_never_by_run() -> None:
    lifecycle = json.loads(rc.model_recipe(MODEL))["Manifests"][0]["Lifecycle"]
    assert lifecycle.keys() == {"startup"}
    assert lifecycle["startup"]["Timeout"] == "630"


def test_numbers_in_the_configuration_are_text() -> None:
    for data in (rc.model_recipe(MODEL), rc.runtime_recipe(RUNTIME)):
        configuration = json.loads(data)["ComponentConfiguration"]["DefaultConfiguration"]
        plain = {k: v for k, v in configuration.items() if k != "accessControl"}
        assert all(isinstance(value, str) for value in plain.values())


@given(python=st.text(min_size=1, max_size=60))
def test_what_a_user_chose_never_gets_into_a_script(python: str) -> None:
    other = json.loads(rc.runtime_recipe(msgspec.structs.replace(RUNTIME, python=python)))
    usual = json.loads(rc.runtime_recipe(RUNTIME))
    assert other["Manifests"] == usual["Manifests"]
    assert other["ComponentConfiguration"]["DefaultConfiguration"]["python"] == python


def test_a_recipe_beyond_the_limit_is_refused_with_the_limit() -> None:
    many = tuple(artifact(f"{number:064x}") for number in range(80))
    with pytest.raises(LimitError, match="at most 16000"):
        rc.model_recipe(msgspec.structs.replace(MODEL, artifacts=many))


def test_artifacts_beyond_the_limit_are_refused_with_the_limit() -> None:
    large = (artifact(HEX["a"], 1_500_000_000), artifact(HEX["b"], 600_000_000))
    with pytest.raises(LimitError, match="2100000000 bytes, Greengrass takes at most 2000000000"):
        rc.model_recipe(msgspec.structs.replace(MODEL, artifacts=large))


@pytest.mark.parametrize("application", ["edge-runtime", "with space", "x" * 130])
def test_a_name_that_cannot_be_a_component_is_refused(application: str) -> None:
    with pytest.raises(LimitError):
        rc.model_name("edgectl", application)


@pytest.mark.parametrize(
    ("version", "development", "expected"),
    [
        ("0.1.0", False, "0.1.0"),
        ("0.1.0", True, "0.1.0-dev.h012345678901"),
    ],
)
def test_runtime_version_of_a_checkout_names_its_content(
    version: str, development: bool, expected: str
) -> None:
    content = "sha256:" + "0123456789" * 6 + "0123"
    assert rc.runtime_version(version, content, development=development) == expected


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("0.1.0", ">=0.1.0 <1.0.0"),
        ("2.3.4", ">=2.3.4 <3.0.0"),
        ("0.1.0-dev.habc", ">=0.1.0-0 <1.0.0"),
    ],
)
def test_a_model_runs_with_its_runtime_and_newer_ones_of_the_major(
    version: str, expected: str
) -> None:
    assert rc.runtime_requirement(version) == expected


@given(number=st.integers(1, 2**31 - 1))
def test_release_number_and_component_version_say_the_same(number: int) -> None:
    assert rc.release_of(rc.model_version(number)) == number


@pytest.mark.parametrize("version", ["", "0.0.0", "1.0.1", "1.2.0", "01.0.0", "1.0.0-x"])
def test_a_version_that_is_not_ours_is_no_release(version: str) -> None:
    assert rc.release_of(version) == 0

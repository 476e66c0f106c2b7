"""What the build of a real API server asks of Go: a module that only requires the released one."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[4] / "scripts" / "build_kube_apiserver.py"
GO_MOD = """module k8s.io/kubernetes

go 1.24.0

require (
\tk8s.io/api v0.0.0
\tgolang.org/x/net v0.38.0
)

replace (
\tk8s.io/api => ./staging/src/k8s.io/api
\tk8s.io/kms => ./staging/src/k8s.io/kms
\texample.com/other => example.com/fork v1.2.3
)
"""


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("build_kube_apiserver", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_neighbouring_folders_become_their_releases_and_nothing_else_does(script: Any) -> None:
    assert script.replacements(GO_MOD, "v1.33.13") == [
        "replace k8s.io/api => k8s.io/api v0.33.13",
        "replace k8s.io/kms => k8s.io/kms v0.33.13",
    ]


def test_the_module_asks_for_the_same_go_and_the_release(script: Any) -> None:
    text = script.wrapper("k8s.io/kubernetes", "v1.33.13", GO_MOD)
    assert "\ngo 1.24.0\n" in text
    assert "\nrequire k8s.io/kubernetes v1.33.13\n" in text


def test_a_released_go_mod_without_a_go_version_is_refused(script: Any) -> None:
    with pytest.raises(SystemExit, match="names no Go version"):
        script.wrapper("k8s.io/kubernetes", "v1.33.13", "module x\n")


def test_the_server_is_told_its_version(script: Any) -> None:
    flags = script.version_flags("v1.33.13")
    assert "version.gitVersion=v1.33.13" in flags
    assert "version.gitMinor=33" in flags

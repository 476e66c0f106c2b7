"""A release that is right in every check and wrong in service goes back by itself."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent / "support"))
from gates_site import TRAIN, asked

PROJECT = """\
apiVersion: edgectl/v1
name: tiny
version: "{version}"
train:
  command: [python, train.py]
  outputs: {{model: out/model.onnx}}
model: {{path: out/model.onnx}}
device: {{soak: 0.2s}}
targets:
  all: {{provider: selfhosted, selector: {{tags: {{site: test}}}}}}
rollout:
  waves: [1, 100%]
  soak: {soak}
  gates: {gates}
providers:
  selfhosted:
    url: ${{EDGECTL_HUB_URL}}
    username: admin
    password_file: ${{EDGECTL_HUB_PASSWORD_FILE}}
"""
ERRORS = '{error_rate: "<= 5%", restarts: "<= 0", min_samples: 20}'
INFER = "/v2/models/tiny/infer"


def prepare(
    site: Any, version: str, scale: float, fault: str = "", *, soak: str, gates: str = ERRORS
) -> None:
    (site.folder / "train.py").write_text(TRAIN)
    (site.folder / "fault.txt").write_text(fault)
    (site.folder / "scale.txt").write_text(str(scale))
    project = PROJECT.format(version=version, soak=soak, gates=gates)
    (site.folder / "edgectl.yaml").write_text(project)


def run(site: Any, code: int = 0) -> dict[str, Any]:
    (result,) = json.loads(site.run("-o", "json", "run", "--poll", "0.1", code=code))
    verdict: dict[str, Any] = result["verdict"]
    return verdict


def test_a_release_that_fails_on_what_it_is_asked_goes_back_by_itself(site: Any) -> None:
    prepare(site, "1", 1.0, soak="0.1s")
    with site.fleet(1):
        assert run(site)["outcome"] == "healthy"
        prepare(site, "2", 2.0, "errors", soak="5m")
        with asked([device["url"] for device in site.devices.values()], INFER):
            verdict = run(site, code=6)
        assert verdict["outcome"] == "rolled_back"
        assert "wave 1: error_rate is 100%, at most 5% is allowed; 1 of 1" in verdict["why"]
        assert verdict["counts"] == {"healthy": 1}
        missed = next(one for one in verdict["gates"] if one["measure"] == "error_rate")
        assert (missed["result"], missed["value"], missed["allowed"]) == ("missed", 1.0, 0.05)
        assert len(missed["devices"]) == 1
        assert {tuple(site.answer(device)) for device in site.devices} == {(1, 1, 1, 1)}


@pytest.mark.slow
def test_a_release_that_is_slow_goes_back_though_its_driver_was_killed_while_it_soaked(
    site: Any,
) -> None:
    gates = '{latency_p99: "<= 3x", min_samples: 20}'
    prepare(site, "1", 1.0, soak="0.1s")
    with site.fleet(1):
        with asked([device["url"] for device in site.devices.values()], INFER):
            run(site)
            # The release before has told enough to compare with.
            before = len(health(site))
            while len(health(site)) < before + 2:
                pass
            prepare(site, "2", 2.0, "slow", soak="60s", gates=gates)
            site.run("train")
            site.run("register")
            site.run("package")
            with subprocess.Popen(
                site.command("deploy", "--poll", "0.1"),
                cwd=site.folder,
                env=site.env,
                stderr=subprocess.PIPE,
                text=True,
            ) as process:
                assert process.stderr is not None
                next(line for line in process.stderr if "soaks for" in line)
                process.send_signal(signal.SIGKILL)
            said = site.run("resume", "--poll", "0.1", code=6)
        assert "latency_p99 is " in said
        assert "(3x of before) is allowed" in said
        assert {tuple(site.answer(device)) for device in site.devices} == {(1, 1, 1, 1)}


def health(site: Any) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = json.loads(site.run("-o", "json", "telemetry", "--kind", "health"))
    return told

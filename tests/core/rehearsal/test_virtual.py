"""What of a project is other in a rehearsal, and what the operator is told of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgectl.project.load import Project, load_project
from edgectl.rehearsal.virtual import virtual

NIGHT = '{from: "22:00", to: "05:00"}'
PLAIN = """\
apiVersion: edgectl/v1
name: plates
version: "1"
model: {path: model.onnx}
targets:
  lab: {provider: selfhosted}
"""
STRICT = f"""\
{PLAIN}\
  lots:
    provider: selfhosted
    after: [lab]
    gate: {{soak: 1h, approve: true}}
    window: {NIGHT}
    network: {{bandwidth: 2MB/s, download_window: {NIGHT}}}
rollout: {{waves: [1, 100%], soak: 10m, pause_after: [1], concurrency: 5}}
"""


@pytest.fixture
def strict(tmp_path: Path) -> Project:
    (tmp_path / "edgectl.yaml").write_text(STRICT)
    return load_project(tmp_path)


def test_nothing_waits_for_a_night_or_for_a_person(strict: Project) -> None:
    rehearsed, told = virtual(strict)
    target = rehearsed.target("lots")
    assert (rehearsed.window("lots"), target.needs_approval, target.after) == (
        None,
        False,
        ("lab",),
    )
    network = rehearsed.settings_of("lots").network
    assert network is not None
    assert (network.bandwidth, network.hours) == (2_000_000, None)
    assert (rehearsed.policy.pause_after, rehearsed.policy.concurrency) == ((), 5)
    assert told == (
        "windows are left out: virtual devices have no site",
        "approvals are left out: they are given to the real rollout",
        "each wave soaks for 10m; --soak 10s makes a rehearsal shorter",
    )


def test_soaks_stay_unless_they_are_cut(strict: Project) -> None:
    whole, _ = virtual(strict)
    assert (whole.policy.soak_s, whole.target("lots").gate_soak_s) == (600, 3600)
    cut, told = virtual(strict, 10.0)
    assert (cut.policy.soak_s, cut.target("lots").gate_soak_s) == (10, 10)
    assert not any("soaks" in line for line in told)


def test_the_project_itself_stays_as_it_is(strict: Project) -> None:
    virtual(strict, 1.0)
    assert strict.policy.soak_s == 600
    assert strict.window("lots") is not None


def test_a_project_that_waits_for_nothing_is_rehearsed_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "edgectl.yaml").write_text(PLAIN)
    project = load_project(tmp_path)
    rehearsed, told = virtual(project)
    assert told == ()
    assert rehearsed.spec == project.spec
    assert rehearsed.policy == project.policy


def test_gates_stay_but_silence_is_no_failure(tmp_path: Path) -> None:
    gates = "rollout: {soak: 1m, gates: {restarts: '<= 0', on_missing: fail}}\n"
    (tmp_path / "edgectl.yaml").write_text(PLAIN + gates)
    rehearsed, told = virtual(load_project(tmp_path))
    assert rehearsed.policy.gates is not None
    assert [str(gate) for gate in rehearsed.policy.gates.gates] == ["restarts <= 0"]
    assert rehearsed.policy.gates.on_missing == "pass"
    assert told == ("gates that too little is told for are passed: who asks virtual devices?",)

"""What of a project does not hold for virtual devices: waiting for a site's night, or for a person.

A rehearsal asks whether devices run the release and what the rollout decides. Maintenance and
download windows are those of real sites, and approvals are given to the real thing, so both are
left out. Soaks stay as they are, because what a soak finds belongs to the question; they can be
cut by the operator. Gates stay too, but where nobody asks virtual devices anything, that they tell
too little is no reason to fail.
"""

from __future__ import annotations

import copy

from msgspec.structs import replace

from edgectl.durations import format_duration, parse_duration
from edgectl.project.load import Project
from edgectl.project.spec import TargetSpec

LONG_SOAK_S = 60.0


def virtual(project: Project, max_soak_s: float | None = None) -> tuple[Project, tuple[str, ...]]:
    """Return a project as it is rehearsed, and what is other than in its file, for people.

    Args:
        project: As its file says.
        max_soak_s: Soaks of waves and gates last no longer; None leaves them.
    """
    rehearsed = copy.copy(project)
    policy = project.policy
    soak_s = policy.soak_s if max_soak_s is None else min(policy.soak_s, max_soak_s)
    gates = None if policy.gates is None else replace(policy.gates, on_missing="pass")
    rehearsed.policy = replace(policy, soak_s=soak_s, pause_after=(), gates=gates)
    targets = {name: _anytime(spec, max_soak_s) for name, spec in project.spec.targets.items()}
    rehearsed.spec = replace(project.spec, targets=targets)
    return rehearsed, tuple(_told(project, soak_s))


def _anytime(spec: TargetSpec, max_soak_s: float | None) -> TargetSpec:
    gate = replace(spec.gate, approve=False)
    if max_soak_s is not None:
        gate = replace(gate, soak=min(parse_duration(gate.soak), max_soak_s))
    network = replace(spec.network, download_window=None)
    return replace(spec, window=None, gate=gate, network=network)


def _told(project: Project, soak_s: float) -> list[str]:
    told = []
    specs = project.spec.targets.values()
    if any(spec.window or spec.network.download_window for spec in specs):
        told.append("windows are left out: virtual devices have no site")
    if project.policy.pause_after or any(spec.gate.approve for spec in specs):
        told.append("approvals are left out: they are given to the real rollout")
    if project.policy.gates is not None and project.policy.gates.on_missing == "fail":
        told.append("gates that too little is told for are passed: who asks virtual devices?")
    if soak_s > LONG_SOAK_S:
        told.append(
            f"each wave soaks for {format_duration(soak_s)}; --soak 10s makes a rehearsal shorter"
        )
    return told

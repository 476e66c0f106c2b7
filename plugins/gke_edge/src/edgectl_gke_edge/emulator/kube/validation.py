"""The rules of each kind."""

from __future__ import annotations

from edgectl_gke_edge.emulator.kube.errors import Cause, Json
from edgectl_gke_edge.emulator.kube.kinds import Kind


def check(kind: Kind, obj: Json, old: Json | None) -> list[Cause]:
    """Return what is wrong with an object."""
    return []

"""Counts the system metrics of edge deployments, all in one pass over the devices. Pure.

They are what the queries say that the hub shows for them (``configurations._edge_queries``); asking
those for a hundred deployments of thousands of devices would take the emulator minutes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edgectl_azure_iot_edge.emulator.hub.assignment import APPLIED
from edgectl_azure_iot_edge.emulator.hub.identity import AGENT
from edgectl_azure_iot_edge.emulator.hub.registry import DeviceEntry
from edgectl_azure_iot_edge.emulator.hub.twin import Twin

SUCCESS = 200
NOTHING: Mapping[str, int] = {
    "targetedCount": 0,
    "appliedCount": 0,
    "reportedSuccessfulCount": 0,
    "reportedFailedCount": 0,
}


def count_edge(devices: Iterable[DeviceEntry]) -> dict[str, dict[str, int]]:
    """Return deployment → its metrics, for those that target any device."""
    found: dict[str, dict[str, int]] = {}
    for device in devices:
        agent = device.modules.get(AGENT)
        if agent is None:
            continue
        verdict = _verdict(agent.twin)
        for name, status in agent.twin.configurations.items():
            counts = found.setdefault(name, dict(NOTHING))
            counts["targetedCount"] += 1
            if status == APPLIED:
                counts["appliedCount"] += 1
                if verdict:
                    counts[verdict] += 1
    return found


def _verdict(agent: Twin) -> str:
    """Return which metric an agent counts for: "" until it has reported on what is desired now."""
    reported = agent.reported.values
    status = reported.get("lastDesiredStatus")
    code = status.get("code") if isinstance(status, dict) else None
    if reported.get("lastDesiredVersion") != agent.desired.version or code is None:
        return ""
    return "reportedSuccessfulCount" if code == SUCCESS else "reportedFailedCount"

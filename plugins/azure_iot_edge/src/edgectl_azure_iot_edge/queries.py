"""The questions that we ask a hub, in IoT Hub's query language. Pure.

A query costs as much as 1,000 twin reads, so few are asked: devices with their tags, and the twins
of ``$edgeAgent`` and of our module together. Each asks for the columns that are needed only, since
a whole twin of edgeAgent has 100 KB with its metadata.
"""

from __future__ import annotations

from collections.abc import Iterable

from edgectl_azure_iot_edge.limits import MAX_QUERY, chunks
from edgectl_azure_iot_edge.names import AGENT, TAG, tag_key
from edgectl_azure_iot_edge.selector import Selector, id_list, quoted

DEVICE_COLUMNS = ("deviceId", "etag", "tags", "connectionState", "lastActivityTime")
AGENT_COLUMNS = {
    "deviceId": "deviceId",
    "moduleId": "moduleId",
    "connectionState": "connectionState",
    "lastActivityTime": "lastActivityTime",
    "configurations": "configurations",
    "properties.desired.$version": "wanted",
    "properties.desired.runtime.type": "runtime",
    "properties.reported.lastDesiredVersion": "took",
    "properties.reported.lastDesiredStatus": "status",
    "properties.reported.modules": "modules",
    "properties.reported.edgectl": "told",
}
_ROOM = 700
"""Characters of a query over modules beside the list of devices."""


def select(columns: Iterable[str], source: str, condition: str) -> str:
    """Return a query."""
    return " ".join(("SELECT", ", ".join(columns), "FROM", source, "WHERE", condition))


def devices(selector: Selector) -> str:
    """Ask for the devices of a target, with their tags."""
    return select(DEVICE_COLUMNS, "devices", selector.query_condition)


def modules(ids: Iterable[str], module: str) -> Iterable[str]:
    """Ask for the twins of edgeAgent and of our module on these devices, in few queries."""
    columns = [f"{path} AS {alias}" for path, alias in AGENT_COLUMNS.items()]
    which = f"moduleId IN [{quoted(AGENT)}, {quoted(module)}]"
    room = MAX_QUERY - len(select(columns, "devices.modules", which)) - _ROOM
    for group in chunks(ids, room):
        yield select(columns, "devices.modules", f"{which} AND {id_list(group)}")


def carriers(application: str) -> str:
    """Ask for everybody in the hub who has a release of an application, of any target."""
    condition = f"is_defined(tags.{TAG}.{tag_key(application)}.release)"
    return select(("deviceId", "tags"), "devices", condition)


def reported(module: str, number: int, phase: str) -> str:
    """Ask who says to be in a phase with a release; the portal shows how many."""
    told = "properties.reported.edgectl"
    condition = (
        f"moduleId = {quoted(module)} AND {told}.desired = {number} "
        f"AND {told}.phase = {quoted(phase)}"
    )
    return select(("deviceId",), "devices.modules", condition)

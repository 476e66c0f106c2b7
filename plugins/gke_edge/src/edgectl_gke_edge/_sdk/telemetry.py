"""``telemetry``: what pods told a collector, read back from the files that it writes.

Pods send OTLP to the collector that the settings name; its file exporter keeps what came. Who is in
the target is asked of the clusters, also of those that are cut off now: what they told is kept.
"""

from __future__ import annotations

import glob
from weakref import WeakKeyDictionary

from edgectl.api import (
    ProjectError,
    Target,
    TelemetryMembers,
    TelemetryPage,
    TelemetryRecord,
    TelemetryRequest,
    read_otlp_files,
)
from edgectl_gke_edge._sdk import fleet
from edgectl_gke_edge._sdk.account import Account

_MEMBERS: WeakKeyDictionary[Account, TelemetryMembers] = WeakKeyDictionary()


def telemetry(account: Account, request: TelemetryRequest) -> TelemetryPage:
    """Return one page of records, oldest first.

    Raises:
        ProjectError: The settings do not say where records are read back from.
        ProviderError: A file is not what a collector writes.
    """
    files = account.config.collector.files
    if not files:
        raise ProjectError(
            "providers.gke.collector.files is not set: nobody knows where records are kept",
            hint="name what your collector's file exporter writes; docs/providers/gke.md has a "
            "collector's configuration",
        )
    pattern = str(account.project_dir / files)
    if not glob.glob(pattern, recursive=True):  # noqa: PTH207 - the pattern may be absolute
        return TelemetryPage(records=())  # nothing was told yet
    remembered = _MEMBERS.setdefault(account, TelemetryMembers())
    members = (
        {request.device}
        if request.device is not None
        else remembered.of(request, lambda: _devices(account, request.target))
    )

    def wanted(record: TelemetryRecord) -> bool:
        return (
            record.application == request.application
            and record.device in members
            and record.time_unix_ns >= request.since_unix_ns
            and (request.kind is None or record.kind is request.kind)
        )

    found, after = read_otlp_files(
        pattern, wanted=wanted, cursor=request.cursor, limit=request.limit
    )
    return TelemetryPage(records=found, next=after)


def _devices(account: Account, target: Target) -> set[str]:
    return {member.id for member in fleet.find(account, target).members}

"""The report where Kubernetes reads why a container ended: its termination message.

The kubelet keeps 4096 bytes of it (kubernetes.io, "Customizing the termination message"), and cuts
where they end; half a JSON document would tell nobody anything. So the sentence is what gives way.
"""

from __future__ import annotations

import logging
from pathlib import Path

from msgspec.structs import replace

from edge_components.contract.jsonio import canonical_json
from edge_components.contract.state import DeviceReport

TERMINATION_LOG = Path("/dev/termination-log")
MAX_BYTES = 4096
_CUT = "…"
_LOG = logging.getLogger(__name__)


def message(report: DeviceReport, max_bytes: int = MAX_BYTES) -> bytes:
    """Return the report as JSON of at most ``max_bytes`` bytes; its detail is cut as needed."""
    data = canonical_json(report)
    keep = len(report.detail)
    while len(data) > max_bytes and keep > 0:
        # A character may take up to 6 bytes in JSON, so an estimate is made and tried.
        keep = max(0, keep - max(1, (len(data) - max_bytes) // 6 + len(_CUT.encode())))
        data = canonical_json(replace(report, detail=report.detail[:keep] + _CUT))
    return data


def leave(report: DeviceReport, path: Path) -> None:
    """Write the report where the kubelet reads it; what cannot be written is a line in the log."""
    try:
        path.write_bytes(message(report))
    except OSError as exc:
        _LOG.warning("the report cannot be left in '%s': %s", path, exc.strerror)

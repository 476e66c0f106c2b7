"""Where a device's report goes besides standard output.

The file is for whoever stands at the device, the shadow for the fleet's operator. A report that
cannot be sent is a line in the log: it must never turn an update into a failure.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from edge_components.contract.jsonio import canonical_json
from edge_components.contract.state import DeviceReport

_LOG = logging.getLogger(__name__)
REPORT_FILE = "report.json"
SHADOW_NAME = "edgectl"

Reporter = Callable[[DeviceReport], None]


def reporters(state_dir: Path, environ: Mapping[str, str] = os.environ) -> tuple[Reporter, ...]:
    """Return who is to be told on this device."""
    found: list[Reporter] = [FileReporter(state_dir / REPORT_FILE)]
    # What the Greengrass nucleus gives to each component (its developer guide, "component
    # environment variables").
    needed = ("AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT", "SVCUID", "AWS_IOT_THING_NAME")
    if all(environ.get(name) for name in needed):
        found.append(ShadowReporter(environ["AWS_IOT_THING_NAME"]))
    return tuple(found)


def tell(report: DeviceReport, to: tuple[Reporter, ...]) -> None:
    """Tell everybody; whoever cannot be told is named in the log."""
    for reporter in to:
        try:
            reporter(report)
        except Exception as exc:  # noqa: BLE001 - a report is never the reason for a failure
            _LOG.warning("the report did not reach %s: %s", type(reporter).__name__, exc)


class FileReporter:
    """Writes the report beside the device's store."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, report: DeviceReport) -> None:
        """Replace the file."""
        temporary = self._path.with_name(self._path.name + ".tmp")
        temporary.write_bytes(canonical_json(report))
        temporary.replace(self._path)


class ShadowReporter:
    """Writes the report into the thing's named shadow, through the nucleus."""

    def __init__(self, thing: str) -> None:
        self._thing = thing

    def __call__(self, report: DeviceReport) -> None:
        """Publish the update; raises whatever the nucleus or its client does."""
        # Needs the extra [greengrass], which only devices with a nucleus have.
        from edge_components.greengrass import publish  # noqa: PLC0415 - see above

        publish(shadow_topic(self._thing), shadow_update(report))


def shadow_topic(thing: str) -> str:
    """Return the topic that updates the shadow (AWS IoT developer guide, shadow MQTT topics)."""
    return f"$aws/things/{thing}/shadow/name/{SHADOW_NAME}/update"


def shadow_update(report: DeviceReport) -> bytes:
    """Return the document; every key is there, so that nothing of an older report stays."""
    return canonical_json({"state": {"reported": msgspec.to_builtins(report)}})

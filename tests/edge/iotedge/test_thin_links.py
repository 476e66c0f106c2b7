"""A module whose site's link is closed by day: its twin says so, and a new wish lets it fetch."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from edge_device import EdgeDevice

from edge_components.contract.package import FILEPATH
from edge_components.contract.release import NetworkSettings
from edge_components.contract.window import Hours


def shut() -> NetworkSettings:
    """Return a window that opens in six hours."""
    begins = datetime.now(UTC) + timedelta(hours=6)
    begin = begins.hour * 60 + begins.minute
    hours = Hours(begin=begin, end=(begin + 60) % 1440, days=tuple(range(7)))
    return NetworkSettings(hours=hours, zone="UTC")


@pytest.mark.slow
def test_a_module_reports_that_it_waits_and_fetches_when_a_wish_lets_it(
    device: EdgeDevice,
) -> None:
    device.start()
    device.install(1, "v1")
    held = device.release(2, "v2", network=shut())
    device.wish(2, held)
    report = device.until(desired=2, phase="downloading", reason="download-window")
    assert report["detail"].startswith("waits for its download window until ")
    assert device.ask() == "v1"
    weights = next(
        layer.digest
        for layer in held.package.manifest.layers
        if layer.annotations[FILEPATH].endswith("model.onnx")
    )
    assert not any(path.endswith(weights) for path in device.registry.counts)
    device.wish(3, device.release(3, "v2", network=NetworkSettings(bandwidth=10_000_000)))
    device.wait_answer("v2")
    assert device.until(desired=3, phase="healthy")["reason"] == ""

"""A pod behind a link that others need by day: it ends once to say so, and then it waits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from pod_support import EDGE_POD, Pod

from edge_components.contract.package import FILEPATH
from edge_components.contract.release import NetworkSettings
from edge_components.contract.state import DeviceReport, Reason, State
from edge_components.contract.window import Hours

sys.path.insert(0, str(Path(__file__).parents[1] / "oci"))

from releases import Misbehaving, Published, publish

TEMPORARY = 12


@pytest.fixture
def registry() -> Iterator[Misbehaving]:
    registry = Misbehaving()
    yield registry
    registry.close()


def shut() -> NetworkSettings:
    """Return a window that opens in six hours."""
    begins = datetime.now(UTC) + timedelta(hours=6)
    begin = begins.hour * 60 + begins.minute
    hours = Hours(begin=begin, end=(begin + 60) % 1440, days=tuple(range(7)))
    return NetworkSettings(hours=hours, zone="UTC")


def weights(published: Published) -> str:
    """Return the digest of the model's weights."""
    return next(
        layer.digest
        for layer in published.package.manifest.layers
        if layer.annotations[FILEPATH].endswith("model.onnx")
    )


def asked(registry: Misbehaving, digest: str) -> bool:
    return any(path.endswith(f"/blobs/{digest}") for path in registry.counts)


def waits_on(pod: Pod, arguments: list[str]) -> bool:
    """Return whether the pod, started again, waits: it neither ends nor asks for weights."""
    place = ["--termination-log", str(pod.termination_log), "--device", "node-1"]
    log = pod.folder / "again.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*EDGE_POD, "prepare", *pod.arguments(), *place, *arguments],
            stdout=subprocess.DEVNULL,
            stderr=file,
            env={**os.environ},
        )
        deadline = time.monotonic() + 60
        try:
            while b"waits for its download window" not in log.read_bytes():
                if process.poll() is not None or time.monotonic() > deadline:
                    return False
                time.sleep(0.05)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    return True


@pytest.mark.parametrize(
    "cached", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["alone", "node cache"]
)
def test_a_pod_says_once_that_it_waits_and_waits_when_it_is_started_again(
    pod: Pod, registry: Misbehaving, tmp_path: Path, cached: bool
) -> None:
    published = registry.add(publish(pod.publisher, 4, package=pod.package(), network=shut()))
    more = ["--reference", registry.reference, "--release-digest", published.digest]
    more += ["--release", "4"] + (["--node-cache", str(tmp_path / "c")] if cached else [])
    code, report = pod.prepare(None, *more)
    assert (code, report.release, report.state) == (TEMPORARY, 4, State.DOWNLOADING)
    assert report.reason == Reason.DOWNLOAD_WINDOW
    assert report.detail.startswith("waits for its download window until ")
    assert waits_on(pod, more)
    assert not asked(registry, weights(published))


@pytest.mark.slow
def test_a_pod_whose_window_has_opened_says_so_once_and_fetches(
    pod: Pod, registry: Misbehaving
) -> None:
    published = registry.add(publish(pod.publisher, 4, package=pod.package()))
    more = ["--reference", registry.reference, "--release-digest", published.digest]
    more += ["--release", "4"]
    pod.state.mkdir(exist_ok=True)
    before = DeviceReport(
        release=4,
        state=State.DOWNLOADING,
        reason=Reason.DOWNLOAD_WINDOW,
        detail="waits for its download window until 22:00",
    )
    (pod.state / "report.json").write_bytes(msgspec.json.encode(before))
    code, report = pod.prepare(None, *more)
    assert (code, report.state, report.reason) == (TEMPORARY, State.DOWNLOADING, "")
    assert pod.prepare(None, *more)[0] == 0

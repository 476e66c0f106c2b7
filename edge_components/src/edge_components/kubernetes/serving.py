"""``edge-pod serve``: the runtime with the version that ``prepare`` left, and the pod's report.

The process is the runtime, so that the kubelet's signals and probes meet it. The report stands
beside the Open Inference Protocol at ``/edgectl/report``, for the operator. A thread looks at the
runtime until its soak has ended, whether or not anybody asks.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from edge_components.agent.config import identity_of
from edge_components.agent.control import ControlClient, ControlError, RuntimeStatus
from edge_components.agent.layout import layout_of
from edge_components.contract.device import DeviceConfig
from edge_components.contract.errors import ContractError
from edge_components.contract.jsonio import canonical_json
from edge_components.contract.state import DeviceReport, State
from edge_components.kubernetes.pod import Place, settle
from edge_components.kubernetes.report import SoakFile, at_end, at_start, judge
from edge_components.runtime.control import Status
from edge_components.runtime.settings import ServeSettings, serve_settings
from edge_components.runtime.version import Version, read_version
from edge_components.store.store import read_record
from edge_components.update.record import Installed

REPORT_PATH = "edgectl/report"
_LOOK_S = 0.5


def serve(place: Place, *, drain_s: float = 10.0) -> int:
    """Serve until told to stop; return the runtime's exit code.

    Raises:
        ContractError: The configuration cannot be used, or nothing was prepared.
        StoreError: The record cannot be read.
        ActivationError: What was prepared cannot be loaded.
        SettingsError: A setting cannot be used.
        OSError: The address cannot be used.
    """
    # Imported late: the settings are judged before ONNX Runtime is paid for.
    from edge_components.runtime import footprint  # noqa: PLC0415  # see above

    config, _profile = settle(place)
    installed, folder = _prepared(config)
    version = read_version(folder)
    settings = _settings(place, config, installed, folder, drain_s)
    reporter = PodReporter(config, version, place.state)
    footprint.prepare()
    from edge_components.runtime.serve import serve as run  # noqa: PLC0415  # see above

    control = ControlClient(layout_of(config).control_socket)
    threading.Thread(target=reporter.watch, args=(control,), name="soak", daemon=True).start()
    try:
        return run(settings, pages={REPORT_PATH: reporter.page})
    finally:
        reporter.end()


class PodReporter:
    """Keeps the soak of the version that this process serves, and writes the report.

    Args:
        config: The pod's configuration.
        version: What is served.
        state: The pod's own folder.
        clock: Seconds that only rise; for tests.
        now: Seconds since 1970; for tests.
    """

    def __init__(
        self,
        config: DeviceConfig,
        version: Version,
        state: Path,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        release, identity = version.release, identity_of(config)
        self._base = DeviceReport(
            application=identity.application,
            hardware=identity.hardware,
            agent=identity.agent.replace("edge-agent", "edge-pod"),
            release=release.number,
            package=release.package,
        )
        self._soak_s = release.settings.soak_s
        self._clock = clock
        self._file = SoakFile(state)
        before = self._file.read()
        self._soak = at_start(before, release.number, now=now(), soak_s=self._soak_s)
        self._answering_since: float | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._file.write(self._soak)

    def report(self, status: RuntimeStatus | Status) -> DeviceReport:
        """Return the report for what the runtime does now, and keep how the soak goes."""
        with self._lock:
            return self._judge(status, self._clock())

    def _judge(self, status: RuntimeStatus | Status, now: float) -> DeviceReport:
        if status.ready and self._answering_since is None:
            self._answering_since = now
        since = now if self._answering_since is None else self._answering_since
        report = judge(self._base, status, self._soak, answering_s=now - since, soak_s=self._soak_s)
        if report.state is State.HEALTHY and not self._soak.passed:
            self._soak = replace(self._soak, passed=True)
            self._file.write(self._soak)
        return report

    def page(self, status: Status) -> bytes:
        """Return the report as JSON."""
        return canonical_json(self.report(status))

    def watch(self, control: ControlClient) -> None:
        """Follow the runtime until its soak has ended."""
        while not self._ended.wait(_LOOK_S):
            try:
                state = self.report(control.status()).state
            except ControlError:
                continue
            if state.is_settled:
                return

    def end(self) -> None:
        """Note that the runtime ended because it was told to."""
        self._ended.set()
        with self._lock:
            self._soak = at_end(self._soak)
            self._file.write(self._soak)


def _prepared(config: DeviceConfig) -> tuple[Installed, Path]:
    """Return what ``prepare`` left.

    Raises:
        ContractError: ``not-prepared``.
    """
    layout = layout_of(config)
    record = read_record(layout.store)
    if record.active is None:
        raise ContractError(
            "not-prepared",
            f"'{layout.store}' holds no version: 'edge-pod prepare' has to run first",
        )
    return record.active, layout.store / "versions" / str(record.active.number)


def _settings(
    place: Place, config: DeviceConfig, version: Installed, folder: Path, drain_s: float
) -> ServeSettings:
    layout = layout_of(config)
    return serve_settings(
        argparse.Namespace(
            config=place.effective,
            pipeline_config=None,
            version_dir=folder,
            precision=version.precision,
            state_dir=layout.runtime,
            control_socket=layout.control_socket,
            drain_s=drain_s,
        )
    )

"""The command ``edge-runtime bench``: what is measured, and where the report goes.

With the device's configuration the report is kept beside the store, where the agent finds it when
it next chooses a variant, and goes up as an event: through the runtime if one answers, else
through the queue that the next one sends.
"""

from __future__ import annotations

import argparse
import logging
import secrets
import sys
import time
from pathlib import Path

import msgspec

from edge_components.agent.control import ControlClient, ControlError
from edge_components.agent.layout import Layout, layout_of
from edge_components.contract.bench import BenchReport
from edge_components.contract.device import BENCH_FILE, ENGINES, DeviceConfig, parse_device_config
from edge_components.contract.errors import ContractError
from edge_components.contract.telemetry import Kind, TelemetryRecord
from edge_components.runtime.bench import (
    BenchSettings,
    as_table,
    be_humble,
    bench,
    watch_parent,
)
from edge_components.runtime.settings import SettingsError
from edge_components.store.store import StoreError, read_record
from edge_components.telemetry.queue import QUEUE_FILE, TelemetryQueue

log = logging.getLogger(__name__)

_BODY = "bench"
_ENDING = "ExecutionProvider"


def run(options: argparse.Namespace) -> int:
    """Measure, print, keep and send; return the exit code: 0 if anything good was measured.

    Raises:
        SettingsError: It is not said what to measure, or it is not there.
        ActivationError: It cannot be used.
    """
    config = None if options.config is None else _read_config(options.config)
    settings = bench_settings(options, config)
    if options.in_process is not None:
        # Only the process that runs the model pays for importing ONNX Runtime.
        from edge_components.runtime.bench_child import measure_here  # noqa: PLC0415  # see above

        watch_parent(options.in_process)
        row = measure_here(settings, options.precision or "", settings.providers[0])
        _print(msgspec.json.encode(row).decode())
        return 0
    be_humble(options.nice)
    report = bench(settings)
    as_json = options.output == "json"
    _print(msgspec.json.encode(report).decode() if as_json else as_table(report))
    if config is not None and report.best is not None:
        keep(report, layout_of(config))
        if not options.no_send:
            said = send(report, config)
            sys.stderr.write(f"{said}\n")
    return 0 if report.best is not None else 1


def bench_settings(options: argparse.Namespace, config: DeviceConfig | None) -> BenchSettings:
    """Return what to measure.

    Raises:
        SettingsError: It is not said, or it is not there.
    """
    path, engines = options.path, options.engine_cache
    hardware = options.hardware or (config.device.hardware if config else "x86-64-cpu")
    if config is not None:
        layout = layout_of(config)
        engines = engines or layout.store / ENGINES
        path = path or _active(layout)
    if path is None:
        raise SettingsError("name a version's folder or a model file, or give --config")
    if not path.exists():
        raise SettingsError(f"'{path}' is not there")
    if not options.seconds > 0:
        raise SettingsError("--seconds has to be above 0")
    return BenchSettings(
        path=path,
        golden=options.golden,
        hardware=hardware,
        providers=tuple(name.removesuffix(_ENDING) + _ENDING for name in options.providers or ()),
        seconds=options.seconds,
        timeout_s=options.timeout,
        engines=engines,
    )


def keep(report: BenchReport, layout: Layout) -> None:
    """Keep the report where the agent looks; a disk that takes nothing is only logged."""
    path = layout.store / BENCH_FILE
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_bytes(msgspec.json.encode(report))
        part.replace(path)
    except OSError as exc:
        log.warning("the report is not kept: '%s': %s", path, exc.strerror)


def send(report: BenchReport, config: DeviceConfig) -> str:
    """Send the report up; return a sentence on how."""
    layout, attributes = layout_of(config), report.to_attributes()
    try:
        ControlClient(layout.control_socket).event(_BODY, attributes)
    except ControlError:
        # Nobody serves: the queue is nobody's, and the next runtime sends what is in it.
        return _queue(report, config, layout)
    return "the report goes up with the runtime's telemetry"


def _queue(report: BenchReport, config: DeviceConfig, layout: Layout) -> str:
    layout.runtime.mkdir(parents=True, exist_ok=True)
    telemetry = config.telemetry
    queue = TelemetryQueue(
        layout.runtime / QUEUE_FILE, max_bytes=telemetry.max_bytes, ttl_s=telemetry.ttl_s
    )
    record = TelemetryRecord(
        id=f"bench-{secrets.token_hex(8)}",
        kind=Kind.EVENT,
        time_unix_ns=time.time_ns(),
        device=config.device.id,
        application=config.device.application,
        release=report.release,
        package=report.package,
        body=_BODY,
        attributes=report.to_attributes(),
    )
    is_kept = queue.put([record])
    queue.close()
    return "the report goes up when a runtime runs" if is_kept else "the report cannot be queued"


def _active(layout: Layout) -> Path | None:
    try:
        active = read_record(layout.store).active
    except StoreError as exc:
        raise SettingsError(str(exc)) from exc
    if active is None:
        raise SettingsError("no release is active on this device: name what to measure")
    return layout.store / "versions" / str(active.number)


def _read_config(path: Path) -> DeviceConfig:
    try:
        return parse_device_config(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ContractError) as exc:
        raise SettingsError(f"'{path}' cannot be read: {exc}") from exc


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()

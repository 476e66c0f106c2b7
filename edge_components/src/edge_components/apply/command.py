"""``edge-agent apply``: takes one delivered release to its end, and says how it ended.

It may be ended at any instant, by a signal or by a power cut: the device is on the old version or
on the new one, whole, and the same command goes on. While it works it holds the store's lock, so
a second one waits for it and finds the work done.
"""

from __future__ import annotations

import logging
import signal
import sys
import time
from contextlib import closing
from pathlib import Path

import msgspec

from edge_components.agent.config import identity_of, load_config
from edge_components.agent.control import ControlClient
from edge_components.agent.layout import RUNTIME, layout_of
from edge_components.agent.reporting import device_report
from edge_components.apply.external import ExternalRuntime, RuntimeTiming
from edge_components.apply.folder import Delivery, FolderSource
from edge_components.apply.order import Order
from edge_components.apply.reporters import reporters, tell
from edge_components.apply.verdict import ExitCode, trouble
from edge_components.contract.device import ENGINES, DeviceConfig
from edge_components.contract.hardware import HardwareProfile
from edge_components.contract.release import ReleaseDocument
from edge_components.contract.state import DeviceReport, Reason
from edge_components.store.disk import Disk, DiskFullError, is_full
from edge_components.store.store import Store, StoreBusyError, read_record
from edge_components.update.errors import CalledOffError, RefusedError
from edge_components.update.executor import Interrupt, Timing, Updater
from edge_components.update.golden import GoldenCheck
from edge_components.update.ports import Trust
from edge_components.update.record import Record
from edge_components.update.trust import ChildTrust

_LOG = logging.getLogger(__name__)
_LOOK_S = 0.1


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """Every duration of an order, and the runtime's command; the defaults are for service.

    Attributes:
        lock_s: How long another ``apply`` may hold the store.
        control_s: How long a short call to the runtime may take.
        check_s: How long loading a variant and checking it may take.
    """

    program: tuple[str, ...] = RUNTIME
    runtime: RuntimeTiming = RuntimeTiming()
    soak: Timing = Timing()
    lock_s: float = 60.0
    control_s: float = 5.0
    check_s: float = 240.0


def apply(
    delivery: Delivery,
    config_path: Path,
    *,
    tuning: Tuning | None = None,
    disk: Disk | None = None,
    trust: Trust | None = None,
) -> int:
    """Carry out an order; print the device's report and return the exit code.

    Args:
        delivery: The release and its package.
        config_path: The device's configuration.
        tuning: Durations other than those for service.
        disk: Durable file operations, if they are to be observed.
        trust: Who is believed; by default the configured publishers, verified in a child.

    Raises:
        ContractError: The configuration cannot be used.
        StoreError: The store's record cannot be read.
    """
    config, profile = load_config(config_path)
    device = _Device(config, profile, tuning or Tuning(), disk, trust)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: device.interrupt.stop())
    code, report = device.carry_out(delivery)
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    sys.stdout.flush()
    tell(report, reporters(layout_of(config).state_dir))
    _LOG.info("release %d: %s %s", report.release, report.state, report.detail or report.reason)
    return code


class _Device:
    """This device, put together from its configuration."""

    def __init__(
        self,
        config: DeviceConfig,
        profile: HardwareProfile,
        tuning: Tuning,
        disk: Disk | None,
        trust: Trust | None,
    ) -> None:
        self._config = config
        self._profile = profile
        self._tuning = tuning
        self._disk = disk
        self._trust = trust or ChildTrust(config.trust.publishers)
        self._layout = layout_of(config)
        self._identity = identity_of(config)
        self.interrupt = Interrupt()

    def carry_out(self, delivery: Delivery) -> tuple[ExitCode, DeviceReport]:
        try:
            self._layout.runtime.mkdir(parents=True, exist_ok=True, mode=0o700)
            store = self._open()
        except (DiskFullError, StoreBusyError, OSError) as exc:
            return self._unusable(exc, read_record(self._layout.store), None)
        except CalledOffError:
            return ExitCode.TEMPORARY, self._report(read_record(self._layout.store), None)
        with closing(store):
            return self._ordered(store, delivery)

    def _ordered(self, store: Store, delivery: Delivery) -> tuple[ExitCode, DeviceReport]:
        tuning = self._tuning
        control = ControlClient(self._layout.control_socket, timeout_s=tuning.control_s)
        runtime = ExternalRuntime(control, store.versions.path, tuning.runtime)
        order = Order(
            store, runtime, FolderSource(delivery), trust=self._trust, interrupt=self.interrupt
        )
        try:
            code = order.carry_out(self._updater(store, runtime, order))
        except CalledOffError:
            return ExitCode.TEMPORARY, self._report(store.record, order.answering())
        except (RefusedError, DiskFullError, OSError) as exc:
            return self._unusable(exc, store.record, order.release)
        return code, self._report(store.record, order.answering())

    def _open(self) -> Store:
        """Open the store, once whoever has it open lets go of it."""
        deadline = time.monotonic() + self._tuning.lock_s
        while True:
            try:
                return Store.open(self._layout.store, self._config.store, disk=self._disk)
            except StoreBusyError:
                if time.monotonic() > deadline:
                    raise
            if self.interrupt.stopped.wait(_LOOK_S):
                raise CalledOffError

    def _updater(self, store: Store, runtime: ExternalRuntime, order: Order) -> Updater:
        config, tuning = self._config, self._tuning
        hardware = config.device.hardware
        return Updater(
            store,
            trust=self._trust,
            checker=GoldenCheck(
                tuning.program,
                hardware,
                timeout_s=tuning.check_s,
                engines=self._layout.store / ENGINES,
            ),
            runtime=runtime,
            profile=self._profile,
            application=config.device.application,
            keep=config.store.keep,
            changed=order.changed,
            timing=tuning.soak,
        )

    def _report(self, record: Record, answering: int | None) -> DeviceReport:
        return device_report(record, self._identity, answering=answering)

    def _unusable(
        self, error: Exception, record: Record, release: ReleaseDocument | None
    ) -> tuple[ExitCode, DeviceReport]:
        """Return the verdict on an order that something beside it stands in the way of."""
        _LOG.error("%s", error)
        reason, detail = _reason(error), getattr(error, "detail", str(error))
        switched = record.update is not None and record.update.phase.is_switched
        refused = reason is Reason.DISK_FULL and not switched
        report = trouble(self._report(record, None), release, reason, detail)
        return ExitCode.REFUSED if refused else ExitCode.TEMPORARY, report


def _reason(error: Exception) -> Reason:
    if isinstance(error, RefusedError):
        return error.reason
    full = isinstance(error, DiskFullError) or (isinstance(error, OSError) and is_full(error))
    return Reason.DISK_FULL if full else Reason.INTERNAL

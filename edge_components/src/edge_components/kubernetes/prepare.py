"""``edge-pod prepare``: one release is verified, checked on this hardware and left for ``serve``.

The updater does it, as on every other device; only its ends are a pod's. There is nothing to
switch from, and the soak begins when the runtime does. It may be ended at any instant and is
started anew by the kubelet: what is in place then is taken, the rest is done again.

A pod that waits for its download window can say so only by ending, because the kubelet passes a
container's words on when it ends. So it ends once when what it waits for changes, and waits when
it was started again.
"""

from __future__ import annotations

import logging
import signal
import sys
from contextlib import ExitStack, closing
from pathlib import Path

import msgspec

from edge_components.agent.config import identity_of
from edge_components.agent.layout import RUNTIME, layout_of
from edge_components.agent.reporting import device_report
from edge_components.apply.reporters import REPORT_FILE, FileReporter
from edge_components.apply.verdict import (
    ExitCode,
    action_of,
    exit_code,
    forget_outcome,
    trouble,
)
from edge_components.contract.device import ENGINES, DeviceConfig
from edge_components.contract.hardware import HardwareProfile
from edge_components.contract.state import DeviceReport, Reason, State
from edge_components.kubernetes.delivery import Bring
from edge_components.kubernetes.expected import Expected, NoRuntimeYet, PodTrust
from edge_components.kubernetes.ledger import Ledger
from edge_components.kubernetes.pod import Place, settle
from edge_components.kubernetes.termination import TERMINATION_LOG, leave
from edge_components.store.disk import DiskFullError, is_full
from edge_components.store.store import Store, StoreBusyError, read_record
from edge_components.update import machine
from edge_components.update.errors import CalledOffError, RefusedError
from edge_components.update.executor import Interrupt, Updater
from edge_components.update.golden import GoldenCheck
from edge_components.update.link import Listener
from edge_components.update.ports import Source, Trust
from edge_components.update.record import Record
from edge_components.update.trust import ChildTrust

_LOG = logging.getLogger(__name__)
_PREPARED = "prepared; the runtime has not started"
_AGAIN = {Reason.DOWNLOAD_FAILED, Reason.INTERNAL, Reason.CANCELED}


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a pod is told.

    Attributes:
        place: Where it finds and keeps things.
        expected: The release that it was made for.
        node_cache: A folder that the pods of this node share, or None.
        termination_log: Where the report is left for the kubelet.
        check_s: How long loading a variant and checking it may take.
    """

    place: Place
    expected: Expected = Expected()
    node_cache: Path | None = None
    termination_log: Path = TERMINATION_LOG
    check_s: float = 240.0


def prepare(order: Order, bring: Bring, *, trust: Trust | None = None) -> int:
    """Carry out an order; print the report, leave it for the kubelet, return the exit code.

    Args:
        order: What the pod is told.
        bring: Finds or fetches the release's files; may raise ``RefusedError``.
        trust: Who is believed; by default the configured publishers, verified in a child.

    Raises:
        ContractError: The configuration cannot be used.
        StoreError: The store's record cannot be read.
    """
    config, profile = settle(order.place)
    pod = _Pod(order, config, profile, trust)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: pod.interrupt.stop())
    code, report = pod.carry_out(bring)
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    sys.stdout.flush()
    FileReporter(order.place.state / REPORT_FILE)(report)
    leave(report, order.termination_log)
    _LOG.info("release %d: %s %s", report.release, report.state, report.detail or report.reason)
    return code


class _Pod:
    """One pod's preparation, put together from its configuration."""

    def __init__(
        self, order: Order, config: DeviceConfig, profile: HardwareProfile, trust: Trust | None
    ) -> None:
        self._order = order
        self._config = config
        self._profile = profile
        self._layout = layout_of(config)
        self._identity = identity_of(config)
        cache = order.node_cache
        self._ledger = None if cache is None else Ledger(cache, config.store.keep)
        inner = trust or ChildTrust(config.trust.publishers)
        self._trust = PodTrust(inner, order.expected, self._ledger)
        self.interrupt = Interrupt()
        self._listener = Listener(told=_told(order), tell=self._waits)
        self._waits_for: str | None = None

    def _waits(self, what: str) -> None:
        self._waits_for = what
        self.interrupt.stop()

    def carry_out(self, bring: Bring) -> tuple[ExitCode, DeviceReport]:
        try:
            self._layout.runtime.mkdir(parents=True, exist_ok=True)
            with ExitStack() as held:
                store = held.enter_context(
                    closing(Store.open(self._layout.store, self._config.store))
                )
                source = bring(self._config, self.interrupt, held, self._listener)
                return self._update(store, source)
        except CalledOffError:
            report = self._report(read_record(self._layout.store))
            return ExitCode.TEMPORARY, self._with_wait(report)
        except (RefusedError, StoreBusyError, DiskFullError, OSError) as exc:
            return self._stopped(exc)

    def _update(self, store: Store, source: Source) -> tuple[ExitCode, DeviceReport]:
        action = action_of(self._order.expected.release)
        store.change(lambda now: machine.begin(forget_outcome(now, action), action))
        record = self._updater(store).run(source, self.interrupt)
        code = exit_code(record, switched=False)
        if code is ExitCode.HEALTHY and self._ledger is not None and self._trust.verified:
            self._ledger.accept(self._trust.verified)
        if code is ExitCode.REFUSED and record.outcome and record.outcome.reason in _AGAIN:
            code = ExitCode.TEMPORARY
        return code, self._report(record)

    def _updater(self, store: Store) -> Updater:
        hardware = self._config.device.hardware
        return Updater(
            store,
            trust=self._trust,
            checker=GoldenCheck(
                RUNTIME,
                hardware,
                timeout_s=self._order.check_s,
                engines=self._layout.store / ENGINES,
            ),
            runtime=NoRuntimeYet(),
            profile=self._profile,
            application=self._config.device.application,
            keep=self._config.store.keep,
            listener=self._listener,
        )

    def _with_wait(self, report: DeviceReport) -> DeviceReport:
        """Add what the pod waits for, or that it waits no more, if that is why it ends."""
        if self._waits_for is None:
            return report
        reason = Reason.DOWNLOAD_WINDOW if self._waits_for else Reason.NONE
        return msgspec.structs.replace(
            report, state=State.DOWNLOADING, reason=reason, detail=self._waits_for
        )

    def _report(self, record: Record) -> DeviceReport:
        report = device_report(record, self._identity, answering=None)
        if report.state is State.HEALTHY:
            report = msgspec.structs.replace(report, state=State.VERIFYING, detail=_PREPARED)
        report = msgspec.structs.replace(report, active_release=0, active_package="")
        return self._named(report)

    def _named(self, report: DeviceReport) -> DeviceReport:
        """Return the report about the release that the pod is for, where it names none."""
        expected = self._order.expected
        return msgspec.structs.replace(
            report,
            release=report.release or expected.release,
            package=report.package or expected.package,
        )

    def _stopped(self, error: Exception) -> tuple[ExitCode, DeviceReport]:
        """Return the verdict on an order that something beside the release stands in the way of."""
        _LOG.error("%s", error)
        reason = _reason(error)
        detail = getattr(error, "detail", str(error))
        told = self._named(trouble(self._report(Record()), None, reason, detail))
        return ExitCode.TEMPORARY if reason in _AGAIN else ExitCode.REFUSED, told


def _told(order: Order) -> str:
    """Return what the pod said before this start that it waits for."""
    try:
        data = (order.place.state / REPORT_FILE).read_bytes()
        report = msgspec.json.decode(data, type=DeviceReport)
    except (OSError, msgspec.DecodeError):
        return ""
    is_this = report.release in {0, order.expected.release}
    return report.detail if is_this and report.reason == Reason.DOWNLOAD_WINDOW else ""


def _reason(error: Exception) -> Reason:
    if isinstance(error, RefusedError):
        return error.reason
    full = isinstance(error, DiskFullError) or (isinstance(error, OSError) and is_full(error))
    return Reason.DISK_FULL if full else Reason.INTERNAL

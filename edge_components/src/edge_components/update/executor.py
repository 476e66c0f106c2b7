"""Carries out the machine's commands, one after another, and stores the record between them.

It holds no rule of its own: a step that is refused becomes a ``Failed`` event, a step that is
called off ends the run, and the machine decides what that means.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import msgspec

from edge_components.contract.errors import ContractError
from edge_components.contract.hardware import HardwareProfile
from edge_components.contract.state import Reason
from edge_components.store.disk import DiskFullError, is_full
from edge_components.store.store import Store
from edge_components.update import events, machine
from edge_components.update.errors import CalledOffError, RefusedError
from edge_components.update.link import Listener
from edge_components.update.ports import Checker, Runtime, Source, Trust
from edge_components.update.preparation import Preparation
from edge_components.update.record import Record
from edge_components.update.soak import soak_fault

_LOG = logging.getLogger(__name__)


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """How closely the updater looks at a soaking version.

    Attributes:
        look_s: Seconds between looks.
        patience_s: How long a soaking version may be silent.
    """

    look_s: float = 0.5
    patience_s: float = 20.0


class Interrupt:
    """How an update is told to end: taken back by whoever ordered it, or the agent stops.

    Attributes:
        stopped: Set when the agent stops; every step gives way.
        either: Set when it stops or the order was taken back; steps before the switch give way.
    """

    def __init__(self) -> None:
        self.canceled = threading.Event()
        self.stopped = threading.Event()
        self.either = threading.Event()

    def cancel(self) -> None:
        """Take the order back; without effect after the switch."""
        self.canceled.set()
        self.either.set()

    def stop(self) -> None:
        """End the run and leave the record for the next start."""
        self.stopped.set()
        self.either.set()


class Updater:
    """Runs updates on one device.

    Args:
        store: The device's store.
        trust: Who is believed.
        checker: The golden check.
        runtime: The inference server.
        profile: This device's hardware.
        application: The one application that it runs.
        keep: Good versions that stay, the active one included.
        changed: Called after every stored record, in the updater's thread.
        timing: How closely a soak is watched.
        listener: Who hears what a download waits for, once that is in the record.
    """

    def __init__(
        self,
        store: Store,
        *,
        trust: Trust,
        checker: Checker,
        runtime: Runtime,
        profile: HardwareProfile,
        application: str,
        keep: int = 2,
        changed: Callable[[Record], None] = lambda _record: None,
        timing: Timing | None = None,
        listener: Listener | None = None,
    ) -> None:
        self._store = store
        self._trust = trust
        self._checker = checker
        self._runtime = runtime
        self._profile = profile
        self._application = application
        self._keep = keep
        self._changed = changed
        self._timing = timing or Timing()
        self._hearing = listener or Listener()

    def run(self, source: Source | None, interrupt: Interrupt) -> Record:
        """Go on with the update in the record until it ends or is held; return the record.

        Args:
            source: Where files come from; None to go on after the switch, which needs none.
            interrupt: How to end it.

        Raises:
            DiskFullError: Not even the record can be written; call again later.
            CalledOffError: The agent is stopping.
        """
        preparation = Preparation(self._store, self._trust, self._profile, source, self._listener)
        last: events.Command | None = None
        while (command := machine.next_command(self._store.record)) is not None:
            last = command
            event = self._attempt(command, preparation, interrupt)
            try:
                self._apply(event, interrupt)
            except DiskFullError as exc:
                self._store.forget_download()
                self._apply(events.Failed(reason=Reason.DISK_FULL, detail=str(exc)), interrupt)
        record = self._store.record
        resumable = record.outcome and _is_resumable(record.outcome.reason, last)
        if record.update is None and not resumable:
            self._store.forget_download()
        return record

    @property
    def _listener(self) -> Listener:
        return Listener(told=self._hearing.told, tell=self._waits)

    def _waits(self, what: str) -> None:
        """Note what the download waits for; a disk that cannot keep it stops nothing."""
        try:
            self._changed(self._store.change(lambda now: machine.waits(now, what)))
        except (DiskFullError, OSError) as exc:
            _LOG.warning("what the device waits for is not noted: %s", exc)
        self._hearing.tell(what)

    def _apply(self, event: events.Event, interrupt: Interrupt) -> None:
        def decide(record: Record) -> Record:
            # Under the store's lock it is settled which came first: the switch, or the word back.
            update = record.update
            back = interrupt.canceled.is_set() and update and not update.phase.is_switched
            return machine.apply(
                record,
                events.Canceled(detail=machine.CANCELED_BY_OPERATOR) if back else event,
                application=self._application,
                keep=self._keep,
            )

        self._changed(self._store.change(decide))

    def _attempt(
        self, command: events.Command, preparation: Preparation, interrupt: Interrupt
    ) -> events.Event:
        late = isinstance(command, events.Activate | events.Soak | events.Restore)
        stop = interrupt.stopped if late else interrupt.either
        try:
            return self._carry_out(command, preparation, stop)
        except CalledOffError:
            if interrupt.stopped.is_set():
                raise
            return events.Canceled()
        except RefusedError as exc:
            failed = events.Failed(reason=exc.reason, detail=exc.detail, claimed=exc.claimed)
        except ContractError as exc:
            failed = events.Failed(reason=_contract_reason(exc), detail=str(exc))
        except (DiskFullError, OSError) as exc:
            full = isinstance(exc, DiskFullError) or is_full(exc)
            reason = Reason.DISK_FULL if full else Reason.INTERNAL
            failed = events.Failed(reason=reason, detail=str(exc))
            if full and not late:
                self._store.forget_download()
        except Exception as exc:  # noqa: BLE001 - a fault in a step ends the update, not the agent
            _LOG.exception("%s failed", type(command).__name__)
            failed = events.Failed(reason=Reason.INTERNAL, detail=f"{type(exc).__name__}: {exc}")
        _LOG.warning("%s failed: %s: %s", type(command).__name__, failed.reason, failed.detail)
        return failed

    def _carry_out(
        self, command: events.Command, preparation: Preparation, stop: threading.Event
    ) -> events.Event:
        match command:
            case events.Activate():
                return events.Activated(provider=self._runtime.activate(command.version, stop))
            case events.Soak():
                return self._soak(command, stop)
            case events.Restore():
                self._runtime.restore(command.version, stop)
                return events.Restored()
            case events.Check():
                folder = self._store.versions.path(command.release.number)
                wanted = "" if preparation.compares else command.precision
                found = self._checker.check(folder, wanted, stop)
                return events.Checked(provider=found.provider, precision=found.precision)
        return preparation.carry_out(command, stop)

    def _soak(self, command: events.Soak, stop: threading.Event) -> events.Soaked:
        number = command.version.number
        before = self._runtime.health()
        began = answered = time.monotonic()
        while True:
            now, health = time.monotonic(), self._runtime.health()
            answers = health.ready and health.release == number
            answered = now if answers else answered
            fault = soak_fault(
                before,
                health,
                number=number,
                unready_s=now - answered,
                patience_s=self._timing.patience_s,
            )
            if fault is not None:
                raise fault
            if answers and now - began >= command.seconds:
                return events.Soaked()
            if stop.wait(self._timing.look_s):
                raise CalledOffError


def _is_resumable(reason: Reason, last: events.Command | None) -> bool:
    """Return whether what was fetched may be of use to the next order.

    One that takes another's place often has the same files, for example by other limits of the
    network.
    """
    canceled = reason is Reason.CANCELED and isinstance(last, events.FetchLayers)
    return canceled or reason is Reason.DOWNLOAD_FAILED


def _contract_reason(error: ContractError) -> Reason:
    return Reason.DIGEST_MISMATCH if error.code == "digest-mismatch" else Reason.BAD_PACKAGE

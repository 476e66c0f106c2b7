"""The agent: polls the hub, hands orders to the updater, reports, and keeps the runtime running.

The main thread talks to the hub and to nobody else; the updater and the watch over the runtime
have threads of their own. Without a hub the device goes on answering. What people at the device
bring (``carry_in``) comes from other threads: one lock settles which update begins.
"""

from __future__ import annotations

import logging
import threading
import time

import msgspec

from edge_components.agent.backoff import Backoff, chance, poll_wait_s
from edge_components.agent.courier import Courier
from edge_components.agent.ddi import DdiClient, Order
from edge_components.agent.download import DdiSource, DownloadPolicy
from edge_components.agent.http import HubError
from edge_components.agent.importing import Attributes, Errand
from edge_components.agent.notify import notify
from edge_components.agent.orders import (
    CancelDecision,
    OrderDecision,
    decide_cancel,
    decide_order,
    may_give_way,
    open_outcome,
)
from edge_components.agent.reporting import (
    Identity,
    cancel_accepted,
    cancel_rejected,
    closing_feedback,
    device_report,
)
from edge_components.agent.supervisor import Supervisor
from edge_components.agent.worker import Worker
from edge_components.contract.state import DeviceReport
from edge_components.store.disk import DiskFullError
from edge_components.store.store import Store
from edge_components.update import machine
from edge_components.update.executor import Updater
from edge_components.update.record import Phase, Record, Update

_LOG = logging.getLogger(__name__)
_LONGEST_WAIT_S = 60.0


class AgentTiming(msgspec.Struct, frozen=True, kw_only=True):
    """How often the agent does what.

    Attributes:
        poll_s: Seconds between polls; 0 takes what the hub says.
        settle_s: How long the first report waits for the runtime to answer.
        resume_s: Pause before an update that broke off after the switch goes on.
        stop_s: How long the updater may take to give way.
    """

    poll_s: float = 0.0
    settle_s: float = 10.0
    resume_s: float = 5.0
    stop_s: float = 10.0
    backoff: Backoff = Backoff()
    download: DownloadPolicy = DownloadPolicy()


class Agent:
    """One device's agent; ``run`` returns after ``stop``.

    Args:
        store: The device's store; closed by the caller.
        client: The hub, or None for a device without one.
        supervisor: Keeps the runtime running.
        identity: Who speaks.
        timing: How often the agent does what.
    """

    def __init__(
        self,
        store: Store,
        *,
        client: DdiClient | None,
        supervisor: Supervisor,
        identity: Identity,
        timing: AgentTiming | None = None,
    ) -> None:
        self._store = store
        self._client = client
        self._supervisor = supervisor
        self._identity = identity
        self._timing = timing or AgentTiming()
        self._wake = threading.Event()
        self._stopping = False
        self._courier = Courier(client, store, self._report) if client else None
        self._worker: Worker | None = None
        self._turnstile = threading.Lock()
        self._errand: Errand | None = None
        self._running = threading.Event()
        self._ended = threading.Event()
        self._failures = 0
        self._next_poll = 0.0
        self._next_delivery = 0.0
        self._resume_at = 0.0
        self._settle_at = 0.0
        self._rejected: set[str] = set()
        supervisor.listen(self.wake)

    def attach(self, updater: Updater) -> None:
        """Take the updater, whose changes come back through ``changed``."""
        self._worker = Worker(updater, self._update_ended)

    def stop(self) -> None:
        """Ask the agent to end; safe in a signal handler."""
        self._stopping = True
        self._ended.set()
        self._wake.set()

    def changed(self, record: Record) -> None:
        """Note a new record; called in the updater's thread."""
        if (errand := self._errand) is not None:
            errand.changed(record)
        if self._courier is not None:
            self._courier.note(record)
        self._wake.set()

    def wake(self) -> None:
        """Look again now; any thread may call."""
        self._wake.set()

    def carry_in(self, errand: Errand) -> str:
        """Begin an import, and return at once; say why not, or "". Any thread may call.

        Raises:
            DiskFullError: The record cannot be written.
        """
        if not self._running.wait(self._timing.stop_s):
            return "the agent does not run yet"
        with self._turnstile:
            if self._worker is None or self._stopping:
                return "the agent is stopping"
            if why := self._make_way(self._worker, errand.number):
                return why
            # The hub was not told of an end, so it offers what was put aside again.
            self._store.change(lambda now: errand.begin(machine.recover(now)))
            self._errand = errand
            self._worker.begin(errand.source)
        return ""

    def _make_way(self, worker: Worker, number: int) -> str:
        """Put an update of the hub's aside for an import; say why that cannot be, or ""."""
        for _ in range(2):  # it may switch while it is being asked to stop
            update = self._store.record.update
            if not may_give_way(update, number):
                return f"the device is at another update: {_described(update)}"
            if worker.is_busy():
                worker.stop(self._timing.stop_s)
        return "the device does not let go of another update" if worker.is_busy() else ""

    def rest(self, seconds: float) -> bool:
        """Wait so long; return whether the agent is stopping. Any thread may call."""
        return self._ended.wait(seconds)

    def report(self, record: Record | None = None) -> DeviceReport:
        """Return the device's statement; of the record as it is, if none is given."""
        return self._report(self._store.record if record is None else record)

    def tell(self, body: str, attributes: Attributes) -> None:
        """Have the runtime record an event, if there is one."""
        _LOG.info("%s", body)
        self._supervisor.tell(body, attributes)

    def run(self) -> None:
        """Work until ``stop``; then the runtime and the updater have ended."""
        self._supervisor.start(self._store.record.active)
        self._running.set()
        notify("READY=1")
        self._settle_at = time.monotonic() + self._timing.settle_s
        try:
            while not self._stopping:
                self._wake.clear()
                wait = self._turn()
                self._wake.wait(wait)
        finally:
            notify("STOPPING=1")
            if self._worker is not None:
                self._worker.stop(self._timing.stop_s)
            self._supervisor.stop()

    def _turn(self) -> float:
        """Do what is due; return the seconds until something is."""
        now = time.monotonic()
        try:
            with self._turnstile:
                self._resume(now)
            if self._client is None or self._courier is None:
                return _LONGEST_WAIT_S
            if now >= self._next_delivery and self._may_report(now):
                self._courier.deliver()
            if now >= self._next_poll:
                self._poll(self._client, self._courier, now)
            self._failures = 0
        except HubError as exc:
            self._put_off(exc, exc.retry_after_s)
        except (DiskFullError, OSError) as exc:
            # A disk that takes nothing more is no reason to take away what answers.
            self._put_off(exc, 0.0)
        return self._pause()

    def _put_off(self, why: Exception, at_least_s: float) -> None:
        self._failures += 1
        wait = self._timing.backoff.wait_s(self._failures, chance(), at_least_s=at_least_s)
        _LOG.warning("%s; again in %.1f s", why, wait)
        self._next_delivery = self._next_poll = time.monotonic() + wait

    def _may_report(self, now: float) -> bool:
        """Return whether the first look at the runtime is over, so that a report is true."""
        return self._supervisor.answering() is not None or now >= self._settle_at

    def _pause(self) -> float:
        now = time.monotonic()
        due = [self._next_poll, now + _LONGEST_WAIT_S]
        if self._courier is not None and not self._courier.is_idle():
            due.append(self._next_delivery if self._may_report(now) else self._settle_at)
        update = self._store.record.update
        if update is not None and update.phase.is_switched:
            due.append(self._resume_at)
        return max(min(due) - now, 0.01)

    def _resume(self, now: float) -> None:
        """Go on with an update that a restart or a full disk interrupted."""
        update = self._store.record.update
        if self._worker is None or self._worker.is_busy() or update is None:
            return
        if update.phase.is_switched and now >= self._resume_at:
            self._resume_at = now + self._timing.resume_s
            self._worker.begin(None)
        elif not update.phase.is_switched and update.phase is not Phase.HELD:
            self._store.change(machine.recover)

    def _poll(self, client: DdiClient, courier: Courier, now: float) -> None:
        root = client.poll()
        sleep = self._timing.poll_s or root.sleep_s()
        self._next_poll = now + poll_wait_s(sleep, chance())
        if root.links.config_data is not None:
            courier.repeat_attributes()
            courier.deliver()
        if root.links.cancel_action is not None:
            self._cancel(client.stop_id(root.links.cancel_action.href), courier)
        elif root.links.deployment_base is not None:
            self._order(client, root.links.deployment_base.href)
        else:
            with self._turnstile:
                self._nothing_ordered()

    def _order(self, client: DdiClient, href: str) -> None:
        order = client.order(href)
        with self._turnstile:
            self._judge(client, order)

    def _judge(self, client: DdiClient, order: Order) -> None:
        record = self._store.record
        worker = self._worker
        if worker is None:
            return
        match decide_order(record, order.id, order.deployment):
            case OrderDecision.REPEAT_OUTCOME:
                self._store.change(machine.undelivered)
                self._wake.set()
            case OrderDecision.REPLACE:
                worker.cancel()
            case (OrderDecision.DOWNLOAD | OrderDecision.INSTALL) as decision:
                if worker.is_busy() or open_outcome(record.outcome):
                    return
                install = decision is OrderDecision.INSTALL
                self.changed(
                    self._store.change(lambda now: machine.begin(now, order.id, install=install))
                )
                worker.begin(DdiSource(client.http, order, self._timing.download))

    def _cancel(self, action: str, courier: Courier) -> None:
        record = self._store.record
        match decide_cancel(record, action):
            case CancelDecision.ACCEPT:
                courier.say(cancel_accepted(action))
            case CancelDecision.ACCEPTED_BY_UPDATE:
                self._store.change(machine.undelivered)
            case CancelDecision.INTERRUPT if self._worker and self._worker.is_busy():
                self._worker.cancel()
            case CancelDecision.INTERRUPT:
                self._store.change(machine.withdraw)
            case CancelDecision.REJECT if action not in self._rejected:
                self._rejected.add(action)
                courier.say(cancel_rejected(action, "the new version is already in place"))
        self._wake.set()

    def _nothing_ordered(self) -> None:
        record = self._store.record
        busy = self._worker is not None and self._worker.is_busy()
        if record.update is not None and record.update.phase is Phase.HELD:
            self._store.change(machine.recover)
        if not busy and record.update is None:
            self._store.forget_download()

    def _update_ended(self) -> None:
        errand, self._errand = self._errand, None
        if errand is not None:
            self._settle(errand)
        if not self._failures:
            self._next_poll = 0.0
        self._wake.set()

    def _settle(self, errand: Errand) -> None:
        try:
            self._store.change(errand.settle)
            if errand.displaced is not None and self._courier is not None:
                self._courier.say(closing_feedback(errand.displaced))
        except (DiskFullError, OSError) as exc:
            _LOG.warning("the record keeps a refused import: %s", exc)
        finally:
            errand.over.set()

    def _report(self, record: Record) -> DeviceReport:
        return device_report(record, self._identity, answering=self._supervisor.answering())


def _described(update: Update | None) -> str:
    if update is None:
        return "none"
    release = f"release {update.release.number}" if update.release else f"action {update.action}"
    return f"{release} ({update.phase.value})"

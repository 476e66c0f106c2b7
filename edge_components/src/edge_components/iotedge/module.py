"""The module's main thread: what comes from edgeHub, what is to be reported, and the end.

Everything that happens is a word in one queue; the connection, the orders and the watch over the
runtime have threads of their own. Without edgeHub the device goes on answering with what it has.
"""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from edge_components.agent.reporting import Identity
from edge_components.agent.supervisor import Supervisor
from edge_components.contract.errors import ContractError
from edge_components.contract.jsonio import canonical_json
from edge_components.contract.state import DeviceReport
from edge_components.contract.twin import SECTION, ModuleReport
from edge_components.iotedge.hub import EdgeHub
from edge_components.iotedge.memory import Wish, read_wish, write_wish
from edge_components.iotedge.methods import Methods
from edge_components.iotedge.orders import Orders
from edge_components.iotedge.report import report_of, twin_report
from edge_components.iotedge.topics import (
    DesiredChanged,
    MethodCalled,
    TwinAnswer,
    answer_method,
    get_twin,
    parse_topic,
    patch_reported,
)
from edge_components.iotedge.twin import TwinCopy
from edge_components.store.disk import Disk
from edge_components.store.store import Store

_LOG = logging.getLogger(__name__)
_SEND_S = 10.0


class ModuleTiming(msgspec.Struct, frozen=True, kw_only=True):
    """How often the module does what.

    Attributes:
        answer_s: How long edgeHub may take to answer a twin request before it is made again.
        gap_s: Least time between reports of a release that is on its way: a hub counts them.
        settle_s: How long the first report waits for the runtime to answer.
        stop_s: How long each part may take to end; edgeAgent kills after 10 s.
    """

    answer_s: float = 30.0
    gap_s: float = 2.0
    settle_s: float = 10.0
    stop_s: float = 2.0


class Module:
    """The module; ``run`` returns after ``stop``.

    Args:
        store: The device's store; closed by the caller.
        supervisor: Keeps the runtime running.
        identity: Who speaks in reports.
        folder: Where the device's state is.
        disk: Durable file operations.
        timing: How often it does what.
    """

    def __init__(
        self,
        store: Store,
        supervisor: Supervisor,
        identity: Identity,
        folder: Path,
        *,
        disk: Disk,
        timing: ModuleTiming | None = None,
    ) -> None:
        self._store = store
        self._supervisor = supervisor
        self._identity = identity
        self._folder = folder
        self._disk = disk
        self._timing = timing or ModuleTiming()
        self._words: queue.SimpleQueue[tuple[str, bytes] | None] = queue.SimpleQueue()
        self._stopping = False
        self._connected = False
        self._twin = TwinCopy()
        self._requests = 0
        self._reading = ""
        self._patching = ""
        self._patched: ModuleReport | None = None
        self._sent: ModuleReport | None = None
        self._asked_at = 0.0
        self._told_at = 0.0
        self._began = time.monotonic()

    def attach(self, hub: EdgeHub, orders: Orders, methods: Methods) -> None:
        """Take what talks back to this module."""
        self._hub, self._orders, self._methods = hub, orders, methods

    def connected(self) -> None:
        """Note a new connection; any thread may call."""
        self._words.put(("", b""))

    def received(self, topic: str, payload: bytes) -> None:
        """Note a message; any thread may call."""
        self._words.put((topic, payload))

    def changed(self) -> None:
        """Look whether there is something to report; any thread may call."""
        self._words.put(None)

    def stop(self) -> None:
        """Ask the module to end; safe in a signal handler."""
        self._stopping = True
        self._words.put(None)

    def run(self, baked: Wish) -> None:
        """Work until ``stop``; then all threads have ended.

        Args:
            baked: What is wanted where the twin never named anything.
        """
        wish = read_wish(self._folder)
        wish = wish if wish.desired is not None else baked
        self._supervisor.start(self._store.record.active)
        self._orders.start(wish.desired, left=wish.left)
        self._hub.start()
        try:
            while not self._stopping:
                self._turn()
        finally:
            self._end()

    def report(self) -> DeviceReport:
        """Return the device's statement as of now."""
        orders = self._orders
        answering = self._supervisor.answering()
        if answering is None and time.monotonic() - self._began > self._timing.settle_s:
            answering = 0
        return report_of(
            self._store.record, self._identity, orders.wanted, orders.trouble, answering=answering
        )

    def status(self) -> dict[str, Any]:
        """Return what the method ``status`` answers."""
        record, health = self._store.record, self._supervisor.health()
        wanted = self._orders.wanted
        return {
            "report": self._twin_report().to_twin(),
            "wanted": None if wanted is None else wanted.to_twin(),
            "ready": health.ready,
            "restarts": health.deaths,
            "errors": health.errors,
            "kept": [version.number for version in record.kept()],
        }

    def go_back(self) -> int:
        """Have the device go back by hand; return the version's number, 0 where it cannot."""
        number = self._orders.go_back()
        if number:
            self._remember(Wish(desired=self._orders.wanted, left=True))
        return number

    def _turn(self) -> None:
        try:
            word = self._words.get(timeout=self._pause())
        except queue.Empty:
            word = None
        if word is not None:
            self._hear(*word)
        self._speak()

    def _pause(self) -> float:
        """Return the seconds until something is due by itself."""
        now = time.monotonic()
        due = [now + _SEND_S]
        if self._connected and (self._reading or self._patching):
            due.append(self._asked_at + self._timing.answer_s)
        elif self._connected:
            due.append(max(self._told_at + self._timing.gap_s, now + 0.05))
        return max(min(due) - now, 0.01)

    def _hear(self, topic: str, payload: bytes) -> None:
        if not topic:
            self._connected = True
            self._patching = ""
            self._sent = None
            self._read_twin()
            return
        match parse_topic(topic):
            case TwinAnswer() as answer:
                self._answered(answer, payload)
            case DesiredChanged():
                self._desired_changed(payload)
            case MethodCalled() as call:
                status, answer_body = self._methods.answer(call.name, payload)
                self._hub.post(answer_method(status, call.rid), canonical_json(answer_body))

    def _desired_changed(self, payload: bytes) -> None:
        taken = self._twin.patch(payload)
        if self._reading:
            return  # the whole document is on its way
        if taken:
            self._take_wish()
        else:
            self._read_twin()

    def _answered(self, answer: TwinAnswer, payload: bytes) -> None:
        if answer.rid == self._patching:
            self._patching = ""
            if 200 <= answer.status < 300:
                self._sent = self._patched
            else:
                _LOG.warning("edgeHub answered %d to a report", answer.status)
            return
        if answer.rid != self._reading:
            return
        if answer.status != 200:
            _LOG.warning("edgeHub answered %d when the twin was read", answer.status)
            return  # asked again when the answer is late
        self._reading = ""
        try:
            self._sent = self._twin.replace(payload)
        except ContractError as exc:
            _LOG.error("%s", exc)
            return
        self._take_wish()
        if self._twin.is_behind:
            self._read_twin()

    def _take_wish(self) -> None:
        try:
            wanted = self._twin.wanted()
        except ContractError as exc:
            _LOG.error("what is wanted is left alone: %s", exc)
            return
        if wanted is not None and self._orders.wish(wanted):
            _LOG.info("release %d is wanted", wanted.release)
            self._remember(Wish(desired=wanted))

    def _remember(self, wish: Wish) -> None:
        write_wish(self._folder, wish, self._disk)

    def _read_twin(self) -> None:
        self._reading = self._ask(get_twin, b"")

    def _ask(self, topic: Callable[[str], str], payload: bytes) -> str:
        self._requests += 1
        rid = str(self._requests)
        self._hub.post(topic(rid), payload)
        self._asked_at = time.monotonic()
        return rid

    def _speak(self) -> None:
        """Ask again what was not answered, and report what has changed."""
        if not self._hub.is_connected:
            self._connected = False
            return
        now = time.monotonic()
        if self._reading or self._patching:
            if now - self._asked_at > self._timing.answer_s:
                self._patching = ""
                self._read_twin()
            return
        if not self._connected or not self._may_tell(now):
            return
        report = self._twin_report()
        if self._is_news(report, now):
            self._told_at = now
            self._patched = report
            self._patching = self._ask(patch_reported, self._section(report))

    def _may_tell(self, now: float) -> bool:
        """Return whether the first look at the runtime is over, so that a report is true."""
        if self._supervisor.answering() is not None or self._store.record.active is None:
            return True
        return now - self._began > self._timing.settle_s

    def _is_news(self, report: ModuleReport, now: float) -> bool:
        last = self._sent
        if last is not None and msgspec.structs.replace(last, at=report.at) == report:
            return False
        return report.phase.is_settled or now - self._told_at >= self._timing.gap_s

    def _twin_report(self) -> ModuleReport:
        return twin_report(self.report(), self._store.record, at=int(time.time()))

    def _section(self, report: ModuleReport) -> bytes:
        return canonical_json({SECTION: report.to_twin()})

    def _end(self) -> None:
        """End all parts; the connection last, because the runtime sends its last records by it."""
        limit = self._timing.stop_s
        self._orders.stop(limit)
        self._supervisor.stop()
        self._hub.stop(limit)

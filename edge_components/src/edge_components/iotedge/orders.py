"""Carries out what is wanted, one release at a time, in a thread of its own.

A new wish takes the place of the one that is being carried out: before the switch that one is
forgotten, after it the device falls back first. What was interrupted by a restart is ended before
anything new. What fails for a reason that may pass is tried again with growing pauses.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Protocol

import msgspec

from edge_components.agent.backoff import Backoff, chance
from edge_components.apply.order import Order, ServingRuntime
from edge_components.apply.verdict import ExitCode
from edge_components.contract.device import VERSION_RELEASE
from edge_components.contract.errors import ContractError
from edge_components.contract.state import Reason
from edge_components.contract.twin import DesiredRelease
from edge_components.iotedge.report import Trouble
from edge_components.store.disk import DiskFullError, is_full
from edge_components.store.store import Store
from edge_components.update import machine
from edge_components.update.errors import CalledOffError, RefusedError
from edge_components.update.executor import Interrupt, Updater
from edge_components.update.ports import Source, Trust
from edge_components.update.record import Record

_LOG = logging.getLogger(__name__)
_PASSING = frozenset({Reason.DOWNLOAD_FAILED, Reason.DISK_FULL, Reason.INTERNAL})
_SUPERSEDED = "release {} was wanted before this one had proved itself"


class Parts(Protocol):
    """What an order is carried out with."""

    store: Store
    runtime: ServingRuntime
    trust: Trust

    def updater(self, changed: Callable[[Record], None]) -> Updater:
        """Return an updater that tells of each stored record."""

    def source(self, wanted: DesiredRelease, stack: ExitStack) -> Source:
        """Return where a release comes from; ``stack`` closes it.

        Raises:
            ContractError: It names nothing that can be read.
        """


class OrderTiming(msgspec.Struct, frozen=True, kw_only=True):
    """How long until what failed is tried again."""

    again: Backoff = Backoff(first_s=30.0, most_s=1800.0)


class Orders:
    """The orders of a device.

    Args:
        parts: What they are carried out with.
        changed: Called whenever there may be something to report; any thread.
        timing: How long until what failed is tried again.
    """

    def __init__(
        self, parts: Parts, changed: Callable[[], None], timing: OrderTiming | None = None
    ) -> None:
        self._parts = parts
        self._changed = changed
        self._timing = timing or OrderTiming()
        self._condition = threading.Condition()
        self._interrupt = Interrupt()
        self._wanted: DesiredRelease | None = None
        self._done: DesiredRelease | None = None
        self._trouble: Trouble | None = None
        self._going_back = False
        self._failures = 0
        self._again_at: float | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="orders", daemon=True)

    def start(self, wanted: DesiredRelease | None, *, left: bool) -> None:
        """Begin, with what was wanted last; ``left`` is whether it is to be left alone."""
        self._wanted = wanted
        self._done = wanted if left else None
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End what is being carried out where it stands, and wait for it."""
        with self._condition:
            self._stopping = True
            self._interrupt.stop()
            self._condition.notify_all()
        self._thread.join(timeout_s)

    def wish(self, wanted: DesiredRelease) -> bool:
        """Take what is wanted; return whether that is something else than before."""
        with self._condition:
            if wanted == self._wanted:
                return False
            self._wanted = wanted
            self._trouble, self._failures, self._again_at = None, 0, None
            self._interrupt.stop()
            self._condition.notify_all()
            return True

    def go_back(self) -> int:
        """Have the device go back to the version before; return its number, 0 where it cannot."""
        with self._condition:
            record = self._parts.store.record
            if self._wanted is None or record.update is not None or not record.previous:
                return 0
            self._going_back = True
            self._condition.notify_all()
            return record.previous[0].number

    @property
    def wanted(self) -> DesiredRelease | None:
        """What is wanted now."""
        return self._wanted

    @property
    def trouble(self) -> Trouble | None:
        """What stands in the way of it."""
        return self._trouble

    def _run(self) -> None:
        self._guarded(self._resume, None)
        while (job := self._next()) is not None:
            wanted, back = job
            self._guarded(self._back if back else partial(self._carry_out, wanted), wanted)
            self._changed()

    def _next(self) -> tuple[DesiredRelease, bool] | None:
        with self._condition:
            while not self._stopping:
                self._interrupt = Interrupt()
                wanted = self._wanted
                if wanted is not None and self._going_back:
                    self._going_back, self._done = False, wanted
                    return wanted, True
                now = time.monotonic()
                due = self._again_at is not None and now >= self._again_at
                if wanted is not None and (wanted != self._done or due):
                    self._done, self._again_at = wanted, None
                    return wanted, False
                left = None if self._again_at is None else self._again_at - now
                self._condition.wait(left)
            return None

    def _guarded(self, work: Callable[[], None], wanted: DesiredRelease | None) -> None:
        try:
            work()
        except CalledOffError:
            _LOG.info("what was being done gives way")
        except RefusedError as exc:
            self._failed(wanted, exc.reason, exc.detail)
        except ContractError as exc:
            self._failed(wanted, Reason.BAD_PACKAGE, str(exc))
        except (DiskFullError, OSError) as exc:
            full = isinstance(exc, DiskFullError) or is_full(exc)
            self._failed(wanted, Reason.DISK_FULL if full else Reason.INTERNAL, str(exc))
        except Exception as exc:  # noqa: BLE001 - the module must go on whatever a step did
            _LOG.exception("an order failed")
            self._failed(wanted, Reason.INTERNAL, f"{type(exc).__name__}: {exc}")

    def _resume(self) -> None:
        """End what a restart interrupted after its switch."""
        parts, interrupt = self._parts, self._interrupt
        update = parts.store.record.update
        if update is None or not update.phase.is_switched:
            return
        wanted, number = self._wanted, update.release.number if update.release else 0
        if wanted is not None and wanted.release != number:
            detail = _SUPERSEDED.format(wanted.release)
            parts.store.change(lambda now: machine.give_up(now, Reason.CANCELED, detail))
        self._updater(None).run(None, interrupt)

    def _carry_out(self, wanted: DesiredRelease) -> None:
        parts, interrupt = self._parts, self._interrupt
        self._trouble = None
        self._changed()
        self._resume()
        with ExitStack() as stack:
            source = parts.source(wanted, stack)
            source.release(interrupt.either)
            order = Order(
                parts.store, parts.runtime, source, trust=parts.trust, interrupt=interrupt
            )
            code = order.carry_out(self._updater(order))
        outcome = parts.store.record.outcome
        if code is ExitCode.HEALTHY:
            self._failures = 0
        elif outcome is not None and code in {ExitCode.REFUSED, ExitCode.TEMPORARY}:
            self._again(outcome.reason)

    def _back(self) -> None:
        """Go back to the version that is kept, as an order for it would."""
        parts, interrupt = self._parts, self._interrupt
        record = parts.store.record
        if not record.previous:
            return
        folder = parts.store.versions.path(record.previous[0].number)
        source = _Kept((folder / VERSION_RELEASE).read_bytes())
        order = Order(parts.store, parts.runtime, source, trust=parts.trust, interrupt=interrupt)
        order.carry_out(self._updater(order))

    def _updater(self, order: Order | None) -> Updater:
        def changed(record: Record) -> None:
            if order is not None:
                order.changed(record)
            self._changed()

        return self._parts.updater(changed)

    def _failed(self, wanted: DesiredRelease | None, reason: Reason, detail: str) -> None:
        _LOG.warning("%s: %s", reason.value, detail)
        if wanted is None:
            return
        with self._condition:
            if wanted == self._wanted:
                passing = reason in _PASSING
                self._trouble = Trouble(
                    release=wanted.release, reason=reason, detail=detail, passing=passing
                )
        self._again(reason)

    def _again(self, reason: Reason) -> None:
        if reason not in _PASSING:
            return
        with self._condition:
            self._failures += 1
            pause = self._timing.again.wait_s(self._failures, chance())
            self._again_at = time.monotonic() + pause
        _LOG.info("it is tried again in %.0f s", pause)


class _Kept:
    """A ``Source`` of a version that is in its folder already: its envelope, and nothing else."""

    def __init__(self, envelope: bytes) -> None:
        self._envelope = envelope

    def release(self, stop: threading.Event) -> bytes:
        del stop
        return self._envelope

    def manifest(self, digest: str, stop: threading.Event) -> bytes:
        del digest, stop
        raise RefusedError(Reason.INTERNAL, "a version that is kept is not fetched")

    def signature(self, stop: threading.Event) -> bytes:
        del stop
        raise RefusedError(Reason.INTERNAL, "a version that is kept is not fetched")

    def keep_to(self, link: object) -> None:
        del link

    def fetch(self, layer: object, partial: object, stop: threading.Event) -> None:
        del layer, partial, stop
        raise RefusedError(Reason.INTERNAL, "a version that is kept is not fetched")

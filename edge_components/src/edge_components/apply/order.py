"""One order on one device: what was interrupted is brought to an end first, then this is decided.

The rules are ``verdict``'s and the updater's; here they are put in turn.
"""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from typing import Protocol

from edge_components.apply.verdict import (
    ExitCode,
    Step,
    action_of,
    claimed_release,
    decide,
    exit_code,
    forget_outcome,
    heard,
)
from edge_components.contract.device import VERSION_RELEASE
from edge_components.contract.release import ReleaseDocument
from edge_components.contract.state import Reason, State
from edge_components.store.store import Store
from edge_components.update import machine
from edge_components.update.errors import RefusedError
from edge_components.update.executor import Interrupt, Updater
from edge_components.update.ports import Runtime, Source, Trust
from edge_components.update.record import Installed, Record

_LOG = logging.getLogger(__name__)
_NOT_PROVED = "release {} was ordered before this one had proved itself"
_TAKEN_BACK = "the device's supervisor went back to release {}"


class ServingRuntime(Runtime, Protocol):
    """The inference server on this device, which somebody keeps running."""

    def reach(self, stop: threading.Event) -> object | None:
        """Wait until it is there; None if it does not come in time. Raises ``CalledOffError``."""

    def ensure(self, version: Installed, stop: threading.Event) -> None:
        """See that it answers with a version that is in place already; raises as ``activate``."""


class Order:
    """An order to run a release.

    Args:
        store: The device's store, open.
        runtime: The inference server on this device.
        source: The release and its package.
        trust: Who is believed.
        interrupt: How it is told to end.
    """

    def __init__(
        self,
        store: Store,
        runtime: ServingRuntime,
        source: Source,
        *,
        trust: Trust,
        interrupt: Interrupt,
    ) -> None:
        self._store = store
        self._runtime = runtime
        self._source = source
        self._trust = trust
        self._interrupt = interrupt
        self._switched = False
        self._envelope = self._read_envelope()
        self.release: ReleaseDocument | None = claimed_release(self._envelope)

    def changed(self, record: Record) -> None:
        """Note a new record; the updater calls this."""
        if record.update is not None and record.update.phase.is_switched:
            self._switched = True

    def answering(self) -> int:
        """Return the release that the runtime answers with now; 0 for none."""
        health = self._runtime.health()
        return health.release if health.ready else 0

    def carry_out(self, updater: Updater) -> ExitCode:
        """Take the order to its end.

        Raises:
            RefusedError: What is in place does not answer: nothing was changed.
            CalledOffError: It was told to end; the next order goes on.
            DiskFullError: Not even the record can be written; the next order goes on.
        """
        if (ended := self._finish_interrupted(updater)) is not None:
            return ended
        record, release = self._store.record, self.release
        match decide(record, release, is_known=self._is_known()):
            case Step.SERVE:
                return self._serve()
            case Step.GO_BACK if release is not None:
                return self._go_back(updater, release)
            case Step.REPEAT:
                return ExitCode.ROLLED_BACK
        return self._update(updater)

    def _finish_interrupted(self, updater: Updater) -> ExitCode | None:
        """End an update that was cut off after its switch; None if that was not this order's."""
        update = self._store.record.update
        if update is None:
            return None
        wanted = self.release.number if self.release else 0
        if update.release is None or update.release.number != wanted:
            detail = _NOT_PROVED.format(wanted)
            self._store.change(lambda now: machine.give_up(now, Reason.CANCELED, detail))
        self._switched = True
        record = updater.run(None, self._interrupt)
        self._switched = same = update.release is not None and update.release.number == wanted
        return exit_code(record, switched=True) if same else None

    def _serve(self) -> ExitCode:
        record = self._store.change(heard)
        if record.active is not None:
            self._runtime.ensure(record.active, self._interrupt.stopped)
        return ExitCode.HEALTHY

    def _go_back(self, updater: Updater, release: ReleaseDocument) -> ExitCode:
        self._trust.release(self._envelope)
        record = self._store.record
        leaving = None if record.active is None else self._stored(record.active.number)
        leaving_release = claimed_release(leaving or b"")
        if leaving_release is None:
            raise RefusedError(Reason.INTERNAL, "the active release cannot be read")
        detail = _TAKEN_BACK.format(release.number)
        _LOG.warning("leaving release %d: %s", leaving_release.number, detail)
        action = action_of(leaving_release.number)
        self._store.change(lambda now: machine.go_back(now, action, leaving_release, detail))
        updater.run(None, self._interrupt)
        return self._serve()

    def _update(self, updater: Updater) -> ExitCode:
        # A version that keeps the runtime from starting must not keep a better one away.
        if (
            self._store.record.active is None
            and self._runtime.reach(self._interrupt.either) is None
        ):
            raise RefusedError(Reason.RUNTIME_NOT_READY, "the runtime is not there")
        action = action_of(self.release.number if self.release else 0)
        self._store.change(lambda now: machine.begin(forget_outcome(now, action), action))
        record = updater.run(self._source, self._interrupt)
        healthy = record.outcome is not None and record.outcome.state is State.HEALTHY
        if healthy and not self._switched and record.active is not None:
            self._runtime.ensure(record.active, self._interrupt.stopped)
        return exit_code(record, switched=self._switched)

    def _read_envelope(self) -> bytes:
        with suppress(RefusedError, OSError):
            return self._source.release(self._interrupt.either)
        return b""

    def _is_known(self) -> bool:
        return self.release is not None and self._stored(self.release.number) == self._envelope

    def _stored(self, number: int) -> bytes | None:
        """Return the envelope of a version that is kept, as it was verified."""
        try:
            return (self._store.versions.path(number) / VERSION_RELEASE).read_bytes()
        except OSError:
            return None

"""What becomes a record, and the thread that writes records to the queue.

The hot path appends a tuple to a bounded ring and little else; a thread turns tuples into
records a few times a second. Predictions are sampled by the release's share and capped by rate:
a device that answers 20,000 requests a second does not send 20,000 records.
"""

from __future__ import annotations

import logging
import random
import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np

from edge_components.contract.package import TensorSpec
from edge_components.contract.telemetry import (
    BRISK_RECORDS,
    BRISK_SHARE,
    Kind,
    TelemetryRecord,
    Value,
)
from edge_components.drift.watch import DriftWatch
from edge_components.runtime.oip.datatypes import FLOATS, Array
from edge_components.telemetry.clock import JUMP_S, Clock, shift_s
from edge_components.telemetry.privacy import Policy
from edge_components.telemetry.queue import TelemetryQueue

log = logging.getLogger(__name__)

_FLUSH_S = 0.25
_EXPIRE_S = 60.0
_RING = 4096
_MAX_ARRAY_BYTES = 8192
_WARNING = 13


class _Identity(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def release(self) -> int: ...
    @property
    def package(self) -> str: ...
    @property
    def precision(self) -> str: ...


class _Model(Protocol):
    @property
    def identity(self) -> _Identity: ...


# When, whose model, how long, the answer, from where, and the question where it is recorded; not
# a record, because the hot path makes it.
_Tensors = Mapping[str, Array]
_Taken = tuple[int, _Identity, float, Sequence[TensorSpec], Sequence[Array], str, _Tensors]
_NOTHING: _Tensors = {}


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """Whom records are about: the device, and what is active on it."""

    device: str = ""
    application: str = ""
    release: int = 0
    package: str = ""


class Recorder:
    """Takes predictions, events and health, and keeps them.

    Attributes:
        sample: Share of predictions that are recorded.
        policy: What of them.
        sampled_out: Predictions that sampling or the rate cap left out.
        overflowed: Records that the ring had no room for, by kind.
    """

    def __init__(
        self,
        queue: TelemetryQueue,
        subject: Subject,
        *,
        counts: Callable[[], dict[str, Value]] = dict,
        health: Callable[[], dict[str, Value]] | None = None,
        health_interval_s: float = 60.0,
        max_predictions_per_s: float = 500.0,
        drift: DriftWatch | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.sample = 1.0
        self.policy = Policy()
        self.sampled_out = 0
        self.overflowed: Counter[str] = Counter()
        self._queue = queue
        self._subject = subject
        self._counts = counts
        self._health = health
        self._switching = threading.Lock()
        self._left: deque[TelemetryRecord] = deque()
        self._has_begun = False
        self._brisk = 0
        self._next_health = 0.0
        self._restarts = 0
        self._drift = drift or DriftWatch()
        self._clock = clock or Clock()
        self._moment = self._clock.now()
        self._health_interval_s = health_interval_s
        self._rate = max_predictions_per_s
        self._tokens = 2 * max_predictions_per_s
        self._refilled = time.monotonic()
        self._ring: deque[_Taken] = deque()
        self._events: deque[TelemetryRecord] = deque()
        self._told_drops: Counter[str] = Counter()
        self._boot = secrets.token_hex(8)
        self._next = 0
        self._id_lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)

    # -- called from anywhere

    def prediction(
        self,
        model: _Model,
        seconds: float,
        specs: Sequence[TensorSpec],
        arrays: Sequence[Array],
        source: str,
        *,
        inputs: _Tensors = _NOTHING,
        lent: bool = False,
    ) -> None:
        """Record an answer, if sampling takes it.

        Args:
            model: Whose answer it is.
            seconds: How long it took.
            specs: The answer's tensors.
            arrays: And their values.
            source: From where the question came.
            inputs: The question by tensor; drift is measured where it is given. Copied if kept.
            lent: Whether the caller writes into ``arrays`` again, so that they have to be copied.
        """
        self._drift.take(model.identity, inputs, specs, arrays)
        sample, policy = self.sample, self.policy
        if policy.record == "none":
            return
        if self._tokens < 1.0 or (sample < 1.0 and random.random() >= sample):  # noqa: S311  # not a secret
            self.sampled_out += 1
            return
        self._tokens -= 1.0
        if len(self._ring) >= _RING:
            self.overflowed[Kind.PREDICTION] += 1
            return
        for array in arrays:
            if array.nbytes > _MAX_ARRAY_BYTES:
                specs, arrays = (), ()  # the ring must not keep large answers alive
                break
        if lent:
            arrays = [array.copy() for array in arrays]
        inputs = _copies(inputs) if policy.record == "input+output" else _NOTHING
        self._ring.append((time.time_ns(), model.identity, seconds, specs, arrays, source, inputs))

    def event(
        self, body: str, *, severity: int = 9, attributes: dict[str, Value] | None = None
    ) -> None:
        """Record that something happened."""
        if len(self._events) >= _RING:
            self.overflowed[Kind.EVENT] += 1
            return
        self._events.append(self._record(Kind.EVENT, body, attributes or {}, severity))

    def about(
        self,
        subject: Subject,
        sample: float,
        *,
        policy: Policy | None = None,
        golden: Path | None = None,
    ) -> None:
        """Let further records be about ``subject``; drift is measured against ``golden``.

        What was counted since the last health record belongs to whom it was about until now, so
        that is told as a health record of its own.
        """
        with self._switching:
            if self._health is not None and self._subject.release:
                self._left.append(self._record(Kind.HEALTH, "", self._about_counts(), 9))
            self._subject = subject
            self._restarts = self._queue.begin(subject.release, is_start=not self._has_begun)
            self._has_begun = True
        if subject.release:
            # The minutes after a switch are those in which a release is judged.
            self._brisk = BRISK_RECORDS
            soon = time.monotonic() + BRISK_SHARE * self._health_interval_s
            self._next_health = min(self._next_health, soon)
        self.sample = sample
        self.policy = policy or Policy()
        self._drift.follow(subject.package, golden)

    # -- the thread

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is left and end."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10.0)

    @property
    def drops(self) -> Counter[str]:
        """All records that were lost, by ``<kind>.<why>``."""
        drops = Counter(self._queue.drops)
        drops.update({f"{kind}.ring": count for kind, count in self.overflowed.items()})
        return drops

    def _run(self) -> None:
        self._next_health = time.monotonic() + min(1.0, self._health_interval_s)
        next_expiry = time.monotonic() + _EXPIRE_S
        while True:
            stopping = self._stop.wait(_FLUSH_S)
            now = time.monotonic()
            if now >= self._next_health:
                self._next_health = now + self._health_interval_s * self._health_share()
                _guarded(self._record_health)
            if now >= next_expiry:
                next_expiry = now + _EXPIRE_S
                _guarded(self._queue.expire)
            _guarded(self._record_drift)
            _guarded(self._record_jump)
            _guarded(self._flush)
            if stopping:
                if self.drops != self._told_drops:  # else a loss just before the end is not told
                    _guarded(self._record_health)
                return

    def _health_share(self) -> float:
        if not self._brisk:
            return 1.0
        self._brisk -= 1
        return BRISK_SHARE

    def _flush(self) -> None:
        now = time.monotonic()
        self._tokens = min(2 * self._rate, self._tokens + (now - self._refilled) * self._rate)
        self._refilled = now
        records = self._taken_left()
        records += [self._events.popleft() for _ in range(len(self._events))]
        records += [self._prediction(self._ring.popleft()) for _ in range(len(self._ring))]
        if records:
            self._queue.put(records)

    def _record_jump(self) -> None:
        """Say that the clock was set: receivers see a gap or an overlap in the device's times."""
        before, self._moment = self._moment, self._clock.now()
        jump = shift_s(before, self._moment)
        if jump is not None and abs(jump) > JUMP_S:
            self.event(f"the clock was set by {jump:+.0f} s", attributes={"clock.jump_s": jump})

    def _record_drift(self) -> None:
        report = self._drift.collect(time.monotonic())
        if report is None:
            return
        crossed = [name for name in report.crossed if not self.policy.hides(name)]
        body = f"drift of {', '.join(crossed[:5])}" if crossed else "no drift"
        told = [v for name, v in report.beyond_chance.items() if not self.policy.hides(name)]
        attributes: dict[str, Value] = {
            **report.attributes,
            "crossed": bool(crossed),
            "worst_psi": max(told, default=0.0),
        }
        if crossed:
            attributes["worst"] = crossed[0]
        severity = _WARNING if crossed else 9
        found = self._record(Kind.DRIFT, body, self.policy.allowed(attributes), severity)
        self._queue.put([found])

    def _record_health(self) -> None:
        if self._health is None:
            return
        told = Counter(self._queue.drops)
        machine = self._health()
        with self._switching:
            found = self._record(Kind.HEALTH, "", self._about_counts(), 9)
            left = self._taken_left()  # counters only rise, so the order counts
        attributes = found.attributes | machine | self._drift.health()
        queue: dict[str, Value] = {
            "telemetry.queued": len(self._queue),
            "telemetry.queued_bytes": self._queue.size_bytes,
            "telemetry.sampled_out": self.sampled_out,
            "telemetry.dropped": self.drops.total(),
        }
        lost: dict[str, Value] = {
            f"telemetry.dropped.{key}": count for key, count in sorted(self.drops.items())
        }
        self._told_drops = self.drops
        record = msgspec.structs.replace(found, attributes={**attributes, **queue, **lost})
        self._queue.put([*left, record], told=told)

    def _taken_left(self) -> list[TelemetryRecord]:
        return [self._left.popleft() for _ in range(len(self._left))]

    def _about_counts(self) -> dict[str, Value]:
        return {**self._counts(), "restarts": self._restarts}

    def _prediction(self, taken: _Taken) -> TelemetryRecord:
        time_ns, identity, seconds, specs, arrays, source, inputs = taken
        policy = self.policy
        attributes: dict[str, Value] = {
            "model.name": identity.name,
            "model.version": identity.version,
            "model.precision": identity.precision,
            "latency_ms": round(seconds * 1000, 4),
            "source": source,
            **policy.allowed(_best_class(specs, arrays)),
        }
        if policy.record == "input+output":
            for name, array in inputs.items():
                attributes |= policy.tensor(f"input.{name}", array)
            for spec, array in zip(specs, arrays, strict=True):
                if spec.datatype != "BF16":
                    attributes |= policy.tensor(f"output.{spec.name}", array)
        subject = self._subject
        return TelemetryRecord(
            id=self._identifier(),
            kind=Kind.PREDICTION,
            time_unix_ns=time_ns,
            device=subject.device,
            application=subject.application,
            release=identity.release,
            package=identity.package,
            attributes=attributes,
        )

    def _record(
        self, kind: Kind, body: str, attributes: dict[str, Value], severity: int
    ) -> TelemetryRecord:
        subject = self._subject
        return TelemetryRecord(
            id=self._identifier(),
            kind=kind,
            time_unix_ns=time.time_ns(),
            device=subject.device,
            application=subject.application,
            release=subject.release,
            package=subject.package,
            severity=severity,
            body=body,
            attributes=attributes,
        )

    def _identifier(self) -> str:
        with self._id_lock:
            self._next += 1
            return f"{self._boot}-{self._next:x}"


def _guarded(work: Callable[[], None]) -> None:
    try:
        work()
    except Exception:  # telemetry must not end because of one bad record or sensor
        log.exception("telemetry failed")


def _copies(inputs: _Tensors) -> _Tensors:
    # A tensor may be a view into a connection's buffer, which the next request overwrites.
    return {
        name: array.copy() for name, array in inputs.items() if array.nbytes <= _MAX_ARRAY_BYTES
    }


def _best_class(specs: Sequence[TensorSpec], arrays: Sequence[Array]) -> dict[str, Value]:
    for spec, array in zip(specs, arrays, strict=True):
        is_row = array.size > 1 and array.shape[-1] == array.size
        if is_row and spec.datatype in FLOATS and spec.datatype != "BF16":
            scores = array.reshape(-1)
            index = int(np.argmax(scores))
            score = float(scores[index])
            return {"class": index, "score": score} if np.isfinite(score) else {"class": index}
    return {}

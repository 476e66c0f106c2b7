"""Sends queued records to an OTLP/HTTP endpoint, at least once, and never faster than it can take.

What the answer means is one pure function (``classify``). A batch that the receiver refuses for
what is in it is halved until the bad record stands alone, which is then dropped and counted; a
refusal for who we are (401, 403) keeps everything, because a new token cures it.
"""

from __future__ import annotations

import enum
import gzip
import logging
import random
import threading
from typing import Any

import msgspec

from edge_components.contract.telemetry import to_otlp
from edge_components.telemetry.queue import Queued, TelemetryQueue

log = logging.getLogger(__name__)

MAX_RECORDS = 512
MAX_BATCH_BYTES = 512 << 10
_MAX_BACKOFF_S = 60.0
_MAX_RETRY_AFTER_S = 300.0
_POISON = frozenset({400, 413, 414, 415, 422, 431})


class Outcome(enum.Enum):
    """What becomes of a batch."""

    DELIVERED = "delivered"
    POISON = "poison"
    KEPT = "kept"


class UplinkSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where records go.

    Attributes:
        url: An OTLP/HTTP logs endpoint, for example ``https://hub.example/v1/logs``.
        authorization: Value of the Authorization header, or "".
        ca: Path of a PEM file with the authorities to trust, or "".
    """

    url: str
    authorization: str = ""
    ca: str = ""
    interval_s: float = 10.0
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 15.0


def classify(status: int) -> Outcome:
    """Decide from an HTTP status; 0 stands for no answer at all."""
    if 200 <= status < 300:
        return Outcome.DELIVERED
    return Outcome.POISON if status in _POISON else Outcome.KEPT


def backoff_s(failures: int, interval_s: float, jitter: float) -> float:
    """Return how long to wait after so many failures in a row; ``jitter`` is 0 to 1."""
    longest = min(_MAX_BACKOFF_S, max(0.1, interval_s) * 2.0 ** min(failures, 16))
    return float(longest * (0.5 + 0.5 * jitter))


class Uplink:
    """The thread that sends.

    Attributes:
        sent: Records that a receiver has taken.
        failures: Attempts in a row that did not deliver.
        last_error: Why the last attempt failed, or "".
    """

    def __init__(self, queue: TelemetryQueue, settings: UplinkSettings) -> None:
        self.sent = 0
        self.failures = 0
        self.last_error = ""
        self._queue = queue
        self._settings = settings
        self._stop = threading.Event()
        self._retry_after_s = 0.0
        self._pool: Any = None
        self._thread = threading.Thread(target=self._run, name="uplink", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self, timeout_s: float = 3.0) -> None:
        """Try once more and end; what is not sent stays in the queue."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=timeout_s)

    def _run(self) -> None:
        wait_s = min(1.0, self._settings.interval_s)
        while True:
            stopping = self._stop.wait(wait_s)
            if not (stopping and self.failures):
                wait_s = self._round(stopping)
            if stopping:
                return

    def _round(self, stopping: bool) -> float:
        interval_s = self._settings.interval_s
        try:
            while self._send_some():
                if self._stop.is_set() and not stopping:
                    break
        except Exception as exc:  # the uplink must not end because of one batch
            log.exception("the uplink failed")
            self._failed(f"{type(exc).__name__}: {exc}")
        if not self.failures:
            return interval_s
        wait_s = backoff_s(self.failures, min(interval_s, 1.0), random.random())  # noqa: S311  # not a secret
        return max(wait_s, self._retry_after_s)

    def _send_some(self) -> bool:
        """Send one batch; return whether to go on at once."""
        batch = self._queue.peek(max_records=MAX_RECORDS, max_bytes=MAX_BATCH_BYTES)
        if not batch:
            return False
        return self._deliver(batch) and len(batch) > 0 and len(self._queue) > 0

    def _deliver(self, batch: list[Queued]) -> bool:
        status = self._post(batch)
        outcome = classify(status)
        if outcome is Outcome.DELIVERED:
            self._queue.ack([item.seq for item in batch])
            self.sent += len(batch)
            self.failures = 0
            self.last_error = ""
            return True
        if outcome is Outcome.KEPT:
            self._failed(self.last_error if status == 0 else f"the receiver answered {status}")
            return False
        if len(batch) == 1:
            log.warning("the receiver refuses a record (%s), it is dropped", status)
            self._queue.drop(batch, "refused")
            return True
        middle = len(batch) // 2
        return self._deliver(batch[:middle]) and self._deliver(batch[middle:])

    def _failed(self, why: str) -> None:
        if not self.failures:
            log.warning("telemetry cannot be sent, it is kept: %s", why)
        self.failures += 1
        self.last_error = why

    def _post(self, batch: list[Queued]) -> int:
        # A device without an uplink does not pay for importing urllib3 and TLS.
        import urllib3  # noqa: PLC0415  # see above

        settings = self._settings
        body = gzip.compress(to_otlp(item.record for item in batch), compresslevel=5)
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        if settings.authorization:
            headers["Authorization"] = settings.authorization
        try:
            if self._pool is None:
                self._pool = urllib3.PoolManager(ca_certs=settings.ca or None, maxsize=1)
            answer = self._pool.request(
                "POST",
                settings.url,
                body=body,
                headers=headers,
                retries=False,
                redirect=False,
                preload_content=True,
                timeout=urllib3.Timeout(
                    connect=settings.connect_timeout_s, read=settings.read_timeout_s
                ),
            )
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as exc:
            self.last_error = f"{type(exc).__name__}: {exc}"
            self._retry_after_s = 0.0
            return 0
        self._retry_after_s = _retry_after(answer.headers.get("Retry-After"))
        return int(answer.status)


def _retry_after(value: str | None) -> float:
    if value is None or not value.isdecimal():
        return 0.0
    return min(float(value), _MAX_RETRY_AFTER_S)

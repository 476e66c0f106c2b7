"""Sends queued records, at least once, and never faster than the receiver can take.

The address's scheme decides how (``make_sender``). A batch that the receiver refuses for what is
in it is halved until the bad record stands alone, which is then dropped and counted; any other
refusal keeps everything.
"""

from __future__ import annotations

import logging
import random
import threading
from urllib.parse import urlsplit

from edge_components.contract.telemetry import to_otlp
from edge_components.telemetry.queue import Queued, TelemetryQueue
from edge_components.telemetry.sender import Answer, Outcome, Sender, SenderError, UplinkSettings

log = logging.getLogger(__name__)

MAX_RECORDS = 512
MAX_BATCH_BYTES = 512 << 10
_MAX_BACKOFF_S = 60.0


def make_sender(settings: UplinkSettings) -> Sender:
    """Return the sender for the address's scheme; imports only what that one needs.

    Raises:
        SenderError: No uplink has that scheme, or what it needs is not installed.
    """
    scheme = urlsplit(settings.url).scheme
    if scheme in {"http", "https"}:
        # A device without an uplink does not pay for importing urllib3 and TLS.
        from edge_components.telemetry.http_sender import HttpSender  # noqa: PLC0415  # see above

        return HttpSender(settings)
    if scheme == "file":
        from edge_components.telemetry.file_sender import FileSender  # noqa: PLC0415  # see above

        return FileSender(settings)
    if scheme == "greengrass-ipc":
        from edge_components.telemetry.greengrass_sender import (  # noqa: PLC0415  # see above
            GreengrassSender,
        )

        return GreengrassSender(settings)
    if scheme == "edgehub":
        from edge_components.telemetry.edgehub_sender import (  # noqa: PLC0415  # see above
            EdgeHubSender,
        )

        return EdgeHubSender(settings)
    if scheme not in {"mqtt", "mqtts"}:
        raise SenderError(
            f"'{scheme}' is no uplink; http(s), mqtt(s), file, greengrass-ipc and edgehub are"
        )
    try:
        from edge_components.telemetry.mqtt_sender import MqttSender  # noqa: PLC0415  # an extra
    except ModuleNotFoundError as exc:
        raise SenderError(
            f"an MQTT uplink needs '{exc.name}': pip install 'edgectl-edge-components[mqtt]'"
        ) from exc
    return MqttSender(settings)


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
        self._sender: Sender | None = None
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
                if self._sender is not None:
                    self._sender.close()
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
        answer = self._send(batch)
        self._retry_after_s = answer.retry_after_s
        if answer.outcome is Outcome.DELIVERED:
            self._queue.ack([item.seq for item in batch])
            self.sent += len(batch)
            self.failures = 0
            self.last_error = ""
            return True
        if answer.outcome is Outcome.KEPT:
            self._failed(answer.why)
            return False
        if len(batch) == 1:
            log.warning("a record is refused and dropped: %s", answer.why)
            self._queue.drop(batch, "refused")
            return True
        middle = len(batch) // 2
        return self._deliver(batch[:middle]) and self._deliver(batch[middle:])

    def _failed(self, why: str) -> None:
        if not self.failures:
            log.warning("telemetry cannot be sent, it is kept: %s", why)
        self.failures += 1
        self.last_error = why

    def _send(self, batch: list[Queued]) -> Answer:
        try:
            if self._sender is None:
                self._sender = make_sender(self._settings)
            return self._sender.send(to_otlp(item.record for item in batch))
        except SenderError as exc:
            return Answer(Outcome.KEPT, str(exc))

"""OTLP over HTTP: a gzipped POST a batch, on a connection that is kept.

What a status means is one pure function: a refusal for what is in the batch is poison, a refusal
for who we are (401, 403) keeps everything, because a new token cures it.
"""

from __future__ import annotations

import gzip

import urllib3

from edge_components.telemetry.sender import Answer, Outcome, UplinkSettings

_MAX_RETRY_AFTER_S = 300.0
_POISON = frozenset({400, 413, 414, 415, 422, 431})


def classify(status: int) -> Outcome:
    """Decide from an HTTP status."""
    if 200 <= status < 300:
        return Outcome.DELIVERED
    return Outcome.POISON if status in _POISON else Outcome.KEPT


class HttpSender:
    """Posts to an OTLP/HTTP logs endpoint."""

    def __init__(self, settings: UplinkSettings) -> None:
        self._settings = settings
        self._pool: urllib3.PoolManager | None = None

    def send(self, body: bytes) -> Answer:
        """Post a batch."""
        settings = self._settings
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        if settings.authorization:
            headers["Authorization"] = settings.authorization
        try:
            if self._pool is None:
                self._pool = urllib3.PoolManager(
                    ca_certs=settings.ca or None,
                    cert_file=settings.certificate or None,
                    key_file=settings.key or None,
                    maxsize=1,
                )
            answer = self._pool.request(
                "POST",
                settings.url,
                body=gzip.compress(body, compresslevel=5),
                headers=headers,
                retries=False,
                redirect=False,
                preload_content=True,
                timeout=urllib3.Timeout(
                    connect=settings.connect_timeout_s, read=settings.read_timeout_s
                ),
            )
        except urllib3.exceptions.LocationValueError:  # its text is the address with its password
            return Answer(Outcome.KEPT, "the receiver's address cannot be read")
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as exc:
            return Answer(Outcome.KEPT, f"{type(exc).__name__}: {exc}")
        wait_s = _retry_after(answer.headers.get("Retry-After"))
        return Answer(classify(answer.status), f"the receiver answered {answer.status}", wait_s)

    def close(self) -> None:
        """Close the connection."""
        if self._pool is not None:
            self._pool.clear()


def _retry_after(value: str | None) -> float:
    if value is None or not value.isdecimal():
        return 0.0
    return min(float(value), _MAX_RETRY_AFTER_S)

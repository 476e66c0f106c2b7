"""The way to one API server: credentials, strict validation, retries, and its clock.

It stands below lightkube as its transport, so that every call keeps to the same rules: writes are
validated strictly by the server, refusals that ask for time are given it, and the server's own
clock is noted, by which the ages of what it tells are judged.
"""

from __future__ import annotations

import email.utils
import threading
import time
import urllib.request
from collections.abc import Callable
from ssl import SSLContext
from typing import Protocol

import httpx2

from edgectl_gke_edge.retry import pause_before_retry

MAX_CONNECTIONS = 16
_WRITES = frozenset({"POST", "PUT", "PATCH"})
CONNECT_ATTEMPTS = 2


class Token(Protocol):
    """Where the bearer token comes from."""

    def __call__(self) -> str:
        """Return a token that holds for some minutes."""


class Wire(httpx2.BaseTransport):
    """A transport to one API server.

    Args:
        server: The server's address, for the proxy that the environment may name.
        context: What is trusted, and who we are.
        token: Where the bearer token comes from; None leaves that to the client.
        attempts: How often a call is tried.
        sleep: Waits, for tests.
    """

    def __init__(
        self,
        server: str,
        context: SSLContext,
        *,
        token: Token | None = None,
        attempts: int = 4,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._inner = httpx2.HTTPTransport(
            verify=context,
            proxy=proxy_for(server),
            limits=httpx2.Limits(max_connections=MAX_CONNECTIONS),
        )
        self._token = token
        self._attempts = attempts
        self._sleep = sleep
        self._lock = threading.Lock()
        self._ahead_s = 0.0

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request, again where that may help."""
        if request.method in _WRITES:
            request.url = request.url.copy_merge_params({"fieldValidation": "Strict"})
        attempt = 0
        while True:
            attempt += 1
            response, error = self._send(request)
            most = self._attempts if response is not None else min(self._attempts, CONNECT_ATTEMPTS)
            pause = pause_before_retry(
                attempt,
                most,
                request.method,
                None if response is None else response.status_code,
                "" if response is None else response.headers.get("Retry-After", ""),
            )
            if pause is None:
                break
            if response is not None:
                response.read()
                response.close()
            self._sleep(pause)
        if response is None:
            raise error if error is not None else httpx2.ConnectError("no answer")
        return response

    def now(self) -> float:
        """Return the time by the server's clock, seconds since 1970 UTC."""
        with self._lock:
            return time.time() + self._ahead_s

    def close(self) -> None:
        """Close the connections."""
        self._inner.close()

    def _send(
        self, request: httpx2.Request
    ) -> tuple[httpx2.Response | None, httpx2.TransportError | None]:
        if self._token is not None:
            request.headers["Authorization"] = f"Bearer {self._token()}"
        try:
            response = self._inner.handle_request(request)
        except httpx2.TransportError as exc:
            return None, exc
        self._note_clock(response.headers.get("Date", ""))
        return response, None

    def _note_clock(self, date: str) -> None:
        try:
            told = email.utils.parsedate_to_datetime(date).timestamp()
        except (TypeError, ValueError):
            return
        ahead = told - time.time()
        with self._lock:
            # The header has whole seconds: less than that is no difference.
            self._ahead_s = ahead if abs(ahead) > 2.0 else 0.0


def proxy_for(server: str) -> str | None:
    """Return the proxy that the environment names for a server, or None."""
    url = httpx2.URL(server)
    if urllib.request.proxy_bypass(url.host):
        return None
    return urllib.request.getproxies().get(url.scheme)

"""The one connection of this module: MQTT 3.1.1 over TLS to edgeHub, kept up by a thread.

A token ends, and MQTT has no way to bring a new one: so the connection is closed and opened anew
before that. What breaks is tried again with growing pauses, spread apart, so that the modules of a
device do not come back all at once.
"""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from edge_components.agent.backoff import Backoff, chance
from edge_components.contract.errors import ContractError
from edge_components.iotedge.environment import ModuleIdentity
from edge_components.iotedge.link import Link, LinkError
from edge_components.iotedge.workload import Token, WorkloadError

_LOG = logging.getLogger(__name__)


class HubTiming(msgspec.Struct, frozen=True, kw_only=True):
    """How patient the connection is.

    Attributes:
        connect_s: How long connecting may take, and an answer.
        keepalive_s: Silence after which edgeHub is asked whether it is there.
        renew_share: The share of a token's life after which a new one is fetched.
    """

    connect_s: float = 15.0
    keepalive_s: int = 60
    renew_share: float = 0.8
    backoff: Backoff = Backoff(first_s=1.0, most_s=60.0)


class Credentials(Protocol):
    """Who signs for this module; both raise ``WorkloadError``."""

    def token(self) -> Token:
        """Return a new token."""

    def trust_bundle(self) -> str:
        """Return the authorities to trust (PEM)."""


class EdgeHub:
    """Keeps a connection to edgeHub.

    Args:
        identity: Who this module is.
        credentials: Who signs.
        connected: Called when there is a connection, with all subscriptions made.
        received: Called with topic and payload; must be quick.
        timing: How patient it is.
        clock: Seconds since 1970, by which tokens end.
    """

    def __init__(
        self,
        identity: ModuleIdentity,
        credentials: Credentials,
        *,
        connected: Callable[[], None],
        received: Callable[[str, bytes], None],
        timing: HubTiming | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._identity = identity
        self._credentials = credentials
        self._connected = connected
        self._received = received
        self._timing = timing or HubTiming()
        self._clock = clock
        self._link: Link | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="edge-hub", daemon=True)
        self.trouble = "not connected yet"

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End the connection."""
        self._stop.set()
        link = self._link
        if link is not None:
            link.wake()
        self._thread.join(timeout_s)

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection now."""
        link = self._link
        return link is not None and link.is_up

    def publish(self, topic: str, payload: bytes, *, timeout_s: float) -> None:
        """Publish with QoS 1 and wait until edgeHub has the message.

        Raises:
            LinkError: There is no connection, or no acknowledgement in time.
        """
        link = self._link
        if link is None:
            raise LinkError(f"edgeHub is not connected: {self.trouble}")
        link.publish(topic, payload, timeout_s=timeout_s)

    def post(self, topic: str, payload: bytes) -> None:
        """Publish without waiting; a message that is lost with the connection is no loss."""
        link = self._link
        if link is not None:
            link.post(topic, payload)

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                self._session()
                failures = 0
                continue
            except (WorkloadError, LinkError, ContractError, OSError) as exc:
                self.trouble = str(exc)
            except Exception as exc:  # noqa: BLE001 - the connection must come back whatever broke it
                _LOG.exception("the connection to edgeHub failed")
                self.trouble = f"{type(exc).__name__}: {exc}"
            if time.monotonic() - began > self._timing.backoff.most_s:
                failures = 0
            failures += 1
            wait = self._timing.backoff.wait_s(failures, chance())
            _LOG.warning("edgeHub: %s; again in %.1f s", self.trouble, wait)
            self._stop.wait(wait)

    def _session(self) -> None:
        """Be connected until the token has to be renewed or the module ends.

        Raises:
            LinkError: The connection could not be made, or broke.
            WorkloadError: Nobody signs for this module.
        """
        token = self._credentials.token()
        context = ssl.create_default_context(cadata=self._credentials.trust_bundle())
        link = Link(
            self._identity,
            token.text,
            context,
            connect_s=self._timing.connect_s,
            keepalive_s=self._timing.keepalive_s,
            received=self._received,
        )
        try:
            link.open()
            self._link = link
            self.trouble = ""
            _LOG.info("connected to edgeHub as '%s'", self._identity.client_id)
            self._connected()
            left = max(token.until - self._clock(), 0) * self._timing.renew_share
            if (why := link.wait_end(left, self._stop)) is not None:
                raise LinkError(why)
            _LOG.info("the connection ends: a new token is due, or the module stops")
        finally:
            self._link = None
            link.close()

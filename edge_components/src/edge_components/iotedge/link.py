"""One MQTT connection from its beginning to its end; there is no second life in it.

paho does the protocol, with its own reconnecting switched off: a token is good for one connection,
so whoever wants another one makes another ``Link``.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from edge_components.contract.errors import ContractError
from edge_components.iotedge.environment import ModuleIdentity
from edge_components.iotedge.topics import SUBSCRIPTIONS

_LOOK_S = 0.5


class LinkError(Exception):
    """The connection is not there, or broke."""


class Link:
    """A connection to edgeHub.

    Args:
        identity: Who this module is.
        password: Its token.
        context: Whom to trust.
        connect_s: How long connecting and subscribing may take.
        keepalive_s: Silence after which edgeHub is asked whether it is there.
        received: Called with topic and payload.

    Raises:
        ContractError: ``bad-config``: the MQTT client is not installed.
    """

    def __init__(
        self,
        identity: ModuleIdentity,
        password: str,
        context: ssl.SSLContext,
        *,
        connect_s: float,
        keepalive_s: int,
        received: Callable[[str, bytes], None],
    ) -> None:
        self._address = identity.address
        self._connect_s = connect_s
        self._keepalive_s = keepalive_s
        self._changed = threading.Condition()
        self._up = False
        self._ended: str | None = None
        self._woken = False
        self._subscribed: set[int] = set()
        self._client = client = _client(identity.client_id)
        client.connect_timeout = connect_s
        client.username_pw_set(identity.username, password)
        client.tls_set_context(context)
        client.on_connect = lambda _c, _u, _f, code, _p: self._answered(code)
        client.on_disconnect = lambda _c, _u, _f, code, _p: self._end(f"disconnected: {code}")
        client.on_subscribe = lambda _c, _u, mid, codes, _p: self._granted(mid, codes)
        client.on_message = lambda _c, _u, message: received(message.topic, message.payload)

    @property
    def is_up(self) -> bool:
        """Whether it is connected."""
        return self._up and self._ended is None

    def open(self) -> None:
        """Connect and subscribe; raises ``LinkError``."""
        host, port = self._address
        try:
            self._client.connect(host, port, keepalive=self._keepalive_s)
        except (OSError, ValueError) as exc:
            raise LinkError(f"'{host}:{port}' cannot be reached: {exc}") from exc
        self._client.loop_start()
        self._await(lambda: self._up, "edgeHub did not answer")
        _, number = self._client.subscribe([(topic, 0) for topic in SUBSCRIPTIONS])
        self._await(lambda: number in self._subscribed, "edgeHub did not grant subscriptions")

    def publish(self, topic: str, payload: bytes, *, timeout_s: float) -> None:
        """Publish with QoS 1 and wait for the acknowledgement; raises ``LinkError``."""
        if not self.is_up:
            raise LinkError(f"edgeHub is not connected: {self._ended}")
        try:
            info = self._client.publish(topic, payload, qos=1)
            deadline = time.monotonic() + timeout_s
            while not info.is_published():
                if self._ended is not None:
                    raise LinkError(self._ended)
                if time.monotonic() > deadline:
                    raise LinkError(f"edgeHub did not acknowledge in {timeout_s:g} s")
                info.wait_for_publish(min(timeout_s, _LOOK_S))
        except (RuntimeError, ValueError) as exc:
            raise LinkError(f"a message cannot be sent: {exc}") from exc

    def post(self, topic: str, payload: bytes) -> None:
        """Publish with QoS 0."""
        with suppress(ValueError):
            self._client.publish(topic, payload, qos=0)

    def wait_end(self, timeout_s: float, stop: threading.Event) -> str | None:
        """Return why the connection ended; None where time is up or ``stop`` was set."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._ended is not None or self._woken or stop.is_set(), timeout_s
            )
            return self._ended

    def wake(self) -> None:
        """Have ``wait_end`` return."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()
        self._end("closed")

    def _await(self, holds: Callable[[], bool], otherwise: str) -> None:
        with self._changed:
            self._changed.wait_for(lambda: holds() or self._ended is not None, self._connect_s)
            if self._ended is not None:
                raise LinkError(self._ended)
            if not holds():
                raise LinkError(f"{otherwise} in {self._connect_s:g} s")

    def _answered(self, code: Any) -> None:
        if code.is_failure:
            self._end(f"edgeHub refuses: {code}")
            return
        with self._changed:
            self._up = True
            self._changed.notify_all()

    def _granted(self, number: int, codes: list[Any]) -> None:
        if any(code.is_failure for code in codes):
            self._end("edgeHub refuses a subscription")
            return
        with self._changed:
            self._subscribed.add(number)
            self._changed.notify_all()

    def _end(self, why: str) -> None:
        with self._changed:
            self._ended = self._ended or why
            self._changed.notify_all()


def _client(client_id: str) -> Any:
    try:
        from paho.mqtt.enums import MQTTProtocolVersion  # noqa: PLC0415 - an extra

        from edge_components.mqtt import new_client  # noqa: PLC0415 - as above
    except ModuleNotFoundError as exc:
        raise ContractError(
            "bad-config",
            f"edgeHub needs '{exc.name}': pip install 'edgectl-edge-components[iotedge]'",
        ) from exc
    return new_client(client_id, MQTTProtocolVersion.MQTTv311, clean_session=True)

"""The server: connections, who may do what, and the way of each message.

What the account is asked for runs in the listener's worker threads, one request at a time for each
connection, so a device's messages keep their order.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from edgectl.emulation.mqtt import Listener, Message, PacketError, Reason, Session, Transport
from edgectl_aws_greengrass.emulator.broker import handshake, reserved
from edgectl_aws_greengrass.emulator.broker.client import Client
from edgectl_aws_greengrass.emulator.broker.notices import Notices
from edgectl_aws_greengrass.emulator.broker.services import Services
from edgectl_aws_greengrass.emulator.broker.switchboard import Switchboard
from edgectl_aws_greengrass.emulator.ports import Cloud, Principal

log = logging.getLogger(__name__)

_Given = ParamSpec("_Given")
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, kw_only=True)
class BrokerSettings:
    """What a test may want otherwise than AWS has it.

    Attributes:
        min_keep_alive_s: AWS raises shorter ones to this (30 s).
        max_keep_alive_s: And lowers longer ones, and 0, to this.
        persistent_s: How long a session of MQTT 3.1.1 that is not clean lives on.
    """

    min_keep_alive_s: float = 30.0
    max_keep_alive_s: float = 1_200.0
    persistent_s: float = 3_600.0


class Broker:
    """Serves MQTT to the account's devices.

    Args:
        cloud: The account.
        tls: A server context that requires a client certificate.
        host: Address to listen on.
        port: Port, 0 for any.
    """

    def __init__(
        self,
        cloud: Cloud,
        tls: ssl.SSLContext,
        host: str = "127.0.0.1",
        port: int = 0,
        settings: BrokerSettings | None = None,
    ) -> None:
        self.cloud = cloud
        self.settings = settings or BrokerSettings()
        self.services = Services(cloud)
        self.switchboard = Switchboard(self._may_receive)
        self.clients: dict[str, Client] = {}
        self.is_closing = False
        self._notices = Notices(self)
        self._listener = Listener(
            self._serve,
            tls,
            host=host,
            port=port,
            tick=lambda: self.switchboard.expire(self.loop.time()),
            farewell=self._farewell,
        )

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that moves the packets."""
        return self._listener.loop

    @property
    def tasks(self) -> set[asyncio.Task[None]]:
        """What runs on the loop and is cancelled in the end."""
        return self._listener.tasks

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._listener.port

    def start(self) -> None:
        """Begin to listen.

        Raises:
            OSError: The address cannot be had.
        """
        self._listener.start()
        self.cloud.jobs.listen(self._notices.changed)
        self.cloud.shadows.listen(self.publish)
        self.cloud.on_publish(self.publish)

    def stop(self) -> None:
        """Say goodbye to all clients and end."""
        self._listener.stop()

    def publish(self, topic: str, payload: bytes) -> None:
        """Give devices a message of the cloud's; may be called from any thread."""
        message = Message(topic=topic, payload=payload, qos=1)
        with contextlib.suppress(RuntimeError):  # the loop is closed: there are no devices
            self.loop.call_soon_threadsafe(self.switchboard.route, message)

    async def ask(
        self, work: Callable[_Given, _Answer], *given: _Given.args, **named: _Given.kwargs
    ) -> _Answer:
        """Run something that asks the account in a worker thread."""
        return await self._listener.ask(work, *given, **named)

    def allows(self, principal: Principal, action: str, resource: str, client_id: str) -> bool:
        """Ask the device policy about a client, a topic or a topic filter."""
        arn = self.cloud.arn("iot", resource)
        return self.cloud.things.allows(principal, action, arn, client_id)

    async def take(self, client_id: str, message: Message) -> None:
        """Bring a device's message to the service that it is for, or to rules and subscribers."""
        request = reserved.parse(message.topic)
        if request is None:
            self._keep(message)
            self.switchboard.route(message)
            if not message.topic.startswith("$aws/things/"):
                await self.ask(self.cloud.publish, message.topic, message.payload, client_id)
            return
        replies = await self.ask(self.services.answer, request, message.topic, message.payload)
        for topic, payload in replies:
            self.switchboard.route(Message(topic=topic, payload=payload, qos=1))

    async def watch(self, filters: list[str]) -> None:
        """Tell of jobs from now on, for subscriptions to notices of them."""
        for name in filters:
            if (notice := reserved.notice(name)) is not None:
                await self.ask(self._notices.watch, notice, name)

    def _keep(self, message: Message) -> None:
        if not message.retain:
            return
        if message.payload:
            self.switchboard.retained[message.topic] = message
        else:
            self.switchboard.retained.pop(message.topic, None)

    def _may_receive(self, session: Session, topic: str) -> bool:
        client = self.clients.get(session.client_id)
        return client is None or client.may_receive(topic)

    async def _serve(self, transport: Transport) -> None:
        client: Client | None = None
        try:
            client = await handshake.accept(self, transport)
            if client is not None:
                await client.run()
        except PacketError as exc:
            log.info("'%s' is cut off: %s", client.client_id if client else "a client", exc)
            transport.end(exc.reason, str(exc))
        except (OSError, EOFError):  # the connection is gone: nobody is left to tell
            pass
        finally:
            if client is not None:
                await client.finish()

    def _farewell(self) -> None:
        self.is_closing = True
        for client in list(self.clients.values()):
            client.transport.end(Reason.SERVER_SHUTTING_DOWN, "the server is shutting down")

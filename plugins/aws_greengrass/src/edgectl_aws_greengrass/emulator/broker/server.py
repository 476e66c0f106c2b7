"""The server: connections, who may do what, and the way of each message.

One event loop in a thread of its own moves packets; what the account is asked for runs in a few
worker threads, one request at a time for each connection, so a device's messages keep their order.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from edgectl_aws_greengrass.emulator.broker import handshake, reserved
from edgectl_aws_greengrass.emulator.broker.client import Client
from edgectl_aws_greengrass.emulator.broker.notices import Notices
from edgectl_aws_greengrass.emulator.broker.packets import Message, PacketError, Reason
from edgectl_aws_greengrass.emulator.broker.services import Services
from edgectl_aws_greengrass.emulator.broker.session import Session
from edgectl_aws_greengrass.emulator.broker.switchboard import Switchboard
from edgectl_aws_greengrass.emulator.broker.transport import Transport
from edgectl_aws_greengrass.emulator.ports import Cloud, Principal

log = logging.getLogger(__name__)

_Given = ParamSpec("_Given")
_Answer = TypeVar("_Answer")

_WORKERS = 8
_BACKLOG = 2_048
_EXPIRY_ROUND_S = 1.0


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
        self.loop = asyncio.new_event_loop()
        self.tasks: set[asyncio.Task[None]] = set()
        self.is_closing = False
        self._tls = tls
        self._address = (host, port)
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="mqtt-service")
        self._notices = Notices(self)
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._address[1]

    def start(self) -> None:
        """Begin to listen.

        Raises:
            OSError: The address cannot be had.
        """
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self.loop).result()
        self.cloud.jobs.listen(self._notices.changed)
        self.cloud.shadows.listen(self.publish)
        self.cloud.on_publish(self.publish)

    def stop(self) -> None:
        """Say goodbye to all clients and end."""
        if not self._thread.is_alive():
            return
        asyncio.run_coroutine_threadsafe(self._close(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def publish(self, topic: str, payload: bytes) -> None:
        """Give devices a message of the cloud's; may be called from any thread."""
        message = Message(topic=topic, payload=payload, qos=1)
        with contextlib.suppress(RuntimeError):  # the loop is closed: there are no devices
            self.loop.call_soon_threadsafe(self.switchboard.route, message)

    async def ask(
        self, work: Callable[_Given, _Answer], *given: _Given.args, **named: _Given.kwargs
    ) -> _Answer:
        """Run something that asks the account in a worker thread."""
        return await self.loop.run_in_executor(self._workers, lambda: work(*given, **named))

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

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    async def _listen(self) -> None:
        host, port = self._address
        self._server = await asyncio.start_server(
            self._serve, host, port, ssl=self._tls, backlog=_BACKLOG
        )
        self._address = (host, int(self._server.sockets[0].getsockname()[1]))
        self.tasks.add(self.loop.create_task(self._tick()))

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_EXPIRY_ROUND_S)
            self.switchboard.expire(self.loop.time())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transport = Transport(reader, writer)
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
            await transport.close()

    async def _close(self) -> None:
        self.is_closing = True
        if self._server is not None:
            self._server.close()
        for client in list(self.clients.values()):
            client.transport.end(Reason.SERVER_SHUTTING_DOWN, "the server is shutting down")
        for task in list(self.tasks):
            task.cancel()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=2.0)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self.loop.run_in_executor(None, self._workers.shutdown)
        await self.loop.shutdown_default_executor()

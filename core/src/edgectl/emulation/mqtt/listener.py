"""Listens for MQTT over TLS: one event loop in a thread of its own, and workers for what blocks."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from edgectl.emulation.mqtt.transport import MAX_PACKET, Transport

_Given = ParamSpec("_Given")
_Answer = TypeVar("_Answer")

_WORKERS = 8
_BACKLOG = 2_048
_TICK_S = 1.0
_GRACE_S = 2.0

Serve = Callable[[Transport], Awaitable[None]]


class Listener:
    """Starts and ends; what a connection is told is its owner's.

    Args:
        serve: Runs once for each connection; may not raise.
        tls: A server context.
        host: Address to listen on.
        port: Port, 0 for any.
        tick: Called on the loop about once a second.
        farewell: Called on the loop before the connections are closed.
        max_packet: The longest packet that is taken, in bytes.
    """

    def __init__(
        self,
        serve: Serve,
        tls: ssl.SSLContext,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tick: Callable[[], None] = lambda: None,
        farewell: Callable[[], None] = lambda: None,
        max_packet: int = MAX_PACKET,
    ) -> None:
        self.loop = asyncio.new_event_loop()
        self.tasks: set[asyncio.Task[None]] = set()
        self._serve = serve
        self._tls = tls
        self._address = (host, port)
        self._tick = tick
        self._farewell = farewell
        self._max_packet = max_packet
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="mqtt-service")
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

    def stop(self) -> None:
        """Say goodbye to all clients and end."""
        if not self._thread.is_alive():
            return
        asyncio.run_coroutine_threadsafe(self._close(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    async def ask(
        self, work: Callable[_Given, _Answer], *given: _Given.args, **named: _Given.kwargs
    ) -> _Answer:
        """Run something that may block in a worker thread."""
        return await self.loop.run_in_executor(self._workers, lambda: work(*given, **named))

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    async def _listen(self) -> None:
        host, port = self._address
        self._server = await asyncio.start_server(
            self._accepted, host, port, ssl=self._tls, backlog=_BACKLOG
        )
        self._address = (host, int(self._server.sockets[0].getsockname()[1]))
        self.tasks.add(self.loop.create_task(self._ticks()))

    async def _ticks(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            self._tick()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transport = Transport(reader, writer, self._max_packet)
        try:
            await self._serve(transport)
        finally:
            await transport.close()

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        self._farewell()
        for task in list(self.tasks):
            task.cancel()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_GRACE_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self.loop.run_in_executor(None, self._workers.shutdown)
        await self.loop.shutdown_default_executor()

"""Real runtimes for the tests: small models, version folders, processes and sockets."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from edge_components.runtime.http import Limits
from edge_components.runtime.server import HttpServer, Resolver

sys.path.insert(0, str(Path(__file__).parent / "support"))
sys.path.insert(0, str(Path(__file__).parents[1] / "device_support"))

import rt_models
from rt_models import VersionMaker
from rt_process import Start, starting, until


@pytest.fixture
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    with starting(tmp_path_factory.mktemp("rt")) as function:
        yield function


@pytest.fixture(scope="module")
def module_start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    with starting(tmp_path_factory.mktemp("rt")) as function:
        yield function


@pytest.fixture
def make_version(tmp_path: Path) -> VersionMaker:
    return VersionMaker(tmp_path / "versions")


@pytest.fixture(scope="session")
def build() -> Any:
    """The model builders, by name."""

    class Builders:
        scaling = staticmethod(rt_models.scaling_model)
        echo = staticmethod(rt_models.echo_model)
        identity = staticmethod(rt_models.identity_model)
        pair = staticmethod(rt_models.two_input_model)
        reshaping = staticmethod(rt_models.reshaping_model)
        endless = staticmethod(rt_models.endless_model)
        hanging = staticmethod(rt_models.hanging_model)
        counting = staticmethod(rt_models.counting_model)
        golden = staticmethod(rt_models.golden_bytes)
        scaling_golden = staticmethod(rt_models.scaling_golden)
        until = staticmethod(until)

    return Builders


class LoopThread:
    """An HttpServer of this process on an event loop of its own thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.server: HttpServer | None = None

    def serve(self, resolver: Resolver, limits: Limits) -> int:
        async def begin() -> int:
            self.server = HttpServer(resolver, limits)
            return await self.server.listen("127.0.0.1", 0)

        future: Future[int] = asyncio.run_coroutine_threadsafe(begin(), self.loop)
        return future.result(10)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()

    async def _end(self) -> None:
        # A connection that is being accepted while the server closes would leak (asyncio).
        await self._turns()
        if self.server is not None:
            await self.server.drain(1.0)
        await self._turns()

    @staticmethod
    async def _turns() -> None:
        for _ in range(10):
            await asyncio.sleep(0)


@pytest.fixture
def http_server() -> Iterator[LoopThread]:
    thread = LoopThread()
    yield thread
    thread.close()

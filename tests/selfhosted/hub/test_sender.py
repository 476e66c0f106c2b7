"""Files by sendfile: whole, in parts, to many at once, and given up without a trace."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from edgectl_selfhosted.hub.sender import FileSender, SendError

DATA = os.urandom(3 << 20)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The hub's end of a connection, as an event loop has it, and the client's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.settimeout(20)
        yield ours, theirs


def with_sender(
    work: Callable[[FileSender], Coroutine[Any, Any, None]], stall_s: float = 20.0
) -> None:
    """Run with a sender; afterwards no descriptor and no thread is left of it."""
    before, threads = open_files(), threading.active_count()
    sender = FileSender(stall_s)
    sender.start()
    try:
        asyncio.run(asyncio.wait_for(work(sender), 20))
    finally:
        sender.close()
    assert open_files() <= before
    assert threading.active_count() <= threads


def open_files() -> set[str]:
    """What this process has open; others of its tests may close what they forgot, meanwhile."""
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(str(descriptor.readlink()))
    return found


def receive(conn: socket.socket, count: int) -> bytes:
    found = bytearray()
    while len(found) < count and (piece := conn.recv(1 << 20)):
        found += piece
    return bytes(found)


@pytest.mark.parametrize(("start", "end"), [(0, len(DATA)), (1, 2), (5, 5), (1_000_000, 2_500_000)])
def test_span_arrives_and_nothing_else(file: Path, pair: Any, start: int, end: int) -> None:
    ours, theirs = pair

    async def work(sender: FileSender) -> None:
        receiving = asyncio.to_thread(receive, theirs, end - start)
        _, found = await asyncio.gather(sender.send(file, start, end, ours.fileno()), receiving)
        assert found == DATA[start:end]

    with_sender(work)


def test_many_share_one_descriptor_of_the_file(file: Path) -> None:
    async def work(sender: FileSender) -> None:
        with contextlib.ExitStack() as stack:
            pairs = [socket.socketpair() for _ in range(20)]
            for ours, theirs in pairs:
                stack.enter_context(ours).setblocking(False)
                stack.enter_context(theirs).settimeout(20)
            before = open_files()
            sends = [
                asyncio.create_task(sender.send(file, 0, len(DATA), ours.fileno()))
                for ours, _ in pairs
            ]
            await asyncio.sleep(0)
            assert len(open_files() - before) <= len(pairs) + 1
            pool = stack.enter_context(ThreadPoolExecutor(len(pairs)))
            loop = asyncio.get_running_loop()
            found = await asyncio.gather(
                *(loop.run_in_executor(pool, receive, theirs, len(DATA)) for _, theirs in pairs)
            )
            await asyncio.gather(*sends)
        digests = {hashlib.sha256(one).digest() for one in found}
        assert digests == {hashlib.sha256(DATA).digest()}

    with_sender(work)


def test_client_that_leaves_ends_the_transfer(file: Path, pair: Any) -> None:
    ours, theirs = pair

    async def work(sender: FileSender) -> None:
        sending = asyncio.create_task(sender.send(file, 0, len(DATA), ours.fileno()))
        await asyncio.to_thread(theirs.recv, 1000)
        theirs.shutdown(socket.SHUT_RDWR)
        with pytest.raises(SendError, match="cannot be sent"):
            await sending

    with_sender(work)


def test_client_that_takes_nothing_is_given_up(file: Path, pair: Any) -> None:
    ours, _ = pair

    async def work(sender: FileSender) -> None:
        with pytest.raises(SendError, match="took nothing for"):
            await sender.send(file, 0, len(DATA), ours.fileno())

    with_sender(work, stall_s=0.2)


def test_transfer_that_nobody_waits_for_ends(file: Path, pair: Any) -> None:
    ours, _ = pair

    async def work(sender: FileSender) -> None:
        sending = asyncio.create_task(sender.send(file, 0, len(DATA), ours.fileno()))
        await asyncio.sleep(0)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        # The file can be sent again at once.
        with pytest.raises(SendError, match="took nothing"):
            await sender.send(file, 0, len(DATA), ours.fileno())

    with_sender(work, stall_s=0.2)


def test_closing_gives_up_what_is_under_way(file: Path, pair: Any) -> None:
    ours, _ = pair

    async def work(sender: FileSender) -> None:
        sending = asyncio.create_task(sender.send(file, 0, len(DATA), ours.fileno()))
        await asyncio.sleep(0)
        await asyncio.to_thread(sender.close)
        with pytest.raises(SendError, match="the hub stops"):
            await sending

    with_sender(work)


def test_file_that_is_short_or_missing_is_an_error(tmp_path: Path, file: Path, pair: Any) -> None:
    ours, theirs = pair

    async def work(sender: FileSender) -> None:
        receiving = asyncio.to_thread(receive, theirs, len(DATA))
        results = await asyncio.gather(
            sender.send(file, 0, len(DATA) + 1, ours.fileno()), receiving, return_exceptions=True
        )
        assert isinstance(results[0], SendError)
        assert "shorter" in str(results[0])
        with pytest.raises(SendError, match="No such file"):
            await sender.send(tmp_path / "none", 0, 1, ours.fileno())

    with_sender(work)

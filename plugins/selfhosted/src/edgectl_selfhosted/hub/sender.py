"""Files onto sockets by ``sendfile``, all of them in one thread.

The kernel moves the bytes, so that neither the event loop nor Python's memory sees them; a slow
disk or a full socket holds up nobody's poll. A transfer owns a descriptor of its own for its
socket and shares the file's with all others that send the same file; both are let go by the
thread alone, so that no number is used after it was closed. A transfer that moves nothing for too
long is given up.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import selectors
import socket
import threading
import time
from collections import deque
from pathlib import Path

_MAX_PIECE = 1 << 20
_LOOK_S = 1.0


class SendError(Exception):
    """A file did not go out whole."""


class _File:
    """An open file and how many transfers read it."""

    __slots__ = ("fd", "path", "users")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.users = 0


class _Transfer:
    __slots__ = (
        "at", "canceled", "end", "ended", "file", "future", "loop", "moved_at", "out",
    )  # fmt: skip

    def __init__(
        self, out: int, file: _File, start: int, end: int, future: asyncio.Future[None]
    ) -> None:
        self.out = out
        self.file = file
        self.at = start
        self.end = end
        self.future = future
        self.loop = future.get_loop()
        self.moved_at = time.monotonic()
        self.canceled = False
        self.ended = False

    def move(self) -> bool:
        """Send what the socket takes; whether all is sent.

        Raises:
            SendError: The client is gone, or the file ends early.
        """
        piece = min(_MAX_PIECE, self.end - self.at)
        try:
            count = os.sendfile(self.out, self.file.fd, self.at, piece)
        except BlockingIOError:
            return False
        except OSError as exc:
            raise SendError(f"the file cannot be sent: {exc.strerror}") from exc
        if not count:
            raise SendError("the file is shorter than it was")
        self.at += count
        self.moved_at = time.monotonic()
        return self.at == self.end

    def settle(self, error: SendError | None) -> None:
        """Say in the event loop how it ended."""

        def tell() -> None:
            if self.future.done():
                return
            if error is None:
                self.future.set_result(None)
            else:
                self.future.set_exception(error)

        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(tell)


class FileSender:
    """Sends files until it is closed.

    Args:
        stall_s: How long a client may take nothing.
    """

    def __init__(self, stall_s: float) -> None:
        self._stall_s = stall_s
        self._files: dict[Path, _File] = {}
        self._lock = threading.Lock()
        self._orders: deque[_Transfer] = deque()
        self._under_way: set[_Transfer] = set()
        self._selector = selectors.DefaultSelector()
        self._woken, self._wake = socket.socketpair()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="hub-send", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        for end in (self._woken, self._wake):
            end.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread.start()

    def close(self) -> None:
        """Give up what is under way, and end the thread."""
        if self._thread.is_alive():
            self._closing = True
            self._call()
            self._thread.join()
        self._selector.close()
        self._woken.close()
        self._wake.close()

    async def send(self, path: Path, start: int, end: int, fd: int) -> None:
        """Send bytes ``start`` to before ``end``; nobody else may write to the socket meanwhile.

        Args:
            path: The file.
            start: First byte.
            end: Behind the last byte.
            fd: A non-blocking socket's descriptor.

        Raises:
            SendError: The file cannot be opened or ends early, or the client went away or takes
                nothing.
        """
        if start == end:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            file = self._open(path)
            try:
                transfer = _Transfer(os.dup(fd), file, start, end, future)
            except OSError:
                self._let_go(file)
                raise
        except OSError as exc:
            raise SendError(f"the file cannot be sent: {exc.strerror}") from exc
        self._order(transfer)
        try:
            await future
        except asyncio.CancelledError:
            transfer.canceled = True
            self._order(transfer)
            raise

    def _open(self, path: Path) -> _File:
        with self._lock:
            file = self._files.get(path)
            if file is None:
                file = self._files[path] = _File(path)
            file.users += 1
            return file

    def _let_go(self, file: _File) -> None:
        with self._lock:
            file.users -= 1
            if not file.users:
                del self._files[file.path]
                os.close(file.fd)

    def _order(self, transfer: _Transfer) -> None:
        self._orders.append(transfer)
        self._call()

    def _call(self) -> None:
        with contextlib.suppress(BlockingIOError):  # it is called already
            self._wake.send(b".")

    # From here on everything runs in the thread.

    def _run(self) -> None:
        looked_at = time.monotonic()
        while not self._closing:
            for key, _ in self._selector.select(_LOOK_S):
                if key.data is None:
                    self._take_orders()
                else:
                    self._move(key.data)
            now = time.monotonic()
            if now - looked_at >= _LOOK_S:
                looked_at = now
                self._give_up_stalled(now)
        self._take_orders()
        for transfer in tuple(self._under_way):
            self._end(transfer, SendError("the hub stops"))

    def _take_orders(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._woken.recv(1 << 12)
        while self._orders:
            transfer = self._orders.popleft()
            if transfer.ended:
                continue
            if transfer not in self._under_way:
                self._under_way.add(transfer)
                self._selector.register(transfer.out, selectors.EVENT_WRITE, transfer)
            if transfer.canceled:
                self._end(transfer, SendError("nobody waits for it any more"))

    def _move(self, transfer: _Transfer) -> None:
        if transfer.ended:
            return
        try:
            if transfer.move():
                self._end(transfer, None)
        except SendError as exc:
            self._end(transfer, exc)

    def _give_up_stalled(self, now: float) -> None:
        for transfer in tuple(self._under_way):
            if now - transfer.moved_at > self._stall_s:
                why = f"the client took nothing for {self._stall_s:.0f} s"
                self._end(transfer, SendError(why))

    def _end(self, transfer: _Transfer, error: SendError | None) -> None:
        transfer.ended = True
        self._under_way.discard(transfer)
        self._selector.unregister(transfer.out)
        os.close(transfer.out)
        self._let_go(transfer.file)
        transfer.settle(error)

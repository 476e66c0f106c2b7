"""The kubelet's own HTTPS server: logs of containers, and whether it lives.

The API server comes here for ``pods/log``; what it asks is the kubelet's own language
(``/containerLogs/NAMESPACE/POD/CONTAINER``).
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from edgectl_gke_edge.emulator.nodes.kubelet.logs import Wanted, read_log
from edgectl_gke_edge.emulator.nodes.kubelet.node import Node
from edgectl_gke_edge.emulator.nodes.kubelet.runtime import Process, last_attempt

_LOG = logging.getLogger(__name__)
_HEAD_BYTES = 16 << 10


class _RefusedError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class KubeletServer:
    """Serves one node's logs.

    Args:
        node: The node.
        tls: A server-side context for the node's address.
    """

    def __init__(self, node: Node, tls: ssl.SSLContext) -> None:
        self._node = node
        self._tls = tls
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen on the node's address, and tell the node the port."""
        self._server = await asyncio.start_server(self._serve, self._node.ip, 0, ssl=self._tls)
        self._node.kubelet_port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
            method, target, _ = head[:_HEAD_BYTES].split(b"\r\n")[0].decode().split(" ")
            await self._answer(method, target, writer)
        except (ConnectionError, TimeoutError, ValueError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, method: str, target: str, writer: asyncio.StreamWriter) -> None:
        parts = urlsplit(target)
        words = [unquote(word) for word in parts.path.strip("/").split("/")]
        try:
            if words == ["healthz"]:
                _head(writer, 200)
                _chunk(writer, b"ok")
            elif method == "GET" and words[0] == "containerLogs" and len(words) == 4:
                _, namespace, pod, container = words
                chunks = self._log(namespace, pod, container, dict(parse_qsl(parts.query)))
                await _stream(writer, chunks)
            else:
                _head(writer, 404)
                _chunk(writer, b"404 page not found")
        except _RefusedError as exc:
            _head(writer, exc.status)
            _chunk(writer, str(exc).encode())
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    def _log(
        self, namespace: str, pod: str, container: str, query: Mapping[str, str]
    ) -> AsyncIterator[bytes]:
        worker = self._node.worker(namespace, pod)
        folder = None if worker is None else worker.folder
        if folder is None:
            raise _RefusedError(404, f'pod "{pod}" is not found on node "{self._node.name}"')
        attempts = folder / "containers" / container
        number = last_attempt(attempts) - (query.get("previous") == "true")
        if number < 0:
            which = "previous terminated container" if query.get("previous") else "container"
            raise _RefusedError(400, f'{which} "{container}" in pod "{pod}" not found')
        process = Process(attempts / str(number))
        path: Path = folder / "logs" / container / f"{number}.log"
        return read_log(path, wanted_of(query), lambda: not process.is_running())


def wanted_of(query: Mapping[str, str]) -> Wanted:
    """Return what the query of a logs request asks for."""
    since = None
    if "sinceTime" in query:
        since = datetime.fromisoformat(query["sinceTime"])
    elif "sinceSeconds" in query:
        since = datetime.now(UTC) - timedelta(seconds=int(query["sinceSeconds"]))
    return Wanted(
        follow=query.get("follow") == "true",
        timestamps=query.get("timestamps") == "true",
        since=since,
        tail=int(query["tailLines"]) if "tailLines" in query else None,
        limit_bytes=int(query["limitBytes"]) if "limitBytes" in query else None,
    )


async def _stream(writer: asyncio.StreamWriter, chunks: AsyncIterator[bytes]) -> None:
    _head(writer, 200)
    await writer.drain()
    async for chunk in chunks:
        _chunk(writer, chunk)
        await writer.drain()


def _head(writer: asyncio.StreamWriter, status: int) -> None:
    writer.write(
        f"HTTP/1.1 {status} -\r\nContent-Type: text/plain\r\n"
        "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n".encode()
    )


def _chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    if data:
        writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

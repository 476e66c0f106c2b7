"""Artifacts out: ranges, ETag, HEAD; by the kernel where there is no TLS, else in pieces.

The bytes are never whole in memory either way.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from edgectl_selfhosted.hub.errors import not_found
from edgectl_selfhosted.hub.protocol import CONNECTION, HubProtocol
from edgectl_selfhosted.hub.ranges import Span, wanted
from edgectl_selfhosted.hub.sender import FileSender
from edgectl_selfhosted.hub.store.modules import Artifact

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

_PIECE = 256 << 10


class _SentByKernel(Response):
    """Bytes of a file, handed from the file to the socket."""

    def __init__(
        self, sender: FileSender, path: Path, span: Span, status: int, headers: dict[str, str]
    ) -> None:
        super().__init__(status_code=status, headers=headers)
        self._sender = sender
        self._path = path
        self._span = span

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **start})
        connection = cast("HubProtocol", scope[CONNECTION])
        await connection.send_file(self._sender, self._path, self._span)
        await send({"type": "http.response.body", "body": b""})


async def send_artifact(
    request: Request, artifact: Artifact, path: Path, sender: FileSender
) -> Response:
    """Answer a download.

    Raises:
        HubError: The bytes are not there.
    """
    etag = f'"{artifact.sha256}"'
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(artifact.filename, safe='')}",
    }
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    span = wanted(
        request.headers.get("range", ""),
        request.headers.get("if-range", ""),
        etag,
        artifact.size,
    )
    if span is None:
        return Response(
            status_code=416, headers={**headers, "Content-Range": f"bytes */{artifact.size}"}
        )
    headers["Content-Length"] = str(span.end - span.start)
    headers["Content-Type"] = "application/octet-stream"
    if span.partial:
        headers["Content-Range"] = f"bytes {span.start}-{span.end - 1}/{artifact.size}"
    status = 206 if span.partial else 200
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    try:
        file = await asyncio.to_thread(path.open, "rb")
    except FileNotFoundError as exc:
        raise not_found("Artifact", artifact.filename) from exc
    connection = cast("HubProtocol | None", request.scope.get(CONNECTION))
    if connection is not None and connection.takes_files(request.scope):
        file.close()
        return _SentByKernel(sender, path, span, status, headers)
    return StreamingResponse(_pieces(file, span), status_code=status, headers=headers)


async def _pieces(file: BinaryIO, span: Span) -> AsyncIterator[bytes]:
    try:
        file.seek(span.start)
        left = span.end - span.start
        while left > 0:
            piece = await asyncio.to_thread(file.read, min(left, _PIECE))
            if not piece:
                return
            left -= len(piece)
            yield piece
    finally:
        file.close()

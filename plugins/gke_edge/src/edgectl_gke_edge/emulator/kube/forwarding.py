"""Passing HTTP on: what of a request and an answer goes through, as a stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import httpx
from starlette.background import BackgroundTask
from starlette.responses import Response, StreamingResponse

# Headers that belong to one connection.
_HOP = {"connection", "keep-alive", "transfer-encoding", "upgrade", "te", "trailer", "host"}
_HOP |= {"proxy-authorization", "proxy-authenticate", "content-length"}


def passed(headers: Mapping[str, str], *, without: frozenset[str] = frozenset()) -> dict[str, str]:
    """Return the headers that go through; ``without`` are names in lower case."""
    return {k: v for k, v in headers.items() if k.lower() not in _HOP | without}


def streamed(answer: httpx.Response, media_type: str | None = None) -> Response:
    """Return an answer that is passed on as it comes; what it came by is closed after."""

    async def body() -> AsyncIterator[bytes]:
        async for part in answer.aiter_raw():
            yield part

    return StreamingResponse(
        body(),
        answer.status_code,
        headers=passed(answer.headers),
        media_type=media_type,
        background=BackgroundTask(answer.aclose),
    )

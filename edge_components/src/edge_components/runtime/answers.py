"""How one answer goes out: quickly where there is such a way, else written head and body.

Whatever an endpoint raises becomes an error that the client may see; what it should not see is
logged.
"""

from __future__ import annotations

import asyncio
import logging

from edge_components.runtime.http import (
    Buffer,
    Head,
    HttpError,
    Response,
    error_response,
    head_bytes,
)
from edge_components.runtime.owner import Owner

log = logging.getLogger(__name__)

_JOINED = 64 << 10  # below that one copy costs less than a vector of buffers


def quick_answer(owner: Owner, head: Head, body: Buffer) -> bytes | None:
    """Return all bytes of an answer that takes no time, or None to leave it to the endpoint."""
    if head.quick is None or owner.draining or type(body) is not bytes:
        return None
    try:
        return head.quick(head, body, owner.date)
    except Exception:
        log.exception("%s %s failed where it is quick", head.method, head.target)
        return None


def fault(error: BaseException, head: Head) -> HttpError:
    """Return what the client is told of what an endpoint has raised."""
    if isinstance(error, HttpError):
        return error
    if isinstance(error, asyncio.CancelledError):
        return HttpError(503, "the server stops", close=True)
    log.error("%s %s failed", head.method, head.target, exc_info=error)
    return HttpError(500, "internal error")


def outcome(future: asyncio.Future[Response], head: Head) -> Response | HttpError:
    """Return what became of an answer that was waited for."""
    if future.cancelled():
        return fault(asyncio.CancelledError(), head)
    error = future.exception()
    return future.result() if error is None else fault(error, head)


def write_answer(
    transport: asyncio.Transport, response: Response, head: Head, date: bytes, keep: bool
) -> None:
    """Write an answer; the body is left out where only the head was asked for.

    Args:
        transport: Of the connection.
        response: The answer.
        head: Of its request.
        date: The ``Date`` line.
        keep: Whether the connection stays open.
    """
    length = sum(map(len, response.body))
    start = head_bytes(response, length, date, keep_alive=keep)
    if head.method == "HEAD":
        transport.write(start)
    elif length < _JOINED:
        transport.write(b"".join((start, *response.body)))
    else:
        transport.writelines([start, *response.body])


def write_error(transport: asyncio.Transport, error: HttpError, date: bytes) -> None:
    """Write an error after which the connection is closed."""
    response = error_response(error)
    body = b"".join(response.body)
    transport.write(head_bytes(response, len(body), date, keep_alive=False) + body)
